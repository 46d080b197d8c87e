"""PASCAL-Context: every pixel of 10,103 images of VOC 2010 (Mottaghi et al., CVPR 2014)."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from fcn_jax.data.lists import read_list
from fcn_jax.data.readers import DataError, read_mat
from fcn_jax.data.source import FileSource
from fcn_jax.data.voc import CLASSES as _VOC
from fcn_jax.data.walk import find_folder

CLASSES = (
    *_VOC,
    *"bag bed bench book building cabinet ceiling clothes computer cup door fence floor".split(),
    *"flower food grass ground keyboard light mountain mouse curtain platform sign plate".split(),
    *"road rock shelves sidewalk sky snow bedcloth track tree truck wall water window wood".split(),
)
"""The background, VOC's 20 objects and 39 more."""

# Those of the 59 classes that have another name in labels.txt.
_ALIASES = {"diningtable": "table", "bedcloth": "bedclothes", "clothes": "cloth"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PASCALContext(FileSource):
    """PASCAL-Context: 59 classes, and a background class of everything else.

    Layout: `context/{labels.txt, 59_labels.txt, trainval/ID.mat}` with 459 labels under `LabelMap`,
    and beside it `VOC2010/{JPEGImages/ID.jpg, ImageSets/Main/SPLIT.txt}` or the same in
    `VOCdevkit`. The two lists have lines "index: name"; the mapping from the 459 labels to the 59
    classes is read from them.

    Attributes:
      split: `train` (4,998 images), `val` (5,105) or both.
      ignore_background: False: 60 classes, 0 = background. True: 59 classes, background = 255
        (ignored), as some papers score.
      root: The data folder, which holds both.

    Raises:
      DataError: On first use, if a folder, a list or a file is missing or unreadable, or the lists
        do not name the 59 classes.

    Source: classes and mapping from shelhamer/fcn.berkeleyvision.org, `pascalcontext_layers.py` and
    `data/pascal-context/classes-59.txt`.
    """

    split: Literal["train", "val", "trainval"]
    ignore_background: bool = False
    root: Path | str | None = None

    @property
    def num_classes(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """60, or 59 without the background."""
        return len(self.class_names)

    @property
    def class_names(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The names of the classes."""
        return CLASSES[1:] if self.ignore_background else CLASSES

    @functools.cached_property
    def _context(self) -> Path:
        return find_folder(
            self.folder,
            ("context", "pascal-context", "."),
            marker="59_labels.txt",
            layout="context/{labels.txt, 59_labels.txt, trainval/ID.mat} and VOC2010/",
        )

    @functools.cached_property
    def _voc(self) -> Path:
        return find_folder(
            self.folder,
            ("VOC2010", "VOCdevkit/VOC2010"),
            marker="ImageSets/Main",
            layout="VOC2010/{JPEGImages/ID.jpg, ImageSets/Main/SPLIT.txt}, as VOC's archive "
            "unpacks, and context/",
        )

    def _read_ids(self) -> tuple[str, ...]:
        return read_list(self._voc / "ImageSets" / "Main" / f"{self.split}.txt")

    def image_path(self, name: str) -> Path:
        """`VOC2010/JPEGImages/NAME.jpg`."""
        return self._voc / "JPEGImages" / f"{name}.jpg"

    def label_path(self, name: str) -> Path:
        """`context/trainval/NAME.mat`."""
        return self._context / "trainval" / f"{name}.mat"

    def read_label(self, name: str) -> UInt8[np.ndarray, "h w"]:
        """Classes 0 to 59, no pixel ignored; without the background 0 to 58, 255 = ignored."""
        path = self.label_path(name)
        stored = read_mat(path, "LabelMap")
        if stored.ndim != 2 or not np.isin(stored, np.arange(len(self._class_of))).all():
            raise DataError(
                f"{path}: expected labels (rows, columns) of 0 to {len(self._class_of) - 1}, as in "
                f"{self._context / 'labels.txt'}; found shape {stored.shape}, values "
                f"{stored.min()} to {stored.max()}."
            )
        return self._class_of[stored.astype(np.intp)]

    @functools.cached_property
    def _class_of(self) -> UInt8[np.ndarray, " n"]:
        """The class of each stored label, 0 to 459; the stored 0 (no label) is background."""
        everything = _read_names(self._context / "labels.txt")
        path = self._context / "59_labels.txt"
        chosen = {k: name for k, name in _read_names(path).items() if k > 0}
        if chosen != dict(enumerate(CLASSES[1:], 1)):
            raise DataError(
                f"{path}: expected the lines '1: aeroplane' to '59: wood' of the 59-class task; "
                f"found {len(chosen)} lines; only one of the two has "
                f"{sorted(set(chosen.values()) ^ set(CLASSES[1:]))[:5]}."
            )
        index_of = {name: index for index, name in everything.items()}
        class_of = np.zeros(max(everything) + 1, np.uint8)
        for k, name in chosen.items():
            if (stored := _ALIASES.get(name, name)) not in index_of:
                raise DataError(
                    f"{self._context / 'labels.txt'}: no line has the name {stored!r}; expected "
                    "the list of 459 labels that comes with the annotations."
                )
            class_of[index_of[stored]] = k
        return class_of - np.uint8(self.ignore_background)  # 0 becomes 255


def _read_names(path: Path) -> dict[int, str]:
    """Names by index from lines "index: name", without the spaces inside a name."""
    names: dict[int, str] = {}
    for line in read_list(path):
        index, colon, name = line.partition(":")
        if not colon or not index.strip().isdigit() or int(index) in names:
            raise DataError(
                f"{path}: expected lines 'index: name', each index once; found {line!r}."
            )
        names[int(index)] = name.replace(" ", "")
    return names
