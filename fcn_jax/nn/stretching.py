"""Maps brought onto the cells of another map.

Transposed convolutions (`fcn_jax.nn.upsampling`) put cells where their grids say. Most published
decoders stretch a map to the rows and columns of another one instead, whatever those are. The ratio
then depends on the image's size, and cells may come to lie more than half a coarse cell beside
their true place; published weights have learned that. `Stretch` does either, and says which. Where
maps are laid over each other by index, the result takes over the target's grid, and the distance is
checked: a map that lies further away, such as one with a padded ring, is refused.
"""

import dataclasses
import enum
from fractions import Fraction
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from fcn_jax.nn import ops
from fcn_jax.nn.background import whole
from fcn_jax.nn.feature_map import WHOLE_IMAGE, FeatureMap


class Align(enum.Enum):
    """Where the cells of a stretched map are taken to lie."""

    GRID = "grid"
    """Where their grids say. The receptive field stays finite."""

    EDGES = "edges"
    """The outer edges of both maps coincide: torch's `align_corners=False`, with a size given."""

    CORNERS = "corners"
    """The centres of the outermost cells coincide: torch's `align_corners=True`."""


class Stretch(nn.Module):
    """Bilinear interpolation at the cells of another map. Beyond its centres a map is repeated.

    With `EDGES` and `CORNERS` the receptive field becomes the whole image, since its size decides
    where the taps lie.

    Attributes:
        align: where the cells are taken to lie.
    """

    align: Align = Align.GRID

    @nn.compact
    def __call__(self, x: FeatureMap, target: FeatureMap, *, pooled: bool = False) -> FeatureMap:
        """The map on the cells of `target`.

        Args:
            x: the map.
            target: another map.
            pooled: the cells of `x` are parts of the whole image (`AdaptivePool`), which have no
                place on its grid.

        Raises:
            ValueError: `x` lies elsewhere on the image, and is stretched by its edges or corners.
        """
        x = whole(x)
        by_grid = self.align is Align.GRID and not pooled
        if not by_grid and not pooled:
            check_beside(x, target)
        matrices = []
        for axis in (0, 1):
            cells, new = _lengths(x, axis), _lengths(target, axis)
            index = jnp.arange(target.shape[axis], dtype=jnp.float32)
            if by_grid:
                start = x.grid.index_of(target.grid)
                source = float(start) + float(target.grid.stride / x.grid.stride) * index
            else:
                source = ops.source_index(
                    index, cells, new, align_corners=self.align is Align.CORNERS
                )
            matrices.append(ops.bilinear_matrix(source, cells, new, x.shape[axis]))
        values = ops.resample(x.values, *matrices)
        field = x.grid.field + 2 * x.grid.stride if by_grid else WHOLE_IMAGE
        grid = dataclasses.replace(target.grid, field=field)
        return FeatureMap(values, target.size, grid=grid, name=self.name or "").masked()


def _lengths(x: FeatureMap, axis: int) -> Any:
    """True cells along an axis, float32 `(b or 1, 1)`."""
    n = jnp.asarray([x.shape[axis]]) if x.size is None else x.size[:, axis]
    return n.astype(jnp.float32)[:, None]


class Repeat(nn.Module):
    """Every cell repeated along both axes, cut to the rows and columns of another map.

    This is torch's "nearest" to a size wherever the coarse map has ceil(n / factor) cells. Where it
    has fewer, the last cell is repeated.
    """

    @nn.compact
    def __call__(self, x: FeatureMap, target: FeatureMap) -> FeatureMap:
        """The map on the cells of `target`, whose stride divides that of `x`.

        Raises:
            ValueError: it does not, or `x` lies elsewhere on the image.
        """
        x = whole(x)
        check_beside(x, target)
        ratio = x.grid.stride / target.grid.stride
        if ratio.denominator != 1:
            raise ValueError(
                f"{self.name}: {x.name} (stride {x.grid.stride}) cannot be repeated onto "
                f"{target.name} (stride {target.grid.stride}): the strides are not multiples"
            )
        values = x.values
        for axis in (0, 1):
            lengths = None if x.size is None else x.size[:, axis]
            values = _repeated(values, axis + 1, int(ratio), target.shape[axis], lengths)
        first = target.grid.offset - x.grid.offset
        distance = max(abs(first), abs(first - x.grid.stride + target.grid.stride))
        grid = dataclasses.replace(target.grid, field=x.grid.field + 2 * distance)
        return FeatureMap(values, target.size, grid=grid, name=self.name or "").masked()


def _repeated(values: Any, axis: int, factor: int, cells: int, lengths: Any) -> Any:
    """`cells` cells along an axis; those after the last true one have its value."""
    n = values.shape[axis]
    longer = jnp.repeat(values, factor, axis)
    if (missing := cells - factor * n) > 0:
        last = longer[:, -1:] if axis == 1 else longer[:, :, -1:]
        longer = jnp.concatenate([longer, jnp.repeat(last, missing, axis)], axis)
    longer = longer[:, :cells] if axis == 1 else longer[:, :, :cells]
    if lengths is None:
        return longer
    shape = [1, 1, 1, 1]
    shape[axis] = cells
    index = jnp.arange(cells).reshape(shape)
    end = (factor * lengths)[:, None, None, None]
    for _ in range(factor - 1):  # a map of floor(n / factor) cells lacks at most this many
        longer = jnp.where(index < end, longer, jnp.roll(longer, 1, axis))
    return longer


def over(x: FeatureMap, target: FeatureMap) -> FeatureMap:
    """The map on the cells of `target`, which has equally many: laid over it by index.

    Raises:
        ValueError: it has not, or `x` lies elsewhere on the image.
    """
    x = whole(x)
    check_beside(x, target)
    if x.shape != target.shape:
        raise ValueError(
            f"{x.name} {x.shape} cannot be laid over {target.name} {target.shape} cell by cell"
        )
    field = x.grid.field + 2 * abs(x.grid.offset - target.grid.offset)
    return x.replace(size=target.size, grid=dataclasses.replace(target.grid, field=field))


def check_beside(x: FeatureMap, target: FeatureMap) -> None:
    """Raises ValueError where the edges of two maps are more than 1.5 coarse cells apart.

    Half a cell is the most at the first edge, where trunks differ in their padding; one more at the
    last, where a trunk computes ceil(n / stride) cells.
    """
    coarse = max(x.grid.stride, target.grid.stride)
    for a, b in zip(_edges(x), _edges(target), strict=True):
        if abs(a - b) > coarse * Fraction(3, 2):
            raise ValueError(
                f"{x.name} cannot be laid over {target.name} by index: they begin or end "
                f"{float(abs(a - b)):g} pixels apart on the image, more than 1.5 cells of "
                f"{coarse}. A trunk with a padded ring needs aligned=True here"
            )


def _edges(x: FeatureMap) -> list[Fraction]:
    """Where the canvas's first cell begins on the image, and where its last row and column end."""
    begin = x.grid.offset - x.grid.stride / 2
    return [begin, *(begin + x.grid.stride * n for n in x.shape)]
