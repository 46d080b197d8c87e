"""Cells that do not depend on the image are computed once: the exact saving around a padded image.

Around the image lies a ring of zeros (100 pixels in the papers). A cell whose receptive field sees
only that ring has the value that it would have without an image. So a map stores the rectangle of
cells that depend on the image, and beside it a `Border`: the same layers' result without an image,
the background. Far from the canvas's edges the background is one constant, so it is computed on a
small canvas: the cells next to the edges are the same there, and those between are all equal.

A layer computes its rectangle from the stored one and a frame of background around it. Function and
gradient are those of the whole map; kernels and strides alone decide what is saved. Where the
rectangle has grown to the whole map, or no constant is left, the map becomes an ordinary one.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from fcn_jax.arithmetic import ceil_div
from fcn_jax.nn.feature_map import FeatureMap, Padding, cells_inside, low_high
from fcn_jax.nn.savings import platform

Span = tuple[int, int]  # the first row or column, and one past the last; may lie outside the map

# The small canvas is congruent to the large one by this many pixels, so that strides up to it meet
# the same cells on both. It is so large that VGG16's conv4 still has a constant in its middle.
_MODULUS, _SMALLEST = 16, 128
_RING = 64  # a narrower ring saves less than the background costs

# On a TPU a frame around a map costs as much as a convolution of it. So a frame is wider there
# than its layer needs: three 3x3 convolutions and a pool after it need none.
_WIDER = {"tpu": 5}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Border:
    """The cells around a stored rectangle.

    Attributes:
        background: the layers' result without an image, `(1 or b, n, m, c)`, with its sizes.
        start: row and column of the whole map at which the stored rectangle starts.
        changed: the rows and columns that the image can change; all of them are stored.
        shape: rows and columns of the whole map on the canvas.
        edge: how many of the background's first and last cells, along either axis, differ from the
            constant in its middle.
        modulus: the whole map and the background are congruent by this many cells.
    """

    background: FeatureMap
    start: tuple[int, int] = dataclasses.field(metadata={"static": True})
    changed: tuple[Span, Span] = dataclasses.field(metadata={"static": True})
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
        size = small_size = None
        batch, small = 1, tuple(_SMALLEST + (n - _SMALLEST) % _MODULUS for n in shape)
    else:
        size = image.size + 2 * ring
        small_size = _SMALLEST + (size - _SMALLEST) % _MODULUS
        batch, small = len(image.values), (_SMALLEST + _MODULUS - 1,) * 2
    zeros = jnp.zeros((batch, *small, image.channels), image.values.dtype)
    rows, columns = ((ring, ring + n) for n in image.shape)
    border = Border(
        background=FeatureMap(zeros, small_size),
        start=(ring, ring),
        changed=(rows, columns),
        shape=shape,
        edge=0,
        modulus=_MODULUS,
    )
    return image.replace(border=border, size=size, grid=image.grid.cropped(-ring))


def whole(x: FeatureMap) -> FeatureMap:
    """The ordinary map, every cell stored."""
    if x.border is None:
        return x
    values = patch(x, (0, x.shape[0]), (0, x.shape[1]))
    return x.replace(values=values, border=None, ring=0, nonnegative=x.nonnegative)


def pointwise(x: FeatureMap, function: Callable[[Any], Any]) -> FeatureMap:
    """The map after `function`, from values to values of each cell alone."""
    border = x.border
    if border is not None:
        background = pointwise(border.background, function)
        border = dataclasses.replace(border, background=background)
    return x.replace(values=function(x.values), border=border)


def patch(x: FeatureMap, rows: Span, columns: Span, fill: float = 0.0) -> Any:
    """Cells of the whole map, some of them stored: `(b, rows, columns, c)`.

    Args:
        x: a map with a border.
        rows: the rows; they may lie outside the map.
        columns: the columns; they may lie outside too.
        fill: the value outside each image's own extent.
    """
    assert x.border is not None
    values, core = _stored_part(x, rows, columns, fill)
    in_map = [(max(a, 0), min(b, n)) for (a, b), n in zip((rows, columns), x.shape, strict=True)]
    for part in _frame_around(core, *in_map):
        strip = _strip(x, *part, fill)
        strip = jnp.broadcast_to(strip, (len(values), *strip.shape[1:])).astype(values.dtype)
        at = (0, part[0][0] - rows[0], part[1][0] - columns[0], 0)
        values = jax.lax.dynamic_update_slice(values, strip, at)
    return values


def _stored_part(x: FeatureMap, rows: Span, columns: Span, fill: float) -> tuple[Any, list[Span]]:
    """The wanted cells, `fill` where they are not stored; and the rows and columns that are."""
    core, cut, pad = [], [], []
    for (a, b), start, n in zip((rows, columns), x.border.start, x.values.shape[1:3], strict=True):
        first, end = max(a, start), min(b, start + n)
        core.append((first, end))
        cut.append(slice(first - start, end - start))
        pad.append((first - a, b - end))
    values = (x.masked(fill) if fill else x).values[:, *cut]
    return jnp.pad(values, ((0, 0), *pad, (0, 0)), constant_values=fill), core


def _frame_around(core: list[Span], rows: Span, columns: Span) -> Iterator[tuple[Span, Span]]:
    """The rows and columns of up to four rectangles, which together surround the core."""
    (top, bottom), (left, right) = core
    for part in (
        ((rows[0], top), columns),
        ((bottom, rows[1]), columns),
        ((top, bottom), (columns[0], left)),
        ((top, bottom), (right, columns[1])),
    ):
        if all(a < b for a, b in part):
            yield part


def _strip(x: FeatureMap, rows: Span, columns: Span, fill: float) -> Any:
    """Cells of the border, `(1 or b, rows, columns, c)`; `fill` outside each image's extent."""
    background, index = x.border.background, []
    for axis, span in enumerate((rows, columns)):
        n, cells = background.shape[axis], jnp.arange(*span)
        if x.size is None:
            longer = jnp.asarray([x.shape[axis] - n])
        else:
            longer = x.size[:, axis] - background.size[:, axis]
        # Cells near the first edge keep their index; those near the last, their distance from it.
        near = jnp.minimum(cells, jnp.maximum(x.border.edge, cells - longer[:, None]))
        index.append(jnp.clip(near, 0, n - 1))

    def taken(values: Any, i: Any, j: Any) -> Any:
        # The shorter axis first, so that the intermediate array is thin.
        return values[i][:, j] if len(i) <= len(j) else values[:, j][i]

    strip = jax.vmap(taken)(background.values, *index)
    if x.size is None:
        return strip
    return jnp.where(cells_inside(jnp.arange(*rows), jnp.arange(*columns), x.size), strip, fill)


def _without_unusable_border(x: FeatureMap, kernel: int, stride: int, padding: int) -> FeatureMap:
    """The map; an ordinary one if after a window of that geometry no constant would be left."""
    if x.border is None:
        return x
    small = min(x.border.background.shape) - (_MODULUS if x.size is not None else 0)
    cells = (small + 2 * padding - kernel) // stride + 1
    keeps_constant = cells > 2 * _edge(x.border, stride, padding)
    return x if keeps_constant and x.border.modulus % stride == 0 else whole(x)


def _edge(border: Border, stride: int, padding: int) -> int:
    """Cells at either end that see the edge; one more where ceil-mode pooling overhangs."""
    return ceil_div(border.edge + padding, stride) + (stride > 1)


def slide(
    x: FeatureMap,
    kernel: int,
    stride: int,
    padding: Padding,
    *,
    apply: Callable[..., Any],
    length: Callable[[Any, int, int, Any], Any],
    fill: float = 0.0,
) -> FeatureMap:
    """A window slid over a map, with or without a border.

    Args:
        x: the map.
        kernel: rows and columns of the window.
        stride: cells between windows.
        padding: cells on every side, or before and after.
        apply: from `(b, h, w, c)` values and `padding=` to the windows' values.
        length: number of windows along an axis, from its cells, kernel, stride and padding.
        fill: the value of the padding.
    """
    low, high = low_high(padding)
    x = _without_unusable_border(x, kernel, stride, low) if low == high else whole(x)
    grid = x.grid.window(kernel, stride, padding)

    def result(values: Any, size: Any, border: Border | None = None) -> FeatureMap:
        # A window that keeps every size keeps the array too: `concat` compares arrays.
        if size is not None and (stride, kernel) != (1, low + high + 1):
            size = length(size, kernel, stride, padding)
        return FeatureMap(values, size, grid=grid, name=x.name, border=border).masked()

    if x.border is None:
        values = x.masked(fill).values if fill else x.values
        return result(apply(values, padding=padding), x.size)
    padding, seen, stored, changed = low, [], [], []
    windows = tuple(length(n, kernel, stride, padding) for n in x.shape)
    extents = zip(windows, x.border.changed, x.border.start, x.values.shape[1:3], strict=True)
    for n, (a, b), start, cells in extents:
        first = max(ceil_div(a + padding - kernel + 1, stride), 0)  # sees a cell that can change
        last = min((b - 1 + padding) // stride, n - 1)
        changed.append((first, last + 1))
        # All windows of stored cells alone, if they suffice; otherwise a frame is needed.
        begin, end = ceil_div(start + padding, stride), (start + cells + padding - kernel) // stride
        if not begin <= first <= last <= end:
            wider = _WIDER.get(platform(), 0)
            begin, end = max(first - wider, 0), min(last + wider, n - 1)
        seen.append((begin * stride - padding, end * stride - padding + kernel))
        stored.append((begin, end + 1))
    values = apply(patch(x, *seen, fill=fill), padding=0)
    old = x.border.background
    border = Border(
        background=result(apply(old.masked(fill).values, padding=padding), old.size),
        start=(stored[0][0], stored[1][0]),
        changed=(changed[0], changed[1]),
        shape=(windows[0], windows[1]),
        edge=_edge(x.border, stride, padding),
        modulus=x.border.modulus // stride,
    )
    out = result(values, x.size, border)
    return whole(out) if out.values.shape[1:3] == windows else out


def stacked(maps: list[FeatureMap]) -> FeatureMap:
    """The first map with the channels of all, which lie on one grid and have equal sizes.

    A cell is stored where it is stored in any of the maps.
    """
    ordinary = any(m.border is None for m in maps)
    maps = [whole(m) for m in maps] if ordinary else _aligned(maps)
    values = jnp.concatenate([m.values for m in maps], axis=-1)
    border = maps[0].border
    if border is not None:
        parts = [m.border.background.values for m in maps]
        background = border.background.replace(values=jnp.concatenate(parts, axis=-1))
        border = dataclasses.replace(border, background=background)
    nonnegative = all(m.nonnegative for m in maps)
    return maps[0].replace(values=values, border=border, nonnegative=nonnegative)


def _aligned(maps: list[FeatureMap]) -> list[FeatureMap]:
    """Maps with a border, which store the same rectangle: the smallest around all of theirs."""
    spans, changed = [], []
    for axis in (0, 1):
        starts = [m.border.start[axis] for m in maps]
        ends = [s + m.values.shape[1 + axis] for s, m in zip(starts, maps, strict=True)]
        spans.append((min(starts), max(ends)))
        first, end = zip(*(m.border.changed[axis] for m in maps), strict=True)
        changed.append((min(first), max(end)))
    start, edge = (spans[0][0], spans[1][0]), max(m.border.edge for m in maps)
    return [
        m.replace(
            values=patch(m, *spans),
            nonnegative=m.nonnegative,
            border=dataclasses.replace(
                m.border, start=start, changed=(changed[0], changed[1]), edge=edge
            ),
        )
        for m in maps
    ]
