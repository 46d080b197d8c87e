"""NYUDv2: 1,449 indoor images with depth, 40 classes (Silberman et al., ECCV 2012)."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8

from fcn_jax.data.lists import read_list
from fcn_jax.data.named import Images, check_names, plain_if_one
from fcn_jax.data.readers import DataError, few, from_one, read_depth, read_image, read_mat
from fcn_jax.data.source import FileSource, hold_out
from fcn_jax.data.walk import find_folder

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class NYUDv2(FileSource):
    """NYUDv2 in the layout of the reference implementation: color, depth and HHA of each image.

    Layout: `{data/images/img_ID.png or .jpg, data/depth/img_ID.png, data/hha/img_ID.png,
    segmentation/img_ID.mat}` with the labels under `segmentation`, and the lists `train.txt`,
    `val.txt` and `test.txt`. Stored labels count from 1 with 0 = void; here they count from 0 with
    void = 255. Only the files of the chosen inputs are needed.

    Attributes:
      split: `train` (381 images), `val` (414) and `test` (654) are the published lists. `trainval`
        is the list of that name if it exists, else `train` and `val`. `holdout` is a part of
        `trainval` for validation without looking at the test split: the `held_out` ids with the
        smallest SHA-256, in any order of the lists. `rest`, to train on, is `trainval` without it.
      inputs: Which of `color` (uint8 RGB), `depth` (uint16, rows, columns, 1; millimetres, 0 =
        missing) and `hha` (uint8; disparity, height above the ground, angle with gravity). One
        input is read as an array, several as a dict of arrays by these names.
      held_out: Size of the `holdout` split.
      root: The data folder: `nyud` itself or the folder above it.

    Raises:
      DataError: `inputs` holds another name; or, on first use, if the folder, a list or a file is
        missing or unreadable.

    Source: layout and label shift from shelhamer/fcn.berkeleyvision.org, `nyud_layers.py`.
    """

    split: Literal["train", "val", "trainval", "test", "holdout", "rest"]
    inputs: tuple[str, ...] = ("color",)
    held_out: int = 100
    root: Path | str | None = None

    num_classes = len(CLASSES)
    class_names = CLASSES

    def __post_init__(self) -> None:
        check_names("NYUDv2", "inputs", self.inputs, _INPUTS)

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

    def label_path(self, name: str) -> Path:
        """`segmentation/img_NAME.mat`."""
        return self.folder / "segmentation" / f"img_{name}.mat"

    def read_label(self, name: str) -> UInt8[np.ndarray, "h w"]:
        """Classes 0 to 39, 255 = void."""
        path = self.label_path(name)
        return from_one(read_mat(path, "segmentation"), path, self.num_classes)
