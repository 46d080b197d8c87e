"""A trunk's map at every pixel, by shift-and-stitch or by filter rarefaction (à trous).

A trunk of stride f has one cell per f pixels along each axis. Two methods give one cell per pixel
with the same weights: run the trunk on f² shifted copies of the image and interlace the results
(shift-and-stitch), or set every stride to 1 and dilate the kernels that follow (rarefaction). Both
compute the same.

Source: FCN papers, section 3.2.
"""

import contextlib
import functools
import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from fcn_jax.nets.inputs import as_image
from fcn_jax.nn.background import whole
from fcn_jax.nn.feature_map import FeatureMap, Grid
from fcn_jax.nn.layers import AveragePool, Conv, GlobalMean, MaxPool


def shift_and_stitch(
    trunk: nn.Module,
    variables: Any,
    images: Float[Array, "b h w c"],
    sizes: Int[Array, "b 2"] | None = None,
    *,
    at: str | None = None,
    at_once: int = 1,
) -> FeatureMap:
    """One map of a trunk of stride f at every pixel, from f² runs of the trunk.

    Copy (y, x) is the image with its ring of zeros, without the first y rows and x columns; its
    cell (i, j) is cell (f i + y, f j + x) of the result. All copies share one canvas.

    Args:
        trunk: the trunk.
        variables: its variables.
        images: preprocessed images; zero outside each image's true size.
        sizes: true rows and columns of each image; None where every image fills the canvas.
        at: name of the map, the deepest by default.
        at_once: copies in one batch; more are faster and take more memory.

    Returns:
        The map on a grid of stride 1.

    Raises:
        ValueError: there is no such map; a layer cannot be rarefied (see `rarefied`); or the image
            is so small that a copy has no cell.

    Source: FCN papers, section 3.2.
    Differs: the papers shift the image right and down, so that zeros come in at the top and left.
    Only cells that see beyond that edge differ.
    """
    rarefy = functools.partial(rarefied_map, trunk, at=at)
    rows, columns = jax.eval_shape(rarefy, variables, images).shape
    ring = getattr(trunk, "ring", 0)
    image = as_image(images, sizes, jnp.float32)
    values = jnp.pad(image.values, ((0, 0), (ring, ring), (ring, ring), (0, 0)))
    size = jnp.broadcast_to(jnp.array(image.shape), (len(images), 2)) if sizes is None else sizes
    ringed = FeatureMap(values, size + 2 * ring, Grid(offset=Fraction(-ring)))
    run = functools.partial(_map_of, trunk, variables, at=at)
    grid = jax.eval_shape(run, ringed).grid
    f = int(grid.stride)
    padded = jnp.pad(values, ((0, 0), (0, f - 1), (0, f - 1), (0, 0)))

    def run_copy(shift: Array) -> tuple[Array, Array]:
        moved = lax.dynamic_slice(padded, (0, shift[0], shift[1], 0), values.shape)
        result = run(ringed.replace(values=moved, size=ringed.size - shift))
        return result.values, result.size

    shifts = jnp.stack(jnp.meshgrid(jnp.arange(f), jnp.arange(f), indexing="ij"), -1)
    copies, sizes_of_copies = lax.map(run_copy, shifts.reshape(f * f, 2), batch_size=at_once)
    stitched = _interlace(copies, f)[:, :rows, :columns]
    extent = None
    if sizes is not None:  # along an axis, the cells of the f copies are the cells of the result
        lengths = sizes_of_copies.reshape(f, f, -1, 2)
        extent = jnp.stack([lengths[:, 0, :, 0].sum(0), lengths[0, :, :, 1].sum(0)], -1)
    return FeatureMap(stitched, extent, _at_every_pixel(grid), name=at or "")


def _interlace(copies: Float[Array, "{f}*{f} b i j c"], f: int) -> Float[Array, "b {f}*i {f}*j c"]:
    """Cell (i, j) of copy (y, x) becomes cell (f i + y, f j + x)."""
    b, i, j, c = copies.shape[1:]
    cells = copies.reshape(f, f, b, i, j, c).transpose(2, 3, 0, 4, 1, 5)
    return cells.reshape(b, i * f, j * f, c)


def rarefied_map(
    trunk: nn.Module,
    variables: Any,
    images: Float[Array, "b h w c"],
    sizes: Int[Array, "b 2"] | None = None,
    *,
    at: str | None = None,
) -> FeatureMap:
    """One map of a trunk at every pixel, from a single run with dilated kernels.

    Cells at multiples of the trunk's stride equal the trunk's own, borders included. The others
    equal `shift_and_stitch` from `margin` on. Nearer to the top and left they see pixels that are
    cut from the shifted copies, which have the zero padding of inner layers there. At the bottom
    and right nothing is cut, and both are the same up to the last cell of a ceil-mode pool.

    Arguments, result and source are those of `shift_and_stitch`.

    Raises:
        ValueError: there is no such map, a layer cannot be rarefied, or the image is too small.
    """
    image = as_image(images, sizes, jnp.float32).replace(ring=getattr(trunk, "ring", 0))
    with rarefied():
        result = _map_of(trunk, variables, image, at=at)
    return result.replace(grid=_at_every_pixel(result.grid))


def margin(grid: Grid, ring: int = 0) -> int:
    """Rows at the top, and columns at the left, in which the two methods may differ.

    A cell of a copy that looks beyond the copy's first row sees zero padding of an inner layer. The
    rarefied net has there the rows by which this copy was shifted.

    Args:
        grid: grid of the trunk's own map.
        ring: zero cells around the image, which are shifted with it.
    """
    beyond = (grid.field - 1) / 2 - grid.offset - ring
    return int(grid.stride) * max(math.ceil(beyond / grid.stride), 0)


@contextlib.contextmanager
def rarefied() -> Iterator[None]:
    """Within it, the layers of a net that is applied have stride 1 and dilated kernels.

    A layer whose input has cells of f pixels dilates its kernel and its padding by f. The excess of
    a ceil-mode pool over the edge becomes `stride - 1` cells of f pixels. Maps keep the grid of the
    original net, from which the next layer knows f.

    `Classifier(trunk).apply` within it scores every pixel's crop in one pass.

    Raises:
        ValueError: on applying a net with a layer that moves the grid and is neither a convolution
            nor a pooling (an upsampling, a crop, a user's own layer) or is a mean over the whole
            image; in training; or where a map is too small. The layer is named.
    """
    replaced = 0

    def intercept(next_call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        nonlocal replaced
        layer, before = context.module, replaced
        maps = [x for x in args if isinstance(x, FeatureMap)]
        if context.method_name != "__call__" or not maps:
            return next_call(*args, **kwargs)
        if kwargs.get("train") or isinstance(layer, GlobalMean):
            raise ValueError(
                f"{layer.name} ({type(layer).__name__}): training and means over the whole image "
                "cannot be rarefied; apply the net with train=False, and end it before a GlobalMean"
            )
        for kind, apply_rarefied in _RAREFIED.items():
            if isinstance(layer, kind):
                replaced += 1
                return apply_rarefied(layer, whole(maps[0]))
        result = next_call(*args, **kwargs)
        if isinstance(result, FeatureMap) and replaced == before and _moved(result.grid, maps):
            raise ValueError(
                f"{layer.name} ({type(layer).__name__}) moves the grid and is neither a convolution"
                " nor a pooling, so it cannot be rarefied; end the net before it"
            )
        return result

    with nn.intercept_methods(intercept):
        yield


def _moved(grid: Grid, maps: list[FeatureMap]) -> bool:
    """Whether a result lies elsewhere than all its inputs, or looks further than all of them."""
    places = {(x.grid.stride, x.grid.offset) for x in maps}
    return (grid.stride, grid.offset) not in places or grid.field > max(x.grid.field for x in maps)


def _conv(layer: Conv, x: FeatureMap) -> FeatureMap:
    if layer.dilation > 1 or not isinstance(layer.padding, int):
        raise ValueError(
            f"{layer.name}: shift-and-stitch knows no dilated and no unevenly padded convolutions"
        )
    f, padding = int(x.grid.stride), layer.padding + x.ring
    if not layer.has_variable("params", "kernel"):
        raise ValueError(
            f"{layer.name} has no kernel yet; call the net's `init` outside of `rarefied`"
        )
    values = lax.conv_general_dilated(
        x.values,
        layer.get_variable("params", "kernel").astype(x.values.dtype),
        (1, 1),
        [(f * padding, f * padding)] * 2,
        rhs_dilation=(f, f),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=layer.groups,
    )
    if layer.use_bias:
        values = values + layer.get_variable("params", "bias").astype(values.dtype)
    values = nn.relu(values) if layer.relu else values
    longer = 2 * padding - layer.kernel + 1
    return _result(layer, x, values, longer, stride=layer.stride, padding=padding)


def _max_pool(layer: MaxPool, x: FeatureMap) -> FeatureMap:
    f, k, s, p = int(x.grid.stride), layer.kernel, layer.stride, layer.padding
    # The last window is complete, or starts inside the map: `conv_size`, `pool_size`.
    longer = min(2 * p - k + s, p) if layer.ceil_mode else 2 * p - k + 1
    values = x.masked(-jnp.inf).values
    for axis in (1, 2):
        n = values.shape[axis]
        out = max(n + f * longer, f)
        widths = [(0, 0)] * 4
        widths[axis] = f * p, out + f * (k - 1) - n - f * p
        padded = jnp.pad(values, widths, constant_values=-jnp.inf)
        parts = [lax.slice_in_dim(padded, f * i, f * i + out, axis=axis) for i in range(k)]
        values = functools.reduce(jnp.maximum, parts)
    return _result(layer, x, values, longer, stride=s, padding=p)


def _average_pool(layer: AveragePool, x: FeatureMap) -> FeatureMap:
    f, k = int(x.grid.stride), layer.kernel
    window, ones = (1, k, k, 1), (1, 1, 1, 1)
    values = lax.reduce_window(
        x.values, 0.0, lax.add, window, ones, "VALID", window_dilation=(1, f, f, 1)
    )
    return _result(layer, x, values / k**2, 1 - k, stride=1, padding=0)


_RAREFIED = {Conv: _conv, MaxPool: _max_pool, AveragePool: _average_pool}


def _result(
    layer: Any, x: FeatureMap, values: Array, longer: int, *, stride: int, padding: int
) -> FeatureMap:
    """The map of a rarefied layer, `longer` times the input's stride longer than its input."""
    grid = x.grid.window(layer.kernel, stride, padding)
    if min(values.shape[1:3]) < grid.stride:
        raise ValueError(
            f"{layer.name}: of {x.name}, {x.shape[0]}x{x.shape[1]} at every pixel, "
            f"{values.shape[1]}x{values.shape[2]} are left, less than one cell of "
            f"{grid.stride} pixels; the image is too small for this net"
        )
    size = None if x.size is None else x.size + int(x.grid.stride) * longer
    if size is not None and isinstance(layer, MaxPool):
        size = jnp.maximum(size, int(x.grid.stride))
    return FeatureMap(values, size, grid, name=layer.name or "").masked()


def _at_every_pixel(grid: Grid) -> Grid:
    """The grid with a cell at every pixel."""
    return Grid(Fraction(1), grid.offset, grid.field)


def _map_of(trunk: nn.Module, variables: Any, image: FeatureMap, *, at: str | None) -> FeatureMap:
    """The trunk's map called `at`, by default the deepest."""
    maps: Any = trunk.apply(variables, image, train=False)
    if at is not None and at not in maps:
        raise ValueError(f"the trunk has no map {at!r}; it has {', '.join(maps)}")
    return maps[at or next(reversed(maps))]
