"""Canvases: the few batch sizes in pixels that are worth compiling for.

A compiled program has one canvas of H x W pixels; a batch is put on the smallest canvas that covers
its images. More canvases mean less padding and more compilation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from fcn_jax.arithmetic import round_up
from fcn_jax.data.readers import DataError
from fcn_jax.data.transforms import Augment

Canvases = tuple[tuple[int, int], ...]  # rows and columns of each

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

    Draws batches as training would, starts with the canvas that covers every possible batch, and
    adds, one at a time, the canvas that lowers the mean area most, as long as it lowers it by
    `worth`.

    Args:
      sizes: Rows and columns of every image.
      batch_size: Images per batch, over all processes.
      augment: What is done to the images before they are put on a canvas.
      seed: Of the drawn batches.
      multiple: Heights and widths are rounded up to multiples of this.
      max_canvases: Never more than this many.
      worth: The smallest saving, as a fraction of the mean area, that is worth one more
        compilation.

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
    largest = np.unique(array, axis=0)
    if augment is not None:
        largest = np.array([augment.largest((int(h), int(w))) for h, w in largest])
    covering = round_up(largest.max(axis=0), multiple)
    drawn = _simulate(array, batch_size, augment, np.random.default_rng(seed))
    batches = round_up(drawn, multiple)
    heights, widths = (_spread(batches[:, axis]) for axis in (0, 1))
    candidates = np.stack(np.meshgrid(heights, widths, indexing="ij"), -1).reshape(-1, 2)
    covers = (candidates[:, None] >= batches[None]).all(-1)  # candidates x batches
    areas = candidates.prod(-1)

    chosen = {(int(covering[0]), int(covering[1]))}
    area = np.full(len(batches), covering.prod())  # of the canvas that each batch has so far
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
    """Whether every image certainly covers its whole canvas, so that true sizes are not needed.

    Args:
      sizes: Rows and columns of every image.
      canvases: As `choose_canvases` chose them.
      augment: What is done to the images before they are put on a canvas.
    """
    if len(canvases) != 1:
        return False
    array, canvas = np.asarray(sizes, np.int64).reshape(-1, 2), np.array(canvases[0])
    if augment is not None and augment.crop is not None:
        smallest = np.floor(array * augment.scale[0])
        return bool((canvas == augment.crop).all() and (smallest >= canvas).all())
    unscaled = augment is None or augment.scale == (1.0, 1.0)
    return unscaled and bool((array == canvas).all())


def canvas_for(sizes: Sequence[tuple[int, int]], canvases: Canvases | None) -> tuple[int, int]:
    """The smallest canvas that covers all sizes; without canvases, only as large as needed.

    Raises:
      DataError: None of the canvases is large enough.
    """
    height, width = max(h for h, _ in sizes), max(w for _, w in sizes)
    if canvases is None:
        return height, width
    fits = [c for c in canvases if c[0] >= height and c[1] >= width]
    if not fits:
        raise DataError(
            f"no canvas covers {height, width} (rows, columns); there are {canvases}. Choose "
            "them from this data set's sizes, with the same augmentation: choose_canvases."
        )
    return min(fits, key=lambda c: (c[0] * c[1], c))


def _simulate(
    sizes: Int[np.ndarray, "n 2"],
    batch_size: int,
    augment: Augment | None,
    rng: np.random.Generator,
) -> Int[np.ndarray, "batches 2"]:
    """Largest height and width in each of many batches."""
    batches = min(_SIMULATED, max(50, 5000 // batch_size))
    drawn = sizes[rng.integers(len(sizes), size=(batches, batch_size))]
    if augment is not None:
        planned = [augment.plan((int(h), int(w)), rng).size for h, w in drawn.reshape(-1, 2)]
        drawn = np.array(planned).reshape(drawn.shape)
    return drawn.max(axis=1)


def _spread(values: Int[np.ndarray, " n"]) -> Int[np.ndarray, " m"]:
    """All different values; quantiles if there are many."""
    different = np.unique(values)
    if len(different) <= _GRID:
        return different
    return np.unique(np.quantile(values, np.linspace(0, 1, _GRID), method="higher"))
