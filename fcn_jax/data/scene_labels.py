"""Generated scenes with labels of every kind, for tests and first tries."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from fcn_jax.data.named import check_names, plain_if_one
from fcn_jax.data.scenes import Scenes
from fcn_jax.data.source import Example
from fcn_jax.labels import IGNORE, LabelKind

_KINDS = {
    "semantic": LabelKind.CLASSES,
    "depth": LabelKind.NUMBERS,
    "scene": LabelKind.CLASS,
    "shapes": LabelKind.ATTRIBUTES,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SceneLabels:
    """The images of `Scenes` with one or several labels.

    Attributes:
        scenes: the images, and the classes of their pixels.
        labels: of "semantic" (the classes), "depth" (metres), "scene" (the class of the image) and
            "shapes" (attributes), one or a tuple, the one to score by first. With several, a label
            is a dict by these names.

    Raises:
        DataError: `labels` holds another name.
    """

    scenes: Scenes
    labels: str | tuple[str, ...] = tuple(_KINDS)

    def __post_init__(self):
        check_names("SceneLabels", "labels", self.labels, tuple(_KINDS))

    @property
    def _labels(self) -> tuple[str, ...]:
        return (self.labels,) if isinstance(self.labels, str) else self.labels

    @property
    def class_names(self) -> Any:
        """Names of classes and attributes; a dict by label if several."""
        names = self.scenes.class_names
        every = {"semantic": names, "depth": ("metres",), "scene": names, "shapes": names[1:]}
        return plain_if_one({label: every[label] for label in self._labels})

    @property
    def num_classes(self) -> Any:
        """How many there are; a dict by label if several."""
        names = self.class_names
        if isinstance(names, dict):
            return {label: len(of_label) for label, of_label in names.items()}
        return len(names)

    @property
    def label_kinds(self) -> Any:
        """What the labels are; a dict by label if several."""
        return plain_if_one({label: _KINDS[label] for label in self._labels})

    def at(self, root: Path | str) -> "SceneLabels":
        """The set itself: scenes are drawn, not read."""
        return self

    def __len__(self) -> int:
        return len(self.scenes)

    def size(self, index: int) -> tuple[int, int]:
        """Rows and columns of scene `index`."""
        return self.scenes.size(index)

    def __getitem__(self, index: int) -> Example:
        """Draws scene `index`; see `_depth`, `_scene` and `_shapes` for its labels."""
        image, classes, name = self.scenes[index]
        label = {what: self._label(what, classes) for what in self._labels}
        return Example(image, plain_if_one(label), name)

    def _label(self, what: str, classes: np.ndarray) -> Any:
        make: dict[str, Callable[[np.ndarray, int], Any]] = {
            "semantic": lambda classes, _: classes,
            "depth": _depth,
            "scene": _scene,
            "shapes": _shapes,
        }
        return make[what](classes, self.scenes.num_classes)


def _depth(classes: UInt8[np.ndarray, "h w"], k: int) -> Float32[np.ndarray, "h w"]:
    """Metres: ground from 6 (top) to 2 (bottom); class c at 1 + c / k; outlines 0, missing."""
    h, w = classes.shape
    ground = np.linspace(6, 2, h, dtype=np.float32)[:, None].repeat(w, axis=1)
    metres = np.where(classes > 0, 1 + classes / np.float32(k), ground).astype(np.float32)
    return np.where(classes == IGNORE, np.float32(0), metres)


def _scene(classes: UInt8[np.ndarray, "h w"], k: int) -> int:
    """The shape with the most pixels, the first of equals; 0 without any."""
    pixels = np.bincount(classes.ravel(), minlength=256)[1:k]
    return 1 + int(pixels.argmax()) if pixels.any() else 0


def _shapes(classes: UInt8[np.ndarray, "h w"], k: int) -> Float32[np.ndarray, " _"]:
    """Which shapes are there: 1 or 0 for each."""
    return (np.bincount(classes.ravel(), minlength=256)[1:k] > 0).astype(np.float32)
