"""A feature map that knows where it lies on the image.

Every cell of a feature map looks at the input around one point. `Grid` is the exact map from a
cell's index to that point, and each layer transforms it; so the offset at which two maps line up
is computed from their grids and never remembered as a constant. `FeatureMap` carries the values,
the grid and, on a canvas shared by images of different sizes, each image's own extent.
"""

import dataclasses
import math
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

WHOLE_IMAGE = math.inf
"""The receptive field of what looks at all of the image, however large."""


@dataclasses.dataclass(frozen=True)
class Grid:
    """Where the cells of a feature map lie on the input, along either axis.

    Cell `i` is centred on the input coordinate `offset + stride * i` (pixel centres are integers)
    and depends on nothing outside the `field` input pixels around it. Exact rationals.

    Attributes:
        stride: input pixels from one cell to the next.
        offset: input coordinate of the centre of cell 0.
        field: extent of the receptive field in input pixels; `WHOLE_IMAGE` where it has none.

    Source: BVLC/caffe python/caffe/coord_map.py composes the same maps, as (scale, shift) from
    input to cell; ours is the inverse, so that it reads in pixels.
    """

    stride: Fraction = Fraction(1)
    offset: Fraction = Fraction(0)
    field: Fraction | float = Fraction(1)

    def window(self, kernel: int, stride: int, padding: int) -> "Grid":
        """The grid after a convolution or pooling of that geometry."""
        return Grid(
            self.stride * stride,
            self.offset + self.stride * (Fraction(kernel - 1, 2) - padding),
            self.field + self.stride * (kernel - 1),
        )

    def transposed(self, kernel: int, stride: int) -> "Grid":
        """The grid after a transposed convolution (no padding) of that geometry."""
        fine = self.stride / stride
        return Grid(
            fine,
            self.offset - fine * Fraction(kernel - 1, 2),
            self.field + fine * (kernel - 1),
        )

    def cropped(self, start: int) -> "Grid":
        """The grid after the first `start` cells are cut off."""
        return dataclasses.replace(self, offset=self.offset + self.stride * start)

    def index_of(self, other: "Grid") -> Fraction:
        """The (fractional) index in this grid at which cell 0 of `other` lies."""
        return (other.offset - self.offset) / self.stride


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class FeatureMap:
    """Values on a grid: what every layer takes and returns.

    Outside an image's own extent the values are zero, which is what a layer's own zero padding
    would have put there; so an image computes the same on any canvas that holds it.

    Attributes:
        values: `(b, h, w, c)` float array.
        size: int32 `(b, 2)`, rows and columns of each image's own extent on this map, or None
            where the extent is the whole map. Traced: one program serves every size.
        grid: where the cells lie on the input.
        ring: zero cells that surround the values on every side and are not stored; the next
            layer takes them as part of its padding.
        name: the layer that made the map, for messages.
        nonnegative: no value is below zero, as after a ReLU; new values are not, unless said so.
        border: where only a rectangle of the cells is stored, what surrounds it (see
            `fcn_jax.nn.background`); None where all are.
    """

    values: Any
    size: Any = None
    grid: Grid = dataclasses.field(default=Grid(), metadata={"static": True})
    ring: int = dataclasses.field(default=0, metadata={"static": True})
    name: str = dataclasses.field(default="image", metadata={"static": True})
    nonnegative: bool = dataclasses.field(default=False, metadata={"static": True})
    border: Any = None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the canvas, stored or not."""
        if self.border is not None:
            return self.border.shape
        return self.values.shape[1], self.values.shape[2]

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.values.shape[3]

    def replace(self, **changes: Any) -> "FeatureMap":
        """A copy with some attributes changed."""
        if "values" in changes:
            changes = {"nonnegative": False, **changes}
        return dataclasses.replace(self, **changes)

    def inside(self) -> Bool[Array, "b h w 1"]:
        """True on each image's own extent, for the stored cells. Needs `size`."""
        (h, w), (top, left) = self.values.shape[1:3], self.border.start if self.border else (0, 0)
        rows = jnp.arange(top, top + h) < self.size[:, :1]
        columns = jnp.arange(left, left + w) < self.size[:, 1:]
        return (rows[:, :, None] & columns[:, None, :])[..., None]

    def masked(self, fill: float = 0.0) -> "FeatureMap":
        """The map with `fill` outside each image's own extent."""
        if self.size is None:
            return self
        fill_value = jnp.asarray(fill, self.values.dtype)
        values = jnp.where(self.inside(), self.values, fill_value)
        return self.replace(values=values, nonnegative=self.nonnegative and fill >= 0)


def conv_size(n: Any, kernel: int, stride: int, padding: int) -> Any:
    """Cells along an axis of `n` cells after a convolution; int or int array.

    Source: BVLC/caffe src/caffe/layers/conv_layer.cpp, compute_output_shape (floor).
    """
    return (n + 2 * padding - kernel) // stride + 1


def pool_size(n: Any, kernel: int, stride: int, padding: int) -> Any:
    """Cells along an axis of `n` cells after ceil-mode pooling; int or int array.

    The last window may hang over the edge, but starts inside the map.

    Source: BVLC/caffe src/caffe/layers/pooling_layer.cpp, Reshape.
    Differs: a map smaller than `kernel - stride + 1` gives one window, where Caffe refuses it;
    and where the stride exceeds the kernel, Caffe without padding keeps an empty last window.
    """
    out = -((kernel - n - 2 * padding) // stride) + 1
    out = out - ((out - 1) * stride >= n + padding)
    return max(out, 1) if isinstance(n, int) else jnp.maximum(out, 1)


@dataclasses.dataclass(frozen=True)
class Overlap:
    """The rectangle that two maps on the same grid share.

    Attributes:
        starts: index of its first cell (row and column alike) in the first and second map.
        shape: its rows and columns on the canvas.
        size: its true rows and columns, int32 `(b, 2)`, or None.
    """

    starts: tuple[int, int]
    shape: tuple[int, int]
    size: Any


def overlap(a: FeatureMap, b: FeatureMap) -> Overlap:
    """Where two maps coincide, derived from their grids.

    Raises:
        ValueError: the strides differ, the cells of one fall between those of the other, or the
            maps have no cell in common; both layers are named.
    """
    if a.grid.stride != b.grid.stride:
        raise ValueError(
            f"{a.name} and {b.name} cannot be laid over each other: their strides are "
            f"{a.grid.stride} and {b.grid.stride} input pixels; upsample the coarser one first"
        )
    index = a.grid.index_of(b.grid)
    if index.denominator != 1:
        raise ValueError(
            f"{a.name} and {b.name} cannot be laid over each other: cell 0 of {b.name} falls on "
            f"index {index} of {a.name}, between two cells; an upsampling kernel one smaller or "
            "larger, or another padding, moves it by half a cell"
        )
    starts = max(int(index), 0), max(-int(index), 0)
    shape = tuple(min(m - starts[0], n - starts[1]) for m, n in zip(a.shape, b.shape, strict=True))
    if min(shape) < 1:
        raise ValueError(
            f"{a.name} {a.shape} and {b.name} {b.shape} have no cell in common: cell 0 of "
            f"{b.name} is cell {index} of {a.name}"
        )
    size = None
    if a.size is not None and b.size is not None:
        size = jnp.minimum(a.size - starts[0], b.size - starts[1])
    return Overlap(starts, (shape[0], shape[1]), size)
