"""A feature map that knows where it lies on the image.

Every cell of a map looks at the input around one point. A `Grid` maps the cell's index to that
point, exactly, and each layer transforms it; so the offset at which two maps line up is computed
from their grids and is not a constant to remember. A `FeatureMap` has the values, the grid and, on
a canvas shared by images of different sizes, each image's own extent.
"""

import dataclasses
import functools
import math
from fractions import Fraction
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from fcn_jax.arithmetic import ceil_div

Padding = int | tuple[int, int]  # cells before and after; one number for both

WHOLE_IMAGE = math.inf
"""The receptive field of a cell that depends on the whole image, whatever its size."""


@dataclasses.dataclass(frozen=True)
class Grid:
    """Where the cells of a feature map lie on the input, along either axis.

    Cell `i` is centred on the input coordinate `offset + stride * i` (pixel centres are integers)
    and depends on nothing outside the `field` input pixels around it. Exact rationals.

    Attributes:
        stride: input pixels from one cell to the next.
        offset: input coordinate of the centre of cell 0.
        field: extent of the receptive field in input pixels, or `WHOLE_IMAGE`.

    Source: BVLC/caffe python/caffe/coord_map.py composes the same maps, as (scale, shift) from
    input to cell; ours is the inverse, so that its numbers are pixels.
    """

    stride: Fraction = Fraction(1)
    offset: Fraction = Fraction(0)
    field: Fraction | float = Fraction(1)

    def window(self, kernel: int, stride: int, padding: Padding) -> "Grid":
        """The grid after a convolution or pooling of that geometry."""
        offset = self.offset + self.stride * (Fraction(kernel - 1, 2) - low_high(padding)[0])
        return Grid(self.stride * stride, offset, self.field + self.stride * (kernel - 1))

    def transposed(self, kernel: int, stride: int) -> "Grid":
        """The grid after a transposed convolution (no padding) of that geometry."""
        fine = self.stride / stride
        offset = self.offset - fine * Fraction(kernel - 1, 2)
        return Grid(fine, offset, self.field + fine * (kernel - 1))

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

    Outside an image's own extent the values are zero, as if a layer's zero padding were there. So
    an image gives the same result on every canvas that is large enough for it.

    Attributes:
        values: `(b, h, w, c)` float array.
        size: int32 `(b, 2)`, rows and columns of each image's own extent on this map, or None
            where the extent is the whole map. Traced: one program serves every size.
        grid: where the cells lie on the input.
        ring: zero cells that surround the values on every side and are not stored; the next
            layer adds them to its padding.
        name: the layer that made the map, for messages.
        nonnegative: no value is below zero, as after a ReLU; `replace` resets it with new values.
        border: what surrounds the stored rectangle of cells (see `fcn_jax.nn.background`); None
            where every cell is stored.
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
        return self.values.shape[1:3] if self.border is None else self.border.shape

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
        top, left = self.border.start if self.border else (0, 0)
        h, w = self.values.shape[1:3]
        return cells_inside(jnp.arange(top, top + h), jnp.arange(left, left + w), self.size)

    def masked(self, fill: float = 0.0) -> "FeatureMap":
        """The map with `fill` outside each image's own extent."""
        if self.size is None:
            return self
        values = jnp.where(self.inside(), self.values, jnp.asarray(fill, self.values.dtype))
        return self.replace(values=values, nonnegative=self.nonnegative and fill >= 0)


def cells_inside(
    rows: Int[Array, " h"], columns: Int[Array, " w"], size: Int[Array, "b 2"]
) -> Bool[Array, "b h w 1"]:
    """True for the cells, of these rows and columns, that lie in maps of these sizes."""
    return ((rows < size[:, :1])[:, :, None] & (columns < size[:, 1:])[:, None])[..., None]


def low_high(padding: Padding) -> tuple[int, int]:
    """Cells before the first and after the last."""
    return (padding, padding) if isinstance(padding, int) else padding


def conv_size(n: Any, kernel: int, stride: int, padding: Padding) -> Any:
    """Cells along an axis of `n` cells after a convolution; int or int array.

    Source: BVLC/caffe src/caffe/layers/conv_layer.cpp, compute_output_shape (floor).
    """
    return (n + sum(low_high(padding)) - kernel) // stride + 1


def pool_size(n: Any, kernel: int, stride: int, padding: int) -> Any:
    """Cells along an axis of `n` cells after ceil-mode pooling; int or int array.

    The last window may hang over the edge, but starts inside the map.

    Source: BVLC/caffe src/caffe/layers/pooling_layer.cpp, Reshape.
    Differs: a map smaller than `kernel - stride + 1` gives one window, where Caffe refuses it. If
    the stride is larger than the kernel, Caffe without padding keeps an empty last window.
    """
    out = ceil_div(n + 2 * padding - kernel, stride) + 1
    out = out - ((out - 1) * stride >= n + padding)
    return max(out, 1) if isinstance(n, int) else jnp.maximum(out, 1)


class Outline(NamedTuple):
    """Where the result of a layer will lie: a `FeatureMap` (see there) without the values."""

    shape: tuple[int, int]
    size: Any
    grid: Grid
    name: str


class Overlap(NamedTuple):
    """The rectangle of cells that several maps have in common.

    Attributes:
        starts: for each map, the index of the first common cell, the same in rows and columns.
        shape: rows and columns on the canvas.
        size: true rows and columns, int32 `(b, 2)`, or None.
        grid: where the common cells lie; its receptive field is the largest of the maps'.
    """

    starts: tuple[int, ...]
    shape: tuple[int, int]
    size: Any
    grid: Grid


def overlap(*maps: FeatureMap | Outline) -> Overlap:
    """The cells that all maps have in common, computed from their grids.

    Raises:
        ValueError: the strides differ, the cells of one map lie between those of another, or no
            cell is common to all; the layers are named.
    """
    indices = [_index_of(maps[0], m) for m in maps]
    starts = tuple(max(indices) - index for index in indices)
    h, w = (min(m.shape[a] - start for m, start in zip(maps, starts, strict=True)) for a in (0, 1))
    if min(h, w) < 1:
        raise ValueError(
            f"{' and '.join(f'{m.name} {m.shape}' for m in maps)} have no cell in common: cell 0 "
            f"of each is cell {', '.join(map(str, indices))} of {maps[0].name}"
        )
    size = None
    if all(m.size is not None for m in maps):
        sizes = [m.size - start for m, start in zip(maps, starts, strict=True)]
        size = functools.reduce(jnp.minimum, sizes)
    grid = maps[0].grid.cropped(starts[0])
    grid = dataclasses.replace(grid, field=max(m.grid.field for m in maps))
    return Overlap(starts, (h, w), size, grid)


def _index_of(a: FeatureMap | Outline, b: FeatureMap | Outline) -> int:
    """The index in `a` of cell 0 of `b`; raises ValueError where it lies between two cells."""
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
    return int(index)
