"""Ways to make a mask of classes coarse and fine again, for `iu_upper_bound`."""

import dataclasses
import functools
from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

VOID = 255

Mask = UInt8[np.ndarray, "h w"]
Centres = Callable[[int, int], np.ndarray]
"""From an axis's length and the factor to the coordinates of the coarse cells' centres."""


def first(n: int, factor: int) -> np.ndarray:
    """Cell i on pixel `factor * i`: the slice `[::factor]`."""
    return np.arange(0, n, factor, dtype=float)


def middle(n: int, factor: int) -> np.ndarray:
    """Cell i in the middle of block i; the last block may hang over the edge."""
    return np.minimum(first(n, factor) + (factor - 1) / 2, n - 1)


def even(n: int, factor: int) -> np.ndarray:
    """`round(n / factor)` cells of equal width that fill the axis (half-pixel centres)."""
    cells = max(round(n / factor), 1)
    return (np.arange(cells) + 0.5) * n / cells - 0.5


def corners(n: int, factor: int) -> np.ndarray:
    """`ceil(n / factor)` cells, the first and last on the outermost pixels (align-corners)."""
    cells = -(-n // factor)
    return np.linspace(0, n - 1, cells) if cells > 1 else np.array([(n - 1) / 2])


def carried(truth: Mask) -> Mask:
    """Void is one more class on the way."""
    return truth


def left_out(truth: Mask) -> Mask:
    """Void has no weight; where there is nothing else, the lowest class of the image wins."""
    return truth


def background(truth: Mask) -> Mask:
    """Void is class 0."""
    return np.where(truth == VOID, 0, truth).astype(np.uint8)


def filled(truth: Mask) -> Mask:
    """Void takes the class of the nearest labelled pixel, as in truth that has no void (SBD)."""
    from scipy.ndimage import distance_transform_edt

    if np.all(truth == VOID):
        return truth
    index = distance_transform_edt(truth == VOID, return_distances=False, return_indices=True)
    return truth[tuple(np.asarray(index))]


def sample(hot: np.ndarray, centres: Centres, factor: int) -> np.ndarray:
    """The one pixel under each centre (halves round up)."""
    rows, columns = (
        np.floor(centres(n, factor) + 0.5).astype(int).clip(0, n - 1) for n in hot.shape[1:]
    )
    return hot[:, rows][:, :, columns]


def share(hot: np.ndarray, centres: Centres, factor: int) -> np.ndarray:
    """The share of each class in the pixels that are nearest to the cell."""
    rows, columns = (gathering(centres, n, factor) for n in hot.shape[1:])
    pixels = rows.sum(1)[:, None] * columns.sum(1)
    sums = rows @ _axis_first(hot, 1)  # whole numbers, so equal shares are equal
    sums = columns @ _axis_first(sums.reshape(-1, len(hot), hot.shape[2]).swapaxes(0, 1), 2)
    return sums.reshape(-1, len(hot), len(pixels)).transpose(1, 2, 0) / pixels


def majority(hot: np.ndarray, centres: Centres, factor: int) -> np.ndarray:
    """The class with the largest share alone."""
    winner = _largest(share(hot, centres, factor))
    return (np.arange(len(hot))[:, None, None] == winner).astype(np.float32)


@functools.cache
def nearest(centres: Centres, n: int, factor: int) -> np.ndarray:
    """The cell of each pixel: the nearest centre; the pixel's own block for `first`."""
    if centres is first:
        return np.arange(n) // factor
    return np.abs(np.arange(n)[:, None] - centres(n, factor)).argmin(1)


@functools.cache
def gathering(centres: Centres, n: int, factor: int) -> Any:
    """A sparse float32 matrix (cells, n): 1 where the pixel's nearest cell is this one."""
    from scipy.sparse import csr_array

    cells = nearest(centres, n, factor)
    return csr_array((np.ones(n, np.float32), (cells, np.arange(n))))


@functools.cache
def interpolation(centres: Centres, n: int, factor: int) -> Any:
    """A sparse float32 matrix (n, cells): linear between the two cells around, clamped outside."""
    from scipy.sparse import csr_array

    cells, pixels = centres(n, factor), np.arange(n)
    after = np.searchsorted(cells, pixels, "right").clip(min(1, len(cells) - 1), len(cells) - 1)
    before = np.maximum(after - 1, 0)
    width = np.where(after > before, cells[after] - cells[before], 1)
    t = ((pixels - cells[before]) / width).clip(0, 1)
    weights = np.concatenate([1 - t, t]).astype(np.float32)
    where = np.concatenate([pixels, pixels]), np.concatenate([before, after])
    return csr_array((weights, where), shape=(n, len(cells)))


def _axis_first(planes: np.ndarray, axis: int) -> np.ndarray:
    """`planes` (k, h, w) as a matrix whose rows are that axis: what a sparse matrix is fast on."""
    order = (1, 0, 2) if axis == 1 else (2, 0, 1)
    return planes.transpose(order).reshape(planes.shape[axis], -1)


def _bilinear(weights: np.ndarray, centres: Centres, shape: tuple[int, ...], f: int) -> np.ndarray:
    (k, i, _), (h, w) = weights.shape, shape
    wide = (interpolation(centres, w, f) @ _axis_first(weights, 2)).reshape(w, k, i)
    fine = interpolation(centres, h, f) @ _axis_first(wide.transpose(1, 2, 0), 1)
    return fine.reshape(h, k, w).swapaxes(0, 1)


def _largest(weights: np.ndarray) -> np.ndarray:
    """`weights.argmax(0)`, several times faster for a handful of classes."""
    best, winner = weights[0].copy(), np.zeros(weights.shape[1:], np.uint8)
    for k in range(1, len(weights)):
        np.copyto(winner, np.uint8(k), where=weights[k] > best)
        np.maximum(best, weights[k], out=best)
    return winner


class OneHot(NamedTuple):
    """The classes that a mask has, (k,), and where each of them is, float32 (k, h, w)."""

    classes: UInt8[np.ndarray, " k"]
    hot: Float32[np.ndarray, "k h w"]


def one_hot(start: Mask, void: Callable[[Mask], Mask]) -> OneHot:
    """The mask by class; without void where it is left out."""
    classes = np.flatnonzero(np.bincount(start.ravel())).astype(np.uint8)
    if void is left_out and len(classes) > 1:
        classes = classes[classes != VOID]
    return OneHot(classes, (start == classes[:, None, None]).astype(np.float32))


@dataclasses.dataclass(frozen=True)
class Way:
    """One way to make a truth coarse and fine again.

    Attributes:
        centres: where the coarse cells lie: `first`, `middle`, `even` or `corners`.
        down: `sample`, `share` or `majority`: one-hot (k, h, w) to (k, i, j) weights.
        smooth: the weights are interpolated bilinearly and the largest wins; otherwise each pixel
            takes its cell's class.
        void: `carried`, `left_out`, `background` or `filled`.
    """

    centres: Centres
    down: Callable[..., np.ndarray]
    smooth: bool
    void: Callable[[Mask], Mask]

    def __str__(self):
        up = "bilinear" if self.smooth else "nearest"
        return f"{self.centres.__name__}, {self.down.__name__}, {up}, void {self.void.__name__}"

    def __call__(self, start: OneHot, factor: int) -> Mask:
        """`void(truth)` as a net of that output stride could give it at best; 255 is void."""
        classes, hot = start
        weights, shape = self.down(hot, self.centres, factor), hot.shape[1:]
        if self.smooth:
            return classes[_largest(_bilinear(weights, self.centres, shape, factor))]
        cells = (nearest(self.centres, n, factor) for n in shape)
        return classes[_largest(weights)][np.ix_(*cells)]


def ways() -> list[Way]:
    """Every way that is tried; the largest share, repeated, is the majority repeated."""
    reductions = (sample, False), (sample, True), (majority, False), (share, True)
    voids = carried, left_out, background, filled
    return [
        Way(centres, down, smooth, void)
        for centres, (down, smooth), void in product(
            (first, middle, even, corners), reductions, voids
        )
    ]
