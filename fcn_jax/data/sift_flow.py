"""SIFT Flow: 2,688 outdoor scenes of 256 x 256 pixels, 33 semantic classes (Liu et al., 2009)."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from fcn_jax.data.files import IGNORE, DataError, as_indices, find_folder, read_list, read_mat
from fcn_jax.data.source import FileSource

CLASSES = tuple(
    "awning balcony bird boat bridge building bus car cow crosswalk desert door fence field grass "
    "moon mountain person plant pole river road rock sand sea sidewalk sign sky staircase "
    "streetlight sun tree window".split()
)
"""The 33 semantic classes. Cow, desert and moon do not occur in the test split."""

_SCENES = "spatial_envelope_256x256_static_8outdoorcategories"
_LABELS = {"semantic": "SemanticLabels"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SIFTFlow(FileSource):
    """SIFT Flow in the layout of the reference implementation.

    Layout: `{Images, SemanticLabels}/spatial_envelope_256x256_static_8outdoorcategories/
    ID.{jpg, mat}` with the labels under `S`, and the lists `trainval.txt` and `test.txt`. Stored
    labels count from 1 with 0 = void; here they count from 0 with void = 255.

    Attributes:
      split: `trainval` (2,486 images) and `test` (200) are the published lists. `holdout` is a part
        of `trainval` to choose and validate on without looking at the test split: the `held_out`
        ids whose SHA-256 is smallest, whatever the order of the list; `train` is the rest.
      labels: Which labels; the semantic ones.
      held_out: Size of the `holdout` split.
      root: The data folder: `sift-flow` itself or the folder above it.

    Raises:
      DataError: On first use, if the folder, the list or a file is missing or unreadable.

    Source: layout and label shift from shelhamer/fcn.berkeleyvision.org, `siftflow_layers.py`.
    """

    split: Literal["trainval", "test", "train", "holdout"]
    labels: Literal["semantic"] = "semantic"
    held_out: int = 200
    root: Path | str | None = None

    num_classes = len(CLASSES)
    class_names = CLASSES

    def _find(self, root: Path) -> Path:
        return find_folder(
            root,
            ("sift-flow", "SiftFlowDataset", "."),
            marker=_LABELS[self.labels],
            layout=f"sift-flow/{{Images/{_SCENES}/ID.jpg, SemanticLabels/{_SCENES}/ID.mat, "
            "trainval.txt, test.txt}",
        )

    def _read_ids(self) -> tuple[str, ...]:
        if self.split in ("trainval", "test"):
            return read_list(self.folder / f"{self.split}.txt")
        path = self.folder / "trainval.txt"
        ids = read_list(path)
        if not 0 < self.held_out < len(ids):
            raise DataError(
                f"{path}: cannot hold out {self.held_out} of {len(ids)} images; expected "
                f"held_out from 1 to {len(ids) - 1}."
            )
        by_hash = sorted(ids, key=lambda name: hashlib.sha256(name.encode()).digest())
        held = set(by_hash[: self.held_out])
        return tuple(name for name in ids if (name in held) == (self.split == "holdout"))

    def image_path(self, name: str) -> Path:
        """`Images/.../NAME.jpg`."""
        return self.folder / "Images" / _SCENES / f"{name}.jpg"

    def label_path(self, name: str) -> Path:
        """`SemanticLabels/.../NAME.mat`."""
        return self.folder / _LABELS[self.labels] / _SCENES / f"{name}.mat"

    def read_label(self, name: str) -> UInt8[np.ndarray, "h w"]:
        """Classes 0 to 32, 255 = void."""
        path = self.label_path(name)
        stored = as_indices(read_mat(path, "S"), path)
        return np.where(stored == 0, np.uint8(IGNORE), stored - np.uint8(1))
