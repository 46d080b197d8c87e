"""Looking at every label before training, so that a mistake costs a minute and not a run."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import compress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32, Int64

from fcn_jax.data.folders import Folders
from fcn_jax.data.named import each, primary
from fcn_jax.data.readers import DataError, image_size
from fcn_jax.data.source import FileSource, Source, check_same_size
from fcn_jax.labels import IGNORE

_Counts = Int64[np.ndarray, "256"] | dict[str, Int64[np.ndarray, "256"]]  # by label value


class Checked(NamedTuple):
    """What a sound data set holds.

    Attributes:
      pixels: int64, pixels of each class over the whole set; the last entry counts the ignored. A
        dict by name of several labels.
      sizes: int32, rows and columns of each example.
      unlabelled: Names of the examples whose label (all of their labels) is 255 (ignored)
        everywhere: nothing is learned from them, which is worth a warning.
      absent: A tuple of the classes that no pixel of this set has; of several labels a dict.
    """

    pixels: Any
    sizes: Int32[np.ndarray, "n 2"]
    unlabelled: tuple[str, ...]
    absent: Any


def check_labels(
    source: Source,
    *,
    threads: int = 8,
    progress: Callable[[int, int], None] | None = None,
    decode_images: bool = False,
) -> Checked:
    """Goes over all examples: files there and readable, sizes equal, every label value a class.

    Args:
      source: What is to be checked. Of a `FileSource`, labels are decoded and images only opened.
      threads: Reading threads.
      progress: Called with (examples done, examples in all) now and then.
      decode_images: Decode the images as well, which takes several times as long and finds files
        that are cut off.

    Returns:
      Pixel counts, sizes, and what is odd without being wrong.

    Raises:
      DataError: At the first example, in the source's order, that is wrong: names the file, what
        was found there and what to do.
    """
    n = len(source)
    if n == 0:
        raise DataError(f"{source!r}: there are no examples.")

    def look(i: int) -> tuple[_Counts, tuple[int, int]]:
        return _look(source, i, decode_images)

    pixels = each(lambda *_: np.zeros(256, np.int64), source.num_classes)
    sizes = np.zeros((n, 2), np.int32)
    unlabelled = []
    pool = ThreadPoolExecutor(max(1, threads))
    try:
        for i, (counts, size) in enumerate(pool.map(look, range(n))):
            pixels = each(lambda _, total, found: total + found, pixels, counts)
            sizes[i] = size
            labelled = each(lambda _, found: found[:IGNORE].any(), counts)
            if not np.any(list(labelled.values()) if isinstance(labelled, dict) else labelled):
                unlabelled.append(_name(source, i))
            if progress is not None and ((i + 1) % 50 == 0 or i + 1 == n):
                progress(i + 1, n)
    finally:
        pool.shutdown(cancel_futures=True)

    def learnable(name: str, counts: np.ndarray, k: int) -> None:
        where = str(getattr(source, "folder", type(source).__name__))
        _check_learnable(f"{where}{_of(name)}", counts, k)

    each(learnable, pixels, source.num_classes)
    return Checked(
        each(lambda _, c, k: np.append(c[:k], c[IGNORE]), pixels, source.num_classes),
        sizes,
        tuple(unlabelled),
        each(lambda _, c, names: tuple(compress(names, c == 0)), pixels, source.class_names),
    )


def check_apart(train_set: Source, validation_set: Source) -> None:
    """Refuses lists of one's own that share images: they would be scored after being learned.

    Raises:
        DataError: both are `Folders`, and an image is in both.
    """
    if isinstance(train_set, Folders) and isinstance(validation_set, Folders):
        both = [
            {source.image_path(name).resolve() for name in source.ids}
            for source in (train_set, validation_set)
        ]
        if common := sorted(both[0] & both[1]):
            raise DataError(
                f"{common[0]} is to train on and to validate on, and so are {len(common) - 1} "
                "others; leave each in one of the two lists"
            )


def _check_learnable(where: str, counts: np.ndarray, k: int) -> None:
    if counts[:IGNORE].sum() == 0:
        raise DataError(f"{where}: every label is 255 (ignored) everywhere; nothing to learn.")
    if k > 1 and counts[1:IGNORE].sum() == 0 and counts[IGNORE] > 0:
        raise DataError(
            f"{where}: of {k} classes only class 0 occurs, beside 255. Are these masks drawn "
            "with 0 and 255? Here 255 means ignored: save the object's pixels as 1."
        )


def _look(source: Source, i: int, decode_images: bool) -> tuple[_Counts, tuple[int, int]]:
    """Pixels of each of the 256 values, and the size."""

    def count(name: str, label: np.ndarray, where: Path | str, k: int) -> np.ndarray:
        check_same_size(size, label.shape, where, name)
        counts = np.bincount(label.ravel(), minlength=256)
        values = np.flatnonzero(counts)
        if wrong := [int(v) for v in values if k <= v < IGNORE]:
            raise DataError(_wrong_values(wrong, values, k, f"{where}{_of(name)}"))
        return counts

    if isinstance(source, FileSource):
        name = source.ids[i]
        files, where = source.image_path(name), source.label_path(name)
        sizes = each(lambda _, path: image_size(path), files)
        size, label = primary(sizes), source.label(i)
        if decode_images:
            source.read_input(name)
    else:
        example = source[i]
        size, label = source.size(i), example.label
        sizes = each(lambda _, array: array.shape[:2], example.image)
        files, where = (
            each(lambda *_: f"{example.name} ({source!r})", value)
            for value in (example.image, example.label)
        )
    each(lambda what, s, file: check_same_size(size, s, file, what or "image"), sizes, files)
    return each(count, label, where, source.num_classes), size


def _of(name: str) -> str:
    return f" ({name})" if name else ""


def _wrong_values(wrong: list[int], values: np.ndarray, k: int, where: str) -> str:
    message = (
        f"{where}: expected labels 0 to {k - 1}, or 255 = ignored; found {_some(wrong)} "
        f"(all values there: {_some(values.tolist())}). "
    )
    if wrong == [k]:
        return message + (
            f"Do the labels count from 1? Then subtract 1 and make 0 = void into 255. Or is there "
            f"one class more (the background counts)? Then num_classes is {k + 1}."
        )
    if len(values) > 2 * k + 2 or len(values) == 2:
        return message + (
            "These look like gray levels rather than class indices: save class k as the value k."
        )
    return message + (
        "Give every value its class, or make it 255 to ignore it; or correct num_classes."
    )


def _name(source: Source, i: int) -> str:
    return source.ids[i] if isinstance(source, FileSource) else source[i].name


def _some(values: list[int]) -> str:
    return ", ".join(map(str, values[:10])) + (", ..." if values[10:] else "")
