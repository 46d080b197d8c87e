"""Cityscapes: streets of 50 cities, 19 classes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

from fcn_jax.data.chosen_classes import ChosenClasses, check_labelled
from fcn_jax.data.errors import legible
from fcn_jax.data.label_values import LabelValues
from fcn_jax.data.walk import find_folder, walk
from fcn_jax.labels import IGNORE

_IDS = {
    **{"road": 7, "sidewalk": 8, "building": 11, "wall": 12, "fence": 13, "pole": 17},
    **{"traffic light": 19, "traffic sign": 20, "vegetation": 21, "terrain": 22, "sky": 23},
    **{"person": 24, "rider": 25, "car": 26, "truck": 27, "bus": 28, "train": 31},
    **{"motorcycle": 32, "bicycle": 33},
}
"""The labelId of each class, in the order of trainIds.

Source: cityscapesScripts, `helpers/labels.py`.
"""
CLASSES = tuple(_IDS)
TRAIN_IDS = LabelValues(
    mapping=(
        *((number, k) for k, number in enumerate(_IDS.values())),
        *((number, IGNORE) for number in range(34) if number not in _IDS.values()),
    )
)
"""LabelIds to trainIds; all other ids, 0 to 33, are ignored. Source: as above."""
_IMAGE = "_leftImg8bit.png"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cityscapes(ChosenClasses):
    """Cityscapes: 2,975, 500 and 1,525 images, 1024x2048; the labels of `test` are dummies.

    Layout: `leftImg8bit/SPLIT/CITY/NAME_leftImg8bit.png`,
    `gtFine/SPLIT/CITY/NAME_gtFine_labelIds.png`, as the archives unpack.

    Attributes:
      split: Which part; `train_extra` has coarse labels only.
      annotation: Fine or coarse labels.
      class_names: A name for each class.
      label_values: The class of each labelId.
      root: The data folder: the one that holds `leftImg8bit` and `gtFine`.

    Raises:
      DataError: On first use, if a folder or a file is missing.
    """

    split: Literal["train", "val", "test", "train_extra"]
    annotation: Literal["gtFine", "gtCoarse"] = "gtFine"
    class_names: tuple[str, ...] = CLASSES
    label_values: LabelValues = TRAIN_IDS

    def _find(self, root: Path) -> Path:
        return find_folder(
            root,
            (".", "cityscapes", "Cityscapes", "CityScapes"),
            marker=f"leftImg8bit/{self.split}",
            layout="{leftImg8bit/SPLIT/CITY/NAME_leftImg8bit.png, "
            "gtFine/SPLIT/CITY/NAME_gtFine_labelIds.png}, as the archives unpack",
        )

    def _read_ids(self) -> tuple[str, ...]:
        folder = self.folder / "leftImg8bit" / self.split
        found = [path.relative_to(folder).as_posix() for path in walk(folder, {".png"}).files]
        names = [legible(name.removesuffix(_IMAGE)) for name in found if name.endswith(_IMAGE)]
        return check_labelled(self, names)

    def image_path(self, name: str) -> Path:
        """`leftImg8bit/SPLIT/CITY/NAME_leftImg8bit.png`."""
        return self.folder / "leftImg8bit" / self.split / f"{name}{_IMAGE}"

    def label_path(self, name: str) -> Path:
        """`gtFine/SPLIT/CITY/NAME_gtFine_labelIds.png`."""
        kind = self.annotation
        return self.folder / kind / self.split / f"{name}_{kind}_labelIds.png"
