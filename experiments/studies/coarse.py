"""Downsampling methods for masks of classes, each with its upsampling, for `iu_upper_bound`."""

import dataclasses
import functools
from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

from fcn_jax.arithmetic import ceil_div
from fcn_jax.labels import IGNORE

Mask = UInt8[np.ndarray, "h w"]
Centres = Callable[[int, int], np.ndarray]
"""Takes the length of an axis and the factor; gives the coordinates of the cells' centres."""


def first(n: int, factor: int) -> np.ndarray:
    """Cell i on pixel `factor * i`: the slice `[::factor]`."""
    return np.arange(0, n, factor, dtype=float)


def middle(n: int, factor: int) -> np.ndarray:
    """Cell i in the middle of block i; the last block may extend over the edge."""
    return np.minimum(first(n, factor) + (factor - 1) / 2, n - 1)


def even(n: int, factor: int) -> np.ndarray:
    """`round(n / factor)` cells of equal width that fill the axis (half-pixel centres)."""
    cells = max(round(n / factor), 1)
    return (np.arange(cells) + 0.5) * n / cells - 0.5


def corners(n: int, factor: int) -> np.ndarray:
    """`ceil(n / factor)` cells, the first and last on the outermost pixels (align-corners)."""
    cells = ceil_div(n, factor)
    return np.linspace(0, n - 1, cells) if cells > 1 else np.array([(n - 1) / 2])


def carried(truth: Mask) -> Mask:
    """Void is one more class."""
    return truth


def left_out(truth: Mask) -> Mask:
    """Void has no weight; a cell with only void takes the lowest class of the image."""
    return truth


def background(truth: Mask) -> Mask:
    """Void is class 0."""
    return np.where(truth == IGNORE, 0, truth).astype(np.uint8)


def filled(truth: Mask) -> Mask:
    """Void takes the class of the nearest labelled pixel, as in truth without void (SBD)."""
    from scipy.ndimage import distance_transform_edt

    if np.all(truth == IGNORE):
        return truth
    index = distance_transform_edt(truth == IGNORE, return_distances=False, return_indices=True)
    return truth[tuple(np.asarray(index))]


def sample(hot: np.ndarray, centres: Centres, factor: int) -> np.ndarray:
    """The pixel at each centre (halves round up)."""
    rows, columns = (
        np.floor(centres(n, factor) + 0.5).astype(int).clip(0, n - 1) for n in hot.shape[1:]
    )
    return hot[:, rows][:, :, columns]


def share(hot: np.ndarray, centres: Centres, factor: int) -> np.ndarray:
    """The share of each class in the pixels nearest to each cell."""
    rows, columns = (gathering_matrix(centres, n, factor) for n in hot.shape[1:])
    pixels = rows.sum(1)[:, None] * columns.sum(1)
    sums = rows @ _axis_first(hot, 1)  # integers, so that ties are exact
    sums = columns @ _axis_first(sums.reshape(-1, len(hot), hot.shape[2]).swapaxes(0, 1), 2)
    return sums.reshape(-1, len(hot), len(pixels)).transpose(1, 2, 0) / pixels


def majority(hot: np.ndarray, centres: Centres, factor: int) -> np.ndarray:
    """1 for the class with the largest share, 0 for the others."""
    winner = _argmax(share(hot, centres, factor))
    return (np.arange(len(hot))[:, None, None] == winner).astype(np.float32)


@functools.cache
def nearest(centres: Centres, n: int, factor: int) -> np.ndarray:
    """The nearest cell of each pixel; for `first`, the pixel's own block."""
    if centres is first:
        return np.arange(n) // factor
    return np.abs(np.arange(n)[:, None] - centres(n, factor)).argmin(1)


@functools.cache
def gathering_matrix(centres: Centres, n: int, factor: int) -> Any:
    """A sparse float32 matrix (cells, n): 1 for each pixel and its nearest cell."""
    from scipy.sparse import csr_array

    cells = nearest(centres, n, factor)
    return csr_array((np.ones(n, np.float32), (cells, np.arange(n))))


@functools.cache
def interpolation(centres: Centres, n: int, factor: int) -> Any:
    """A sparse float32 matrix (n, cells): linear between neighbouring cells, clamped outside."""
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
    """`planes` (k, h, w) as a matrix with this axis first: fast to multiply by a sparse matrix."""
    order = (1, 0, 2) if axis == 1 else (2, 0, 1)
    return planes.transpose(order).reshape(planes.shape[axis], -1)


def _bilinear(weights: np.ndarray, centres: Centres, shape: tuple[int, ...], f: int) -> np.ndarray:
    """`weights` (k, i, j), interpolated to (k, h, w)."""
    (k, i, _), (h, w) = weights.shape, shape
    wide = (interpolation(centres, w, f) @ _axis_first(weights, 2)).reshape(w, k, i)
    fine = interpolation(centres, h, f) @ _axis_first(wide.transpose(1, 2, 0), 1)
    return fine.reshape(h, k, w).swapaxes(0, 1)


def _argmax(weights: np.ndarray) -> np.ndarray:
    """`weights.argmax(0)`, several times faster for few classes."""
    best, winner = weights[0].copy(), np.zeros(weights.shape[1:], np.uint8)
    for k in range(1, len(weights)):
        np.copyto(winner, np.uint8(k), where=weights[k] > best)
        np.maximum(best, weights[k], out=best)
    return winner


class OneHot(NamedTuple):
    """The classes in a mask, (k,), and the mask of each class, float32 (k, h, w)."""

    classes: UInt8[np.ndarray, " k"]
    hot: Float32[np.ndarray, "k h w"]


def one_hot(mask: Mask, void: Callable[[Mask], Mask]) -> OneHot:
    """The mask by class; without void if `void` is `left_out`."""
    classes = np.flatnonzero(np.bincount(mask.ravel())).astype(np.uint8)
    if void is left_out and len(classes) > 1:
        classes = classes[classes != IGNORE]
    return OneHot(classes, (mask == classes[:, None, None]).astype(np.float32))


@dataclasses.dataclass(frozen=True)
class Method:
    """A downsampling method and the upsampling back to the size of the truth.

    Attributes:
        centres: positions of the coarse cells: `first`, `middle`, `even` or `corners`.
        down: `sample`, `share` or `majority`: one-hot (k, h, w) to (k, i, j) weights.
        smooth: whether the weights are interpolated bilinearly and the largest wins; otherwise
            each pixel takes the class of its cell.
        void: `carried`, `left_out`, `background` or `filled`.
    """

    centres: Centres
    down: Callable[..., np.ndarray]
    smooth: bool
    void: Callable[[Mask], Mask]

    def __str__(self):
        up = "bilinear" if self.smooth else "nearest"
        return f"{self.centres.__name__}, {self.down.__name__}, {up}, void {self.void.__name__}"

    def __call__(self, mask: OneHot, factor: int) -> Mask:
        """The best answer of a net of this output stride for `void(truth)`; 255 is void."""
        classes, hot = mask
        weights, shape = self.down(hot, self.centres, factor), hot.shape[1:]
        if self.smooth:
            return classes[_argmax(_bilinear(weights, self.centres, shape, factor))]
        cells = (nearest(self.centres, n, factor) for n in shape)
        return classes[_argmax(weights)][np.ix_(*cells)]


def all_methods() -> list[Method]:
    """Every method that is tried; `share` without `smooth` would equal `majority`."""
    positions = first, middle, even, corners
    downs = (sample, False), (sample, True), (majority, False), (share, True)
    voids = carried, left_out, background, filled
    return [
        Method(centres, down, smooth, void)
        for centres, (down, smooth), void in product(positions, downs, voids)
    ]
