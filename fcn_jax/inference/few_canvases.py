"""Canvases for images that come one at a time: as few programs as compiling is worth."""

from collections.abc import Sequence

import numpy as np

Canvases = tuple[tuple[int, int], ...]  # rows and columns of each

_DIFFERENT = 256  # canvases to begin with; more are first rounded up to larger multiples


def few_canvases(
    sizes: Sequence[tuple[int, int]], *, program: float, multiple: int = 64
) -> Canvases:
    """Chooses canvases, each of which is one program to compile, for images one at a time.

    Begins with every image's own size, rounded up, and puts two canvases together, the most
    rewarding first, as long as that takes less time than compiling for both.

    Args:
        sizes: rows and columns of every image.
        program: pixels that are predicted in the time that one more program takes to compile.
        multiple: rows and columns are rounded up to multiples of this.

    Returns:
        Rows and columns of each canvas, by area. Each image fits on one, and the canvases that were
        put together with its own have at most twice the area of the largest of their images, so
        that memory is not given to a square around a wide image and a high one.
    """
    array = np.asarray(sizes, np.int64).reshape(-1, 2)
    canvases, counts = _rounded(array, multiple)
    while len(canvases) > _DIFFERENT:
        multiple *= 2
        canvases, counts = _rounded(array, multiple)
    limits = 2 * canvases.prod(-1)
    while len(canvases) > 1:
        both = np.maximum(canvases[:, None], canvases[None])
        area, own = both.prod(-1), canvases.prod(-1)
        more = counts * (area.T - own)  # pixels for the images of the second, in the matrix's rows
        gain = program - more - more.T
        gain[area > np.maximum(limits[:, None], limits[None])] = -1
        np.fill_diagonal(gain, -1)
        i, j = np.unravel_index(gain.argmax(), gain.shape)
        if gain[i, j] < 0:
            break
        canvases[i] = both[i, j]
        counts[i] += counts[j]
        limits[i] = max(limits[i], limits[j])
        canvases, counts, limits = (np.delete(x, j, axis=0) for x in (canvases, counts, limits))
    chosen = {(int(h), int(w)) for h, w in canvases}
    return tuple(sorted(chosen, key=lambda c: (c[0] * c[1], c)))


def _rounded(sizes: np.ndarray, multiple: int) -> tuple[np.ndarray, np.ndarray]:
    """The different sizes after rounding up, and how many images have each."""
    up = -(-sizes // multiple) * multiple
    canvases, counts = np.unique(up, axis=0, return_counts=True)
    return canvases, counts
