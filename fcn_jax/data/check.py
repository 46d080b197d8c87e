"""Looking at every label before training, so that a mistake costs a minute and not a run."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, Int64

from fcn_jax.data.files import IGNORE, DataError, read_image
from fcn_jax.data.source import FileSource, Source, check_same_size


class Checked(NamedTuple):
    """What a sound data set holds.

    Attributes:
      pixels: int64, pixels of each class over the whole set; the last entry counts the ignored.
      sizes: int32, rows and columns of each example.
      unlabelled: Names of the examples whose label is 255 (ignored) everywhere: nothing is learned
        from them, which is worth a warning.
      absent: Classes that no pixel of this set has.
    """

    pixels: Int64[np.ndarray, " k+1"]
    sizes: Int32[np.ndarray, "n 2"]
    unlabelled: tuple[str, ...]
    absent: tuple[str, ...]


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
    n, k = len(source), source.num_classes
    if n == 0:
        raise DataError(f"{source!r}: there are no examples.")

    def look(i: int) -> tuple[np.ndarray, tuple[int, int]]:
        return _look(source, i, decode_images)

    pixels = np.zeros(256, np.int64)
    sizes = np.zeros((n, 2), np.int32)
    unlabelled = []
    pool = ThreadPoolExecutor(max(1, threads))
    try:
        for i, (counts, size) in enumerate(pool.map(look, range(n))):
            pixels += counts
            sizes[i] = size
            if counts[:IGNORE].sum() == 0:
                unlabelled.append(_name(source, i))
            if progress is not None and ((i + 1) % 50 == 0 or i + 1 == n):
                progress(i + 1, n)
    finally:
        pool.shutdown(cancel_futures=True)
    if len(unlabelled) == n:
        raise DataError(f"{source!r}: every label is 255 (ignored) everywhere; nothing to learn.")
    if k > 1 and pixels[1:IGNORE].sum() == 0 and pixels[IGNORE] > 0:
        raise DataError(
            f"{source!r}: of {k} classes only class 0 occurs, beside 255. Are these masks drawn "
            "with 0 and 255? Here 255 means ignored: save the object's pixels as 1."
        )
    absent = tuple(source.class_names[c] for c in range(k) if pixels[c] == 0)
    return Checked(np.append(pixels[:k], pixels[IGNORE]), sizes, tuple(unlabelled), absent)


def _look(source: Source, i: int, decode_images: bool) -> tuple[np.ndarray, tuple[int, int]]:
    """Pixels of each of the 256 values, and the size."""
    if isinstance(source, FileSource):
        name = source.ids[i]
        where = str(source.label_path(name))
        size, label = source.size(i), source.label(i)
        if decode_images:
            read_image(source.image_path(name))
        check_same_size(size, label.shape, where)
    else:
        example = source[i]
        label, where, size = example.label, f"{example.name} ({source!r})", source.size(i)
        check_same_size(example.image.shape[:2], label.shape, where)
        check_same_size(size, label.shape, where)
    counts = np.bincount(label.ravel(), minlength=256)
    values = np.flatnonzero(counts)
    if wrong := [int(v) for v in values if source.num_classes <= v < IGNORE]:
        raise DataError(_wrong_values(wrong, values, source.num_classes, where))
    return counts, size


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
