"""Canvases: the few batch sizes in pixels that are worth compiling for.

A compiled program has one canvas of H x W pixels; a batch is put on the smallest canvas that covers
its images. More canvases mean less padding and more compilation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from fcn_jax.data.named import each, primary
from fcn_jax.data.readers import DataError
from fcn_jax.data.source import Example
from fcn_jax.data.transforms import Augment
from fcn_jax.labels import IGNORE

Batch = dict[str, Any]  # of arrays, and of dicts of arrays by name
Canvases = tuple[tuple[int, int], ...]

_SIMULATED = 1000  # batches; the mean area is then known within a few percent
_GRID = 24  # heights and widths tried


def choose_canvases(
    sizes: Int[np.ndarray, "n 2"] | Sequence[tuple[int, int]],
    batch_size: int,
    *,
    augment: Augment | None = None,
    seed: int = 0,
    multiple: int = 1,
    max_canvases: int = 8,
    worth: float = 0.05,
) -> Canvases:
    """Chooses canvases from the sizes of the images.

    Draws batches as training would, starts with the canvas that covers everything, and adds, one at
    a time, the canvas that lowers the mean area most, as long as it lowers it by `worth`.

    Args:
      sizes: Rows and columns of every image.
      batch_size: Images per batch, over all processes.
      augment: What is done to the images before they are put on a canvas.
      seed: Of the drawn batches.
      multiple: Heights and widths are rounded up to multiples of this.
      max_canvases: Never more than this many.
      worth: Smallest saving of mean area, as a part of it, that is worth one more compilation.

    Returns:
      Rows and columns of each canvas, sorted by area. The last covers every possible batch.

    Raises:
      DataError: No sizes, or an argument is out of its range.
    """
    array = np.asarray(sizes, np.int64).reshape(-1, 2)
    if array.size == 0 or array.min() < 1:
        raise DataError(f"choose_canvases: expected sizes of at least one pixel, got {sizes!r}.")
    if min(batch_size, multiple, max_canvases) < 1:
        raise DataError("choose_canvases: batch_size, multiple and max_canvases must be >= 1.")

    def round_up(a: np.ndarray) -> np.ndarray:
        return -(-a // multiple) * multiple

    largest = array if augment is None else _mapped(array, augment.largest)
    covering = round_up(largest.max(axis=0))
    batches = round_up(_simulate(array, batch_size, augment, np.random.default_rng(seed)))
    heights, widths = (_spread(batches[:, axis]) for axis in (0, 1))
    candidates = np.stack(np.meshgrid(heights, widths, indexing="ij"), -1).reshape(-1, 2)
    covers = (candidates[:, None] >= batches[None]).all(-1)
    areas = candidates.prod(-1)

    chosen = {(int(covering[0]), int(covering[1]))}
    area = np.full(len(batches), covering.prod())  # of each batch's canvas so far
    while len(chosen) < max_canvases:
        with_each = np.where(covers, np.minimum(areas[:, None], area), area)
        best = int(with_each.mean(axis=1).argmin())
        saved = area.mean() - with_each[best].mean()
        if saved <= 0 or saved < worth * area.mean():
            break
        area = with_each[best]
        chosen.add((int(candidates[best, 0]), int(candidates[best, 1])))
    return tuple(sorted(chosen, key=lambda c: (c[0] * c[1], c)))


def fills_canvas(
    sizes: Int[np.ndarray, "n 2"] | Sequence[tuple[int, int]],
    canvases: Canvases,
    augment: Augment | None = None,
) -> bool:
    """Whether every image certainly covers its whole canvas, so that no true sizes are needed.

    Args:
      sizes: Rows and columns of every image.
      canvases: As `choose_canvases` chose them.
      augment: What is done to the images before they are put on a canvas.
    """
    array = np.asarray(sizes, np.int64).reshape(-1, 2)
    if len(canvases) != 1:
        return False
    canvas = np.array(canvases[0])
    if augment is None:
        return bool((array == canvas).all())
    if augment.crop is None:
        return augment.scale == (1.0, 1.0) and bool((array == canvas).all())
    smallest = np.floor(array * augment.scale[0])
    return bool((canvas == augment.crop).all() and (smallest >= canvas).all())


def canvas_for(size: tuple[int, int], canvases: Canvases | None) -> tuple[int, int]:
    """The smallest canvas that covers `size`; without canvases, `size` itself.

    Raises:
      DataError: None of the canvases is large enough.
    """
    if canvases is None:
        return size
    fits = [c for c in canvases if c[0] >= size[0] and c[1] >= size[1]]
    if not fits:
        raise DataError(
            f"no canvas covers {size} (rows, columns); there are {canvases}. Choose them from the "
            "sizes of this very data set, with the same augmentation: choose_canvases."
        )
    return min(fits, key=lambda c: (c[0] * c[1], c))


def own_rows(batch_size: int, part: tuple[int, int]) -> range:
    """The rows of a batch that process i of p loads, `part` being (i, p).

    Raises:
      DataError: The batch cannot be split evenly.
    """
    i, p = part
    if not 0 <= i < p or batch_size < 1 or batch_size % p:
        raise DataError(
            f"expected a batch size that is a multiple of the number of processes and part = "
            f"(process, processes); got batch_size {batch_size}, part {part}."
        )
    return range(i * batch_size // p, (i + 1) * batch_size // p)


def covering_size(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Largest number of rows and largest number of columns."""
    return max(h for h, _ in sizes), max(w for _, w in sizes)


def collate(examples: list[Example], canvas: tuple[int, int]) -> Batch:
    """Puts examples into the top left corners of equal canvases.

    Returns:
      `image` uint8 (b, H, W, 3), 0 outside each image; `label` uint8 (b, H, W), 255 = ignored and
      outside; `size` int32 (b, 2), each image's own rows and columns. Of several inputs or labels,
      dicts of such arrays by name, each with its own channels and dtype.

    Raises:
      DataError: An example is larger than the canvas, or they differ in inputs or labels.
    """
    size: Int[np.ndarray, "b 2"] = np.zeros((len(examples), 2), np.int32)
    for row, example in enumerate(examples):
        h, w = size[row] = primary(example.label).shape
        if h > canvas[0] or w > canvas[1]:
            raise DataError(
                f"{example.name}: {h} rows and {w} columns do not fit on the canvas {canvas}. "
                "Choose canvases from this data set's sizes: choose_canvases."
            )

    def stack(fill: int, *arrays: np.ndarray) -> np.ndarray:
        first = arrays[0]
        out = np.full((len(arrays), *canvas, *first.shape[2:]), fill, first.dtype)
        for row, (array, (h, w)) in enumerate(zip(arrays, size, strict=True)):
            out[row, :h, :w] = array
        return out

    return {
        "image": each(lambda _, *arrays: stack(0, *arrays), *(e.image for e in examples)),
        "label": each(lambda _, *arrays: stack(IGNORE, *arrays), *(e.label for e in examples)),
        "size": size,
    }


def empty_like(example: Example) -> Example:
    """One pixel without a label, in arrays like those of `example`."""
    return Example(
        each(lambda _, array: np.zeros((1, 1, *array.shape[2:]), array.dtype), example.image),
        each(lambda _, array: np.full((1, 1), IGNORE, array.dtype), example.label),
        "(empty)",
    )


def _mapped(sizes: np.ndarray, function) -> np.ndarray:
    different, inverse = np.unique(sizes, axis=0, return_inverse=True)
    return np.array([function((int(h), int(w))) for h, w in different])[inverse.reshape(-1)]


def _simulate(
    sizes: np.ndarray, batch_size: int, augment: Augment | None, rng: np.random.Generator
) -> np.ndarray:
    """Largest height and width in each of many batches."""
    batches = min(_SIMULATED, max(50, 5000 // batch_size))
    drawn = sizes[rng.integers(len(sizes), size=(batches, batch_size))]
    if augment is not None:
        planned = [augment.plan((int(h), int(w)), rng).size for h, w in drawn.reshape(-1, 2)]
        drawn = np.array(planned).reshape(drawn.shape)
    return drawn.max(axis=1)


def _spread(values: np.ndarray) -> np.ndarray:
    """All different values, or quantiles where there are many."""
    different = np.unique(values)
    if len(different) <= _GRID:
        return different
    return np.unique(np.quantile(values, np.linspace(0, 1, _GRID), method="higher"))
