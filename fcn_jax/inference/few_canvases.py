"""Canvases for images that are predicted one at a time.

`fcn_jax.data.canvases` chooses canvases for batches that are drawn at random, by their mean area.
"""

from collections.abc import Sequence

import numpy as np

from fcn_jax.arithmetic import round_up
from fcn_jax.data.canvases import Canvases

_MOST_AT_START = 256  # more different sizes are first rounded up to larger multiples


def few_canvases(
    sizes: Sequence[tuple[int, int]], *, compile_cost: float, multiple: int = 64
) -> Canvases:
    """Chooses canvases with which compilation and prediction together take little time.

    Each canvas is one program to compile. Starts with every image's own size, rounded up. Merges
    two canvases at a time, those that save most first, until padding costs more than compilation.

    Args:
        sizes: rows and columns of every image.
        compile_cost: time to compile one program, as the number of pixels predicted in that time.
        multiple: rows and columns are rounded up to multiples of this.

    Returns:
        Rows and columns of each canvas, sorted by area. Each image fits on one of them. A merged
        canvas has at most twice the area of the largest of its images' own canvases: a square
        around a wide image and a high one would take too much memory.
    """
    array = np.asarray(sizes, np.int64).reshape(-1, 2)
    canvases, counts = np.unique(round_up(array, multiple), axis=0, return_counts=True)
    while len(canvases) > _MOST_AT_START:
        multiple *= 2
        canvases, counts = np.unique(round_up(array, multiple), axis=0, return_counts=True)
    limits = 2 * canvases.prod(-1)
    while len(canvases) > 1:
        gains = _gains_of_merging(canvases, counts, limits, compile_cost)
        i, j = np.unravel_index(gains.argmax(), gains.shape)
        if gains[i, j] < 0:
            break
        canvases[i] = np.maximum(canvases[i], canvases[j])
        counts[i] += counts[j]
        limits[i] = max(limits[i], limits[j])
        canvases, counts, limits = (np.delete(x, j, axis=0) for x in (canvases, counts, limits))
    chosen = {(int(h), int(w)) for h, w in canvases}
    return tuple(sorted(chosen, key=lambda c: (c[0] * c[1], c)))


def _gains_of_merging(
    canvases: np.ndarray, counts: np.ndarray, limits: np.ndarray, compile_cost: float
) -> np.ndarray:
    """Pixels saved by merging canvases i and j, in entry (i, j); -1 beyond the `limits` of area."""
    area = np.maximum(canvases[:, None], canvases[None]).prod(-1)
    padding = counts[:, None] * (area - canvases.prod(-1)[:, None])  # added to the images of i
    gains = compile_cost - padding - padding.T
    gains[area > np.maximum(limits[:, None], limits[None])] = -1
    np.fill_diagonal(gains, -1)
    return gains
