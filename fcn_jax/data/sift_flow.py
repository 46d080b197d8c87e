"""SIFT Flow: 2,688 outdoor scenes of 256 x 256 pixels with two labels (Liu et al., 2009)."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fcn_jax.data.lists import read_list
from fcn_jax.data.named import Labels, check_names, plain_if_one
from fcn_jax.data.readers import from_one, read_mat
from fcn_jax.data.source import FileSource, hold_out
from fcn_jax.data.walk import find_folder

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
        of `trainval` for validation without looking at the test split: the `held_out` ids with the
        smallest SHA-256, in any order of the list. `train` is the rest.
      labels: "semantic", "geometric", or a tuple of both, the one to score by first. With both, a
        label is a dict of arrays by these names.
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
    def _labels(self) -> tuple[str, ...]:
        return (self.labels,) if isinstance(self.labels, str) else self.labels

    @property
    def num_classes(self) -> Any:
        """33 semantic, 3 geometric; a dict by label if both."""
        return plain_if_one({label: len(_CLASSES[label]) for label in self._labels})

    @property
    def class_names(self) -> Any:
        """The names of the classes; a dict by label if both."""
        return plain_if_one({label: _CLASSES[label] for label in self._labels})

    def _find(self, root: Path) -> Path:
        return find_folder(
            root,
            ("sift-flow", "SiftFlowDataset", "."),
            marker=_FOLDERS[self._labels[0]],
            layout=f"sift-flow/{{Images/{_SCENES}/ID.jpg, SemanticLabels/{_SCENES}/ID.mat, "
            f"GeoLabels/{_SCENES}/ID.mat, trainval.txt, test.txt}}",
        )

    def _read_ids(self) -> tuple[str, ...]:
        if self.split in ("trainval", "test"):
            return read_list(self.folder / f"{self.split}.txt")
        path = self.folder / "trainval.txt"
        return hold_out(read_list(path), self.held_out, rest=self.split == "train", where=path)

    def image_path(self, name: str) -> Path:
        """`Images/.../NAME.jpg`."""
        return self.folder / "Images" / _SCENES / f"{name}.jpg"

    def label_path(self, name: str) -> Any:
        """`SemanticLabels/.../NAME.mat` or `GeoLabels/.../NAME.mat`; a dict by label if both."""
        return plain_if_one({label: self._label_path(label, name) for label in self._labels})

    def _label_path(self, label: str, name: str) -> Path:
        return self.folder / _FOLDERS[label] / _SCENES / f"{name}.mat"

    def read_label(self, name: str) -> Labels:
        """Semantic classes 0 to 32, geometric classes 0 to 2, 255 = void."""
        labels = {}
        for label in self._labels:
            path = self._label_path(label, name)
            stored = read_mat(path, "S")
            if label == "geometric":
                stored = np.where(stored == -1, 0, stored)
            labels[label] = from_one(stored, path, len(_CLASSES[label]))
        return plain_if_one(labels)
