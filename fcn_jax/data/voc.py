"""PASCAL VOC segmentation, the extra masks of SBD, and joined sources.

The papers train on SBD (8,498 images) and score on `seg11valid`: the 736 images of VOC 2011's
validation set that are not in SBD's training set.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8

from fcn_jax.data.lists import read_list
from fcn_jax.data.named import Images, Labels
from fcn_jax.data.readers import DataError, as_indices, read_mat
from fcn_jax.data.source import FileSource
from fcn_jax.data.walk import find_folder

CLASSES = tuple(
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse "
    "motorbike person pottedplant sheep sofa train tvmonitor".split()
)
"""VOC's 21 classes; index 0 is the background, which is trained and scored as a class."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class VOC(FileSource):
    """PASCAL VOC segmentation: 21 classes, borders and difficult objects ignored (255).

    Layout: `VOCdevkit/VOC2012/{JPEGImages/ID.jpg, SegmentationClass/ID.png,
    ImageSets/Segmentation/SPLIT.txt}`.

    Attributes:
      year: The release. The images of 2011 are in 2012 as well, but its lists are longer.
      split: Which list. `seg11valid` is VOC 2011's validation set without SBD's training images;
        copy its list from shelhamer/fcn.berkeleyvision.org (`data/pascal/seg11valid.txt`) to the
        other lists. It can be read from either year.
      root: The data folder: the one holding `VOCdevkit` or `VOC2012`, or `VOC2012` itself.

    Raises:
      DataError: On first use, if the folder, the list or a file is missing or unreadable.
    """

    year: Literal[2011, 2012] = 2012
    split: Literal["train", "val", "trainval", "seg11valid"]
    root: Path | str | None = None

    num_classes = len(CLASSES)
    class_names = CLASSES

    def _find(self, root: Path) -> Path:
        name = f"VOC{self.year}"
        candidates = [f"VOCdevkit/{name}", name]
        if not root.name.startswith("VOC20") or root.name == name:
            candidates.append(".")
        return find_folder(
            root,
            candidates,
            marker="ImageSets/Segmentation",
            layout=f"{name}/{{JPEGImages/ID.jpg, SegmentationClass/ID.png, "
            "ImageSets/Segmentation/SPLIT.txt}, as VOC's archive unpacks",
        )

    def _read_ids(self) -> tuple[str, ...]:
        path = self.folder / "ImageSets" / "Segmentation" / f"{self.split}.txt"
        if self.split == "seg11valid" and not path.exists():
            raise DataError(
                f"{path}: no such list. Copy data/pascal/seg11valid.txt of "
                "shelhamer/fcn.berkeleyvision.org there."
            )
        return read_list(path)

    def image_path(self, name: str) -> Path:
        """`JPEGImages/NAME.jpg`."""
        return self.folder / "JPEGImages" / f"{name}.jpg"

    def label_path(self, name: str) -> Path:
        """`SegmentationClass/NAME.png`."""
        return self.folder / "SegmentationClass" / f"{name}.png"


@dataclasses.dataclass(frozen=True, kw_only=True)
class SBD(FileSource):
    """Semantic Boundaries Dataset (Hariharan et al., ICCV 2011): VOC's classes, more images.

    Its masks have no ignored border. Its training set contains validation images of VOC: score on
    `seg11valid`, or remove them with `Joined(..., excluding=...)`.

    Layout: `benchmark_RELEASE/dataset/{img/ID.jpg, cls/ID.mat, SPLIT.txt}`, each `.mat` with the
    labels under `GTcls.Segmentation`.

    Attributes:
      split: The list's name: `train` (8,498 images), `val` or another.
      root: The data folder: `dataset` itself or a folder above (`benchmark_RELEASE`, `sbdd`).

    Raises:
      DataError: On first use, if the folder, the list or a file is missing or unreadable.
    """

    split: str
    root: Path | str | None = None

    num_classes = len(CLASSES)
    class_names = CLASSES

    def _find(self, root: Path) -> Path:
        return find_folder(
            root,
            ("benchmark_RELEASE/dataset", "sbdd/dataset", "benchmark/dataset", "dataset", "."),
            marker="cls",
            layout="dataset/{img/ID.jpg, cls/ID.mat, SPLIT.txt}, as SBD's archive unpacks",
        )

    def _read_ids(self) -> tuple[str, ...]:
        return read_list(self.folder / f"{self.split}.txt")

    def image_path(self, name: str) -> Path:
        """`img/NAME.jpg`."""
        return self.folder / "img" / f"{name}.jpg"

    def label_path(self, name: str) -> Path:
        """`cls/NAME.mat`."""
        return self.folder / "cls" / f"{name}.mat"

    def read_label(self, name: str) -> UInt8[np.ndarray, "h w"]:
        """`GTcls.Segmentation`: class indices, 255 = ignored (SBD itself ignores nothing)."""
        path = self.label_path(name)
        return as_indices(read_mat(path, "GTcls.Segmentation"), path)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Joined(FileSource):
    """Several sources as one: each image once, without the excluded images.

    An id that is in several sources is read from the first of them. So
    `Joined(sources=(VOC(split="train"), SBD(split="train"), SBD(split="val")),
    excluding=(VOC(split="val"),))` is the usual augmented training set of 10,582 images: VOC's
    finer masks for its own images, SBD's masks for the others, and no validation image.

    Attributes:
      sources: What to join, best labels first; all with the same classes.
      excluding: Sources whose ids must not appear, such as the validation set. Only their lists
        are read.
      root: The data folder of every source that does not have its own.

    Raises:
      DataError: The classes differ, nothing is left, or a source's own errors on first use.
    """

    sources: tuple[FileSource, ...]
    excluding: tuple[FileSource, ...] = ()
    root: Path | str | None = None

    def __post_init__(self) -> None:
        if not self.sources or any(
            (s.class_names, s.inputs) != (self.class_names, self.inputs) for s in self.sources
        ):
            raise DataError(
                "Joined: expected one or more sources with the same classes and inputs, got "
                f"{self.sources}."
            )

    @property
    def inputs(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The names of the sources' inputs."""
        return self.sources[0].inputs

    @property
    def num_classes(self) -> Any:
        """Number of classes, the same in all sources."""
        return self.sources[0].num_classes

    @property
    def class_names(self) -> Any:
        """The classes of the sources."""
        return self.sources[0].class_names

    @property
    def label_kinds(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What the sources' labels are."""
        return self.sources[0].label_kinds

    def _bound(self, sources: tuple[FileSource, ...]) -> tuple[FileSource, ...]:
        if self.root is None:
            return sources
        return tuple(s if s.root is not None else s.at(self.root) for s in sources)

    @functools.cached_property
    def _owner(self) -> dict[str, FileSource]:
        excluded = {name for source in self._bound(self.excluding) for name in source.ids}
        owner: dict[str, FileSource] = {}
        for source in self._bound(self.sources):
            for name in source.ids:
                if name not in excluded:
                    owner.setdefault(name, source)
        if not owner:
            raise DataError(f"{self!r}: every image is excluded; nothing is left. Exclude less.")
        return owner

    def _read_ids(self) -> tuple[str, ...]:
        return tuple(self._owner)

    def image_path(self, name: str) -> Any:
        """The image in the first source that has it."""
        return self._owner[name].image_path(name)

    def label_path(self, name: str) -> Any:
        """The label in the first source that has it."""
        return self._owner[name].label_path(name)

    def headers(self, name: str) -> Any:
        """Those of the image in the first source that has it."""
        return self._owner[name].headers(name)

    def read_input(self, name: str) -> Images:
        """The image in the first source that has it."""
        return self._owner[name].read_input(name)

    def read_label(self, name: str) -> Labels:
        """The label in the first source that has it, 255 = ignored."""
        return self._owner[name].read_label(name)
