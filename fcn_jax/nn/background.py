"""What the image does not decide is not computed: the exact saving around a padded image.

Around the image lies a ring of zeros (100 pixels in the papers), and a cell whose receptive field
sees nothing but that ring answers as if there were no image. So a map stores the rectangle of cells
that the image can change, and beside it the same layers' answer to no image, its `Border`. Far from
the canvas's edges that answer is one constant, so it is computed on a small canvas: the cells next
to the edges are the same there, and those between are all alike.

A layer computes its rectangle from the stored one and a frame of background around it. Function and
gradient are those of the whole map; what is saved follows from kernels and strides alone. Where the
rectangle has grown to the whole map, or no constant is left, the map becomes an ordinary one.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fcn_jax.nn.feature_map import FeatureMap

# The small canvas is congruent to the large one by this many pixels, so that strides up to it fall
# on both alike, and at least so large that VGG16's conv4 still has a constant in its middle.
_MODULUS, _SMALLEST = 16, 128
_RING = 64  # a narrower ring saves less than the background costs


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Border:
    """The cells around a stored rectangle.

    Attributes:
        background: the layers' answer to no image, `(1 or b, n, m, c)`, sizes included.
        start: row and column of the whole map at which the stored rectangle begins.
        shape: rows and columns of the whole map on the canvas.
        edge: how many of the background's first and last cells, along either axis, differ from the
            constant in its middle.
        modulus: the whole map and the background are congruent by this many cells.
    """

    background: FeatureMap
    start: tuple[int, int] = dataclasses.field(metadata={"static": True})
    shape: tuple[int, int] = dataclasses.field(metadata={"static": True})
    edge: int = dataclasses.field(metadata={"static": True})
    modulus: int = dataclasses.field(metadata={"static": True})


def with_border(image: FeatureMap) -> FeatureMap:
    """An image whose ring of zeros is a border, where that saves something."""
    ring = image.ring
    shape = image.shape[0] + 2 * ring, image.shape[1] + 2 * ring
    if ring < _RING or min(shape) < 2 * _SMALLEST:
        return image
    if image.size is None:
        size, small = None, tuple(_SMALLEST + (n - _SMALLEST) % _MODULUS for n in shape)
    else:
        size = _SMALLEST + (image.size + 2 * ring - _SMALLEST) % _MODULUS
        small = (_SMALLEST + _MODULUS - 1,) * 2
    batch = 1 if size is None else image.values.shape[0]
    zeros = jnp.zeros((batch, *small, image.channels), image.values.dtype)
    whole = None if image.size is None else image.size + 2 * ring
    border = Border(FeatureMap(zeros, size), (ring, ring), shape, 0, _MODULUS)
    return image.replace(border=border, size=whole, grid=image.grid.cropped(-ring))


def whole(x: FeatureMap) -> FeatureMap:
    """The ordinary map, every cell stored."""
    if x.border is None:
        return x
    (h, w), values = x.border.shape, None
    values = patch(x, (0, h), (0, w))
    return x.replace(values=values, border=None, ring=0, nonnegative=x.nonnegative)


def pointwise(
    x: FeatureMap, function: Callable[[Any], Any], *, nonnegative: bool = False
) -> FeatureMap:
    """A function of each cell by itself, applied to the stored cells and to the background.

    Args:
        x: the map.
        function: from values to values.
        nonnegative: whether its values are never below zero.
    """
    border = x.border
    if border is not None:
        background = pointwise(border.background, function, nonnegative=nonnegative)
        border = dataclasses.replace(border, background=background)
    return x.replace(values=function(x.values), nonnegative=nonnegative, border=border)


def patch(x: FeatureMap, rows: tuple[int, int], columns: tuple[int, int], fill: float = 0.0) -> Any:
    """Cells of the whole map, `fill` where it has none: `(b, rows, columns, c)`.

    Args:
        x: a map with a border.
        rows: first, and one past the last; may lie outside.
        columns: alike.
        fill: what lies outside each image's own extent.
    """
    assert x.border is not None
    wanted = rows, columns
    masked = x.size is not None or any(
        a < 0 or b > n for (a, b), n in zip(wanted, x.border.shape, strict=True)
    )
    sizes = jnp.asarray([x.border.shape]) if x.size is None else x.size

    def inside(rows: tuple[int, int], columns: tuple[int, int]) -> Any:
        within = _within(rows, sizes[:, :1])[:, :, None] & _within(columns, sizes[:, 1:])[:, None]
        return within[..., None]

    stored = [(s, s + n) for s, n in zip(x.border.start, x.values.shape[1:3], strict=True)]
    core = [(max(a, s), min(b, e)) for (a, b), (s, e) in zip(wanted, stored, strict=True)]
    (r0, r1), (c0, c1) = core
    cut = [slice(a - s, b - s) for (a, b), (s, _) in zip(core, stored, strict=True)]
    values = x.values[:, cut[0], cut[1]]
    pad = [(a - w0, w1 - b) for (a, b), (w0, w1) in zip(core, wanted, strict=True)]
    values = jnp.pad(values, ((0, 0), *pad, (0, 0)))
    frame = (
        ((rows[0], r0), columns),
        ((r1, rows[1]), columns),
        ((r0, r1), (columns[0], c0)),
        ((r0, r1), (c1, columns[1])),
    )
    for part in frame:
        if all(a < b for a, b in part):
            (a, _), (c, _) = part
            at = (0, a - rows[0], c - columns[0], 0)
            strip = _strip(x.border, x.size, *part)
            if masked and not fill:  # the stored cells are 0 outside already
                strip = jnp.where(inside(*part), strip, 0)
            strip = jnp.broadcast_to(
                strip, (len(values), part[0][1] - a, part[1][1] - c, x.channels)
            )
            values = jax.lax.dynamic_update_slice(values, strip.astype(values.dtype), at)
    if not masked or not fill:
        return values
    return jnp.where(inside(rows, columns), values, jnp.asarray(fill, values.dtype))


def _within(cells: tuple[int, int], size: Any) -> Any:
    index = jnp.arange(*cells)
    return (index >= 0) & (index < size)


def _strip(border: Border, size: Any, rows: tuple[int, int], columns: tuple[int, int]) -> Any:
    """A part of the border; what lies outside the map is any number."""
    background, index = border.background, []
    for axis, (a, b) in enumerate((rows, columns)):
        n = background.shape[axis]
        cells = jnp.arange(a, b)
        more = (
            jnp.asarray([border.shape[axis] - n])
            if size is None
            else size[:, axis] - background.size[:, axis]
        )
        # Cells near the first edge are themselves; those near the last keep their distance from it.
        near = jnp.minimum(cells, jnp.maximum(border.edge, cells - more[:, None]))
        index.append(jnp.clip(near, 0, n - 1))

    def taken(values: Any, i: Any, j: Any) -> Any:
        # The shorter axis first, so that what lies between is thin.
        return values[i][:, j] if len(i) <= len(j) else values[:, j][i]

    return jax.vmap(taken)(background.values, *index)


def _followed(x: FeatureMap, kernel: int, stride: int, padding: int) -> FeatureMap:
    """The map, made ordinary if its border cannot follow through a window of that geometry."""
    if x.border is None:
        return x
    edge = _edge(x.border, stride, padding)
    small = min(x.border.background.shape) - (_MODULUS if x.size is not None else 0)
    cells = (small + 2 * padding - kernel) // stride + 1
    if x.border.modulus % stride or cells < 2 * edge + 1:
        return whole(x)
    return x


def _edge(border: Border, stride: int, padding: int) -> int:
    """Cells at either end that see the edge; one more where ceil-mode pooling overhangs."""
    return -(-(border.edge + padding) // stride) + (stride > 1)


def slide(
    x: FeatureMap,
    kernel: int,
    stride: int,
    padding: int,
    *,
    apply: Callable[[Any, int], Any],
    length: Callable[[Any, int, int, int], Any],
    fill: float = 0.0,
    then: Callable[[FeatureMap], FeatureMap] = lambda out: out,
) -> FeatureMap:
    """A window slid over a map, with or without a border.

    Args:
        x: the map.
        kernel: rows and columns of the window.
        stride: cells between windows.
        padding: cells on every side.
        apply: from `(b, h, w, c)` values and a padding to the windows' values.
        length: cells along an axis after it, of cells, kernel, stride and padding.
        fill: what the padding holds.
        then: what follows on the result, cell by cell, after what lies outside became zero.
    """
    x = _followed(x, kernel, stride, padding)
    size = None if x.size is None else length(x.size, kernel, stride, padding)
    grid = x.grid.window(kernel, stride, padding)
    if x.border is None:
        values = apply(x.masked(fill).values if fill else x.values, padding)
        return then(FeatureMap(values, size, grid, 0, x.name).masked())
    border = x.border
    shape = tuple(length(n, kernel, stride, padding) for n in border.shape)
    wanted, start, cells = [], [], []
    for n, first, stored in zip(shape, border.start, x.values.shape[1:3], strict=True):
        # The windows that see a stored cell, and what they see.
        i = max(-(-(first + padding - kernel + 1) // stride), 0)
        j = min((first + stored - 1 + padding) // stride, n - 1)
        wanted.append((i * stride - padding, j * stride - padding + kernel))
        start.append(i)
        cells.append(j - i + 1)
    values = apply(patch(x, *wanted, fill=fill), 0)
    old = border.background
    under = FeatureMap(
        apply(old.masked(fill).values, padding),
        None if old.size is None else length(old.size, kernel, stride, padding),
    ).masked()
    new = Border(
        under,
        (start[0], start[1]),
        (shape[0], shape[1]),
        _edge(border, stride, padding),
        border.modulus // stride,
    )
    out = then(FeatureMap(values, size, grid, 0, x.name, border=new).masked())
    return whole(out) if tuple(cells) == shape else out


def stacked(maps: list[FeatureMap]) -> FeatureMap:
    """The first map with the channels of all, which lie on one grid; stored is what any stores."""
    maps = _aligned(maps)
    values = jnp.concatenate([m.values for m in maps], axis=-1)
    border = maps[0].border
    if border is not None:
        parts = [m.border.background.values for m in maps if m.border is not None]
        background = border.background.replace(values=jnp.concatenate(parts, axis=-1))
        border = dataclasses.replace(border, background=background)
    nonnegative = all(m.nonnegative for m in maps)
    return maps[0].replace(values=values, border=border, nonnegative=nonnegative)


def _aligned(maps: list[FeatureMap]) -> list[FeatureMap]:
    if all(m.border is None for m in maps):
        return maps
    if any(m.border is None for m in maps):
        return [whole(m) for m in maps]
    borders = [m.border for m in maps if m.border is not None]
    axes = []
    for axis in (0, 1):
        begins = [b.start[axis] for b in borders]
        ends = [
            b.start[axis] + m.values.shape[1 + axis] for b, m in zip(borders, maps, strict=True)
        ]
        axes.append((min(begins), max(ends)))
    edge = max(b.edge for b in borders)
    return [
        m.replace(
            values=patch(m, *axes),
            nonnegative=m.nonnegative,
            border=dataclasses.replace(b, start=(axes[0][0], axes[1][0]), edge=edge),
        )
        for b, m in zip(borders, maps, strict=True)
    ]
