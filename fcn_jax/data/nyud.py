"""NYUDv2: 1,449 indoor images with depth, 40 classes (Silberman et al., ECCV 2012)."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fcn_jax.data.lists import read_list
from fcn_jax.data.named import Images, Labels, check_names, plain_if_one
from fcn_jax.data.readers import DataError, few, from_one, read_depth, read_image, read_mat
from fcn_jax.data.source import FileSource, hold_out
from fcn_jax.data.walk import find_folder
from fcn_jax.labels import LabelKind

CLASSES = (
    *"wall floor cabinet bed chair sofa table door window bookshelf picture counter blinds".split(),
    *"desk shelves curtain dresser pillow mirror".split(),
    "floor mat",
    *"clothes ceiling books refridgerator television paper towel".split(),
    "shower curtain",
    *"box whiteboard person".split(),
    "night stand",
    *"toilet sink lamp bathtub bag otherstructure otherfurniture otherprop".split(),
)
"""The 40 classes (Gupta et al., CVPR 2013), in the data set's spelling."""

_INPUTS = ("color", "depth", "hha")
_NAMES = {"semantic": CLASSES, "depth": ("metres",)}
_KINDS = {"semantic": LabelKind.CLASSES, "depth": LabelKind.NUMBERS}


@dataclasses.dataclass(frozen=True, kw_only=True)
class NYUDv2(FileSource):
    """NYUDv2 in the layout of the reference implementation: color, depth and HHA of each image.

    Depth is an input, or a label, or both.

    Layout: `{data/images/img_ID.png or .jpg, data/depth/img_ID.png, data/hha/img_ID.png,
    segmentation/img_ID.mat}` with the labels under `segmentation`, and the lists `train.txt`,
    `val.txt` and `test.txt`. Stored labels count from 1 with 0 = void; here they count from 0 with
    void = 255. Only the files of the chosen inputs and labels are needed.

    Attributes:
      split: `train` (381 images), `val` (414) and `test` (654) are the published lists. `trainval`
        is the list of that name if it exists, else `train` and `val`. `holdout` is a part of
        `trainval` for validation without looking at the test split: the `held_out` ids with the
        smallest SHA-256, in any order of the lists. `rest`, to train on, is `trainval` without it.
      inputs: Which of `color` (uint8 RGB), `depth` (uint16, rows, columns, 1; millimetres, 0 =
        missing) and `hha` (uint8; disparity, height above the ground, angle with gravity). One
        input is read as an array, several as a dict of arrays by these names.
      labels: "semantic", "depth" (float32 metres, 0 = missing), or a tuple of both, the one to
        score by first. With both, a label is a dict of arrays by these names.
      held_out: Size of the `holdout` split.
      root: The data folder: `nyud` itself or the folder above it.

    Raises:
      DataError: `inputs` or `labels` holds another name; or, on first use, if the folder, a list
        or a file is missing or unreadable.

    Source: layout and label shift from shelhamer/fcn.berkeleyvision.org, `nyud_layers.py`.
    """

    split: Literal["train", "val", "trainval", "test", "holdout", "rest"]
    inputs: tuple[str, ...] = ("color",)
    labels: str | tuple[str, ...] = "semantic"
    held_out: int = 100
    root: Path | str | None = None

    def __post_init__(self) -> None:
        check_names("NYUDv2", "inputs", self.inputs, _INPUTS)
        check_names("NYUDv2", "labels", self.labels, tuple(_NAMES))

    @property
    def _labels(self) -> tuple[str, ...]:
        return (self.labels,) if isinstance(self.labels, str) else self.labels

    @property
    def num_classes(self) -> Any:
        """40 classes, 1 depth; a dict by label if both."""
        return plain_if_one({label: len(_NAMES[label]) for label in self._labels})

    @property
    def class_names(self) -> Any:
        """The names of the classes; a dict by label if both."""
        return plain_if_one({label: _NAMES[label] for label in self._labels})

    @property
    def label_kinds(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What the labels are; a dict by label if both."""
        return plain_if_one({label: _KINDS[label] for label in self._labels})

    def _find(self, root: Path) -> Path:
        return find_folder(
            root,
            ("nyud", "NYUDv2", "."),
            marker="segmentation",
            layout="nyud/{data/images/img_ID.png or .jpg, data/depth/img_ID.png, "
            "data/hha/img_ID.png, segmentation/img_ID.mat, train.txt, val.txt, test.txt}",
        )

    def _read_ids(self) -> tuple[str, ...]:
        if self.split in ("train", "val", "test"):
            ids = read_list(self.folder / f"{self.split}.txt")
        else:
            ids = self._read_trainval()
        if self.split in ("holdout", "rest"):
            ids = hold_out(ids, self.held_out, rest=self.split == "rest", where=self.folder)
        if "hha" in self.inputs:
            self._check_hha(ids)
        return ids

    def _read_trainval(self) -> tuple[str, ...]:
        """The list that the published nets read; `trainval.txt` itself was never published."""
        path = self.folder / "trainval.txt"
        if path.exists():
            return read_list(path)
        train, val = (read_list(self.folder / f"{split}.txt") for split in ("train", "val"))
        if both := sorted(set(train) & set(val)):
            raise DataError(
                f"{self.folder}: train.txt and val.txt both name {few(both)}; name each image "
                "in one of them."
            )
        return train + val

    def _check_hha(self, ids: tuple[str, ...]) -> None:
        missing = [name for name in ids if not self._path("hha", name).exists()]
        if missing:
            data = self.folder / "data"
            raise DataError(
                f"{self._path('hha', missing[0])}: no such file ({len(missing)} of {len(ids)} "
                "images have no HHA). It is computed from depth: "
                f"python -m fcn_jax hha {data / 'depth'} --out {data / 'hha'}"
            )

    def _path(self, what: str, name: str) -> Path:
        folder = self.folder / "data" / ("images" if what == "color" else what)
        jpeg = folder / f"img_{name}.jpg"
        return jpeg if what == "color" and jpeg.exists() else folder / f"img_{name}.png"

    def image_path(self, name: str) -> Any:
        """`data/{images, depth, hha}/img_NAME.png`; a dict by input if several."""
        return plain_if_one({what: self._path(what, name) for what in self.inputs})

    def read_input(self, name: str) -> Images:
        """The inputs that `inputs` names, see there."""
        images = {}
        for what in self.inputs:
            read = read_depth if what == "depth" else read_image
            images[what] = read(self._path(what, name))
        return plain_if_one(images)

    def label_path(self, name: str) -> Any:
        """`segmentation/img_NAME.mat` or `data/depth/img_NAME.png`; a dict by label if both."""
        return plain_if_one({label: self._label_path(label, name) for label in self._labels})

    def _label_path(self, label: str, name: str) -> Path:
        if label == "depth":
            return self._path("depth", name)
        return self.folder / "segmentation" / f"img_{name}.mat"

    def read_label(self, name: str) -> Labels:
        """Classes 0 to 39, 255 = void; depth in metres, 0 = missing."""
        labels = {}
        for label in self._labels:
            path = self._label_path(label, name)
            if label == "depth":
                labels[label] = read_depth(path)[..., 0] / np.float32(1000)
            else:
                labels[label] = from_one(read_mat(path, "segmentation"), path, len(CLASSES))
        return plain_if_one(labels)
