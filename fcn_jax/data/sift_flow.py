"""SIFT Flow: 2,688 outdoor scenes of 256 x 256 pixels with two labels (Liu et al., 2009)."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fcn_jax.data.named import Labels, by_name, check_names, primary
from fcn_jax.data.readers import find_folder, from_one, read_list, read_mat
from fcn_jax.data.source import FileSource, held_out_ids

CLASSES = tuple(
    "awning balcony bird boat bridge building bus car cow crosswalk desert door fence field grass "
    "moon mountain person plant pole river road rock sand sea sidewalk sign sky staircase "
    "streetlight sun tree window".split()
)
"""The 33 semantic classes. Cow, desert and moon do not occur in the test split."""

GEOMETRIC = ("sky", "horizontal", "vertical")
"""The 3 geometric classes (Tighe and Lazebnik, ECCV 2010)."""

_CLASSES = {"semantic": CLASSES, "geometric": GEOMETRIC}
_SCENES = "spatial_envelope_256x256_static_8outdoorcategories"
_FOLDERS = {"semantic": "SemanticLabels", "geometric": "GeoLabels"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SIFTFlow(FileSource):
    """SIFT Flow in the layout of the reference implementation.

    Layout: `{Images, SemanticLabels, GeoLabels}/spatial_envelope_256x256_static_8outdoorcategories/
    ID.{jpg, mat}` with the labels under `S`, and the lists `trainval.txt` and `test.txt`. Stored
    labels count from 1 with 0 = void (geometric labels: 0 or -1); here they count from 0 with void
    = 255.

    Attributes:
      split: `trainval` (2,486 images) and `test` (200) are the published lists. `holdout` is a part
        of `trainval` to choose and validate on without looking at the test split: the `held_out`
        ids whose SHA-256 is smallest, whatever the order of the list; `train` is the rest.
      labels: Which labels: "semantic", "geometric", or both in a tuple, the one to be scored by
        first. A label is then a dict of arrays by these names.
      held_out: Size of the `holdout` split.
      root: The data folder: `sift-flow` itself or the folder above it.

    Raises:
      DataError: `labels` holds another name; or, on first use, if the folder, the list or a file is
        missing or unreadable.

    Source: layout and label shift from shelhamer/fcn.berkeleyvision.org, `siftflow_layers.py`.
    """

    split: Literal["trainval", "test", "train", "holdout"]
    labels: str | tuple[str, ...] = "semantic"
    held_out: int = 200
    root: Path | str | None = None

    def __post_init__(self) -> None:
        check_names("SIFTFlow", "labels", self.labels, tuple(_CLASSES))

    @property
    def num_classes(self) -> Any:
        """33 semantic, 3 geometric; a dict by name of several labels."""
        return by_name(self.labels, lambda label: len(_CLASSES[label]))

    @property
    def class_names(self) -> Any:
        """The names of the classes; a dict by name of several labels."""
        return by_name(self.labels, _CLASSES.__getitem__)

    def _find(self, root: Path) -> Path:
        return find_folder(
            root,
            ("sift-flow", "SiftFlowDataset", "."),
            marker=primary(by_name(self.labels, _FOLDERS.__getitem__)),
            layout=f"sift-flow/{{Images/{_SCENES}/ID.jpg, SemanticLabels/{_SCENES}/ID.mat, "
            f"GeoLabels/{_SCENES}/ID.mat, trainval.txt, test.txt}}",
        )

    def _read_ids(self) -> tuple[str, ...]:
        if self.split in ("trainval", "test"):
            return read_list(self.folder / f"{self.split}.txt")
        path = self.folder / "trainval.txt"
        ids = read_list(path)
        held = held_out_ids(ids, self.held_out, path)
        return tuple(name for name in ids if (name in held) == (self.split == "holdout"))

    def image_path(self, name: str) -> Path:
        """`Images/.../NAME.jpg`."""
        return self.folder / "Images" / _SCENES / f"{name}.jpg"

    def label_path(self, name: str) -> Any:
        """`SemanticLabels/.../NAME.mat`, `GeoLabels/.../NAME.mat`; a dict of several labels."""
        return by_name(self.labels, lambda label: self._label_path(label, name))

    def _label_path(self, label: str, name: str) -> Path:
        return self.folder / _FOLDERS[label] / _SCENES / f"{name}.mat"

    def read_label(self, name: str) -> Labels:
        """Semantic classes 0 to 32, geometric ones 0 to 2, 255 = void."""

        def read(label: str) -> np.ndarray:
            path = self._label_path(label, name)
            stored = read_mat(path, "S")
            if label == "geometric":
                stored = np.where(stored == -1, 0, stored)
            return from_one(stored, path, len(_CLASSES[label]))

        return by_name(self.labels, read)
