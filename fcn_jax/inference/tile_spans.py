"""Where tiles lie on an image, and which of their pixels keep their scores."""

import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from fcn_jax.arithmetic import round_up
from fcn_jax.inference.predictor import Preprocess, abstract_images, net_inputs
from fcn_jax.nn.feature_map import WHOLE_IMAGE, FeatureMap, Grid

_PROBE = 4096  # rows and columns of an image for tracing, larger than any receptive field


class NetGeometry(NamedTuple):
    """How far a net sees, and by how many pixels tiles may be shifted.

    Attributes:
        margin: a score depends on no pixel further away than this many rows or columns. Half of the
            largest receptive field, an upper bound.
        stride: least common multiple of the strides of all feature maps, in pixels. Shifted by a
            multiple of it, cells lie on the image where other cells of the same map lie.
    """

    margin: int
    stride: int


def net_geometry(net: nn.Module, variables: Any, preprocess: Preprocess) -> NetGeometry:
    """Margin and stride of a net, from the grids of its feature maps; the net is only traced.

    Args:
        net: `net.apply(variables, images, sizes=sizes)` gives a score for every pixel.
        variables: the net's variables.
        preprocess: makes the net's input from uint8 images and sizes.

    Raises:
        ValueError: if a layer depends on the whole image, or the net has no feature maps, or not a
            score for every pixel.
    """
    grids: list[Grid] = []

    def record_grid(next_call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        result = next_call(*args, **kwargs)
        if context.method_name == "__call__" and isinstance(result, FeatureMap):
            if result.grid.field == WHOLE_IMAGE:
                layer = context.module
                raise ValueError(
                    f"{'/'.join(layer.path)} ({type(layer).__name__}) looks at the whole image, so "
                    "tiles cannot have its scores. Use Predictor, or a net without this layer."
                )
            grids.append(result.grid)
        return result

    def trace(variables: Any, images: Any, sizes: Any) -> Any:
        with nn.intercept_methods(record_grid):
            return net.apply(variables, preprocess(images, sizes), sizes=sizes)

    images = abstract_images(net_inputs(net), _PROBE, _PROBE)
    sizes = jax.ShapeDtypeStruct((1, 2), jnp.int32)
    scores = jax.tree.leaves(jax.eval_shape(trace, variables, images, sizes))
    last = grids[-1] if grids else None
    everywhere = all(output.shape[1:3] == (_PROBE, _PROBE) for output in scores)
    if last is None or not everywhere or (last.stride, last.offset) != (1, 0):
        raise ValueError(
            f"{type(net).__name__}: expected a net whose last feature map has one cell on every "
            f"pixel, found {last or 'no feature maps'}. Build it from fcn_jax.nn.layers, like FCN."
        )
    stride = math.lcm(*(grid.stride.numerator for grid in grids))
    return NetGeometry(margin=int(max(grid.field for grid in grids) - 1) // 2, stride=stride)


class TileSpan(NamedTuple):
    """A tile along one axis of the image.

    Attributes:
        start, stop: the rows (or columns) of the image that the net sees.
        kept: those whose scores are kept, counted from `start`.
    """

    start: int
    stop: int
    kept: slice


def tile_spans(length: int, tile: int, geometry: NetGeometry) -> list[TileSpan]:
    """Cuts an axis of an image into tiles; each pixel's score is kept from one of them.

    Every tile starts at a multiple of the stride, where pooling windows of the whole image start
    too. Scores within the margin of a tile's ends are not kept, except at the image's border: the
    net saw its own zeros there instead of the image.

    Args:
        length: pixels of the axis.
        tile: pixels of a tile, at least twice the margin plus a stride. If the axis is longer than
            a tile, every tile has more than `tile - geometry.stride` pixels.
        geometry: of the net.
    """
    margin, stride = geometry.margin, geometry.stride
    step = (tile - 2 * margin) // stride * stride
    assert step > 0, (tile, geometry)
    last_start = max(round_up(length - tile, stride), 0)
    starts = [*range(0, last_start, step), last_start]
    # A tile keeps scores up to its margin; the next tile keeps them from there.
    bounds = [0, *(start + tile - margin for start in starts[:-1]), length]
    return [
        TileSpan(start, min(start + tile, length), slice(first - start, last - start))
        for start, first, last in zip(starts, bounds[:-1], bounds[1:], strict=True)
    ]
