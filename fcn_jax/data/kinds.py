"""What kinds of labels there are, what is missing in each, and how they are counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int64

from fcn_jax.data.errors import DataError, few
from fcn_jax.data.named import as_plain, zip_named
from fcn_jax.labels import IGNORE, LabelKind

_MISSING = {
    LabelKind.CLASSES: IGNORE,
    LabelKind.NUMBERS: np.nan,
    LabelKind.CLASS: -1,
    LabelKind.ATTRIBUTES: np.nan,
}


def label_kinds(source: Any) -> Any:
    """The `LabelKind` of a source's labels; a dict by name if it has several.

    A source says it as its attribute `label_kinds`: one kind, or a dict that may leave out labels
    that are classes of pixels. A source without the attribute has classes of pixels only.
    """
    said = getattr(source, "label_kinds", LabelKind.CLASSES)
    if not isinstance(source.num_classes, Mapping):
        return said
    by_name = said if isinstance(said, Mapping) else {}
    return {name: by_name.get(name, LabelKind.CLASSES) for name in source.num_classes}


def kind_of(label: np.ndarray) -> LabelKind:
    """The kind that a label's shape and dtype have."""
    if label.ndim < 2:
        return LabelKind.ATTRIBUTES if label.ndim else LabelKind.CLASS
    whole = np.issubdtype(label.dtype, np.integer)
    return LabelKind.CLASSES if whole else LabelKind.NUMBERS


def missing(label: np.ndarray) -> float | int:
    """The value of this label that says that nothing is known: 255, NaN or -1."""
    return _MISSING[kind_of(label)]


def as_labels(labels: Any) -> Any:
    """Labels as arrays: those of a whole image int32 or float32, numbers of pixels float32."""
    return as_plain({name: _as_label(label) for name, label in zip_named(labels)})


def _as_label(label: Any) -> np.ndarray:
    array = np.asarray(label)
    kind = kind_of(array)
    if kind is LabelKind.CLASSES:
        return array
    return array.astype(np.int32 if kind is LabelKind.CLASS else np.float32)


def count_label(label: np.ndarray, kind: LabelKind, k: int, where: str) -> Int64[np.ndarray, " _"]:
    """Counts a label, and refuses what it must not hold.

    Args:
      label: Of one example.
      kind: What the data set says that it is.
      k: How many classes, numbers or attributes there are.
      where: Its file, for messages.

    Returns:
      int64 (k + 1,): of each class the pixels or images; of numbers, in the first entry, those that
      are neither 0 nor NaN nor infinite; of each attribute 1 if the image has it. The last entry
      counts the others, which are missing.

    Raises:
      DataError: The label is of another kind, or a value is wrong.
    """
    label = _as_label(label)
    if kind_of(label) is not kind:
        raise DataError(
            f"{where}: the data set says that the label is {kind.value}; found {label.dtype} "
            f"{label.shape}. Say what it is: label_kinds of the data set."
        )
    if kind is LabelKind.CLASSES:
        return _count_classes(label, k, where)
    counts = np.zeros(k + 1, np.int64)
    if kind is LabelKind.NUMBERS:
        known = np.isfinite(label) & (label != 0)
        counts[0], counts[-1] = known.sum(), (~known).sum()
    elif kind is LabelKind.CLASS:
        counts[_class_of_image(int(label), k, where)] = 1
    else:
        if label.shape != (k,) or not np.isin(label[~np.isnan(label)], (0, 1)).all():
            raise DataError(
                f"{where}: expected {k} attributes of 0, 1 or NaN = missing; found {label.shape}, "
                f"{few(np.unique(label).tolist())}."
            )
        counts[:k], counts[-1] = label == 1, np.isnan(label).sum()
    return counts


def _class_of_image(label: int, k: int, where: str) -> int:
    """The place of an image's class in its counts; the last where it is missing."""
    if label == IGNORE >= k:
        return -1
    if not -1 <= label < k:
        raise DataError(
            f"{where}: expected a class of the image, 0 to {k - 1}, or -1 = missing; found {label}."
        )
    return label


def _count_classes(label: np.ndarray, k: int, where: str) -> np.ndarray:
    counts = np.bincount(label.ravel(), minlength=256)
    values = np.flatnonzero(counts)
    if wrong := [int(v) for v in values if k <= v < IGNORE]:
        raise DataError(_wrong_values(wrong, values, k, where))
    return np.append(counts[:k], counts[IGNORE])


def _wrong_values(wrong: list[int], values: np.ndarray, k: int, where: str) -> str:
    message = (
        f"{where}: expected labels 0 to {k - 1}, or 255 = ignored; found {few(wrong)} "
        f"(all values there: {few(values)}). "
    )
    if wrong == [k]:
        return message + (
            "Do the labels count from 1? Then subtract 1 and make 0 = void into 255: "
            f"--reduce-zero-label. Is {k} void? Then --ignore {k}. Or is there one class more (the "
            f"background counts)? Then num_classes is {k + 1}."
        )
    if len(values) > 2 * k + 2 or len(values) == 2:
        return message + (
            "These look like gray levels rather than class indices: save class k as the value k, "
            "or give each value its class: --label-map FILE."
        )
    return message + (
        "Give every value its class (--label-map FILE), or make it 255 to ignore it (--ignore "
        f"{' '.join(map(str, wrong[:10]))}); or correct num_classes."
    )
