"""How an image is cut into tiles: where they begin, and what of them is kept."""

import dataclasses
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from fcn_jax.inference.predictor import Preprocess, dense_scores
from fcn_jax.nn.feature_map import WHOLE_IMAGE, FeatureMap, Grid

# Traced, never computed: an image that no net is too large for.
_PROBE = 4096


@dataclasses.dataclass(frozen=True)
class Reach:
    """How far a net looks, and how far it must be moved to do the same again.

    Attributes:
        margin: a score depends on no pixel further away than this many rows or columns.
        stride: least common multiple of the strides of all feature maps, in pixels. Moved by a
            multiple of it, cells lie on the image where other cells of the same map lie.
    """

    margin: int
    stride: int


def reach(net: nn.Module, variables: Any, preprocess: Preprocess) -> Reach:
    """The reach of a net, from the grids of its feature maps; nothing is computed, only traced.

    Args:
        net: `net.apply(variables, images, sizes=sizes)` gives a score for every pixel.
        variables: the network's variables.
        preprocess: makes the network's input from uint8 images and sizes.

    Returns:
        The margin (half of the largest receptive field, an upper bound) and the stride.

    Raises:
        ValueError: a layer looks at the whole image, the net has no feature maps to tell where it
            looks, or gives no score for every pixel.
    """
    grids: list[Grid] = []

    def note(next_call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        result = next_call(*args, **kwargs)
        if context.method_name == "__call__" and isinstance(result, FeatureMap):
            if result.grid.field == WHOLE_IMAGE:
                raise ValueError(
                    f"{'/'.join(context.module.path)} ({type(context.module).__name__}) looks at "
                    "the whole image, so no tile of it has the same scores: predict with "
                    "Predictor, on an image that fits into memory, or choose a net without it"
                )
            grids.append(result.grid)
        return result

    def trace(variables: Any, images: Any, sizes: Any) -> Any:
        with nn.intercept_methods(note):
            return dense_scores(net, preprocess, variables, images, sizes)

    scores = jax.eval_shape(trace, variables, *shapes(_PROBE, _PROBE))
    last = grids[-1] if grids else None
    if not isinstance(scores, jax.ShapeDtypeStruct):
        raise ValueError(
            f"{type(net).__name__}: expected a net with one array of scores, found several "
            f"({', '.join(scores)}): tile a net of each"
        )
    if last is None or scores.shape[1:3] != (_PROBE,) * 2 or (last.stride, last.offset) != (1, 0):
        raise ValueError(
            f"{type(net).__name__}: expected a net whose last feature map has one cell on every "
            f"pixel, found {last or 'no feature maps'}: only such a net tells how its tiles "
            "overlap. Build it from fcn_jax.nn.layers, as fcn_jax.FCN is."
        )
    stride = math.lcm(*(grid.stride.numerator for grid in grids))
    return Reach(int(max(grid.field for grid in grids) - 1) // 2, stride)


@dataclasses.dataclass(frozen=True)
class Span:
    """A tile along one axis.

    Attributes:
        start, stop: the pixels that the net is shown.
        first, last: those whose scores are kept, `start <= first < last <= stop`.
    """

    start: int
    stop: int
    first: int
    last: int


def spans(length: int, tile: int, reach: Reach) -> list[Span]:
    """Cuts an axis into tiles whose kept scores are the whole axis's, each pixel once.

    Every tile begins at a multiple of the stride, where pooling windows begin in the whole image
    too. Where it does not touch the image's border, the scores within the margin are not kept:
    the net met its own ring of zeros there instead of the image.

    Args:
        length: pixels of the axis.
        tile: pixels of a tile, at least twice the margin and a stride. Every tile of a longer axis
            has more than `tile - reach.stride`.
        reach: of the net.
    """
    step = (tile - 2 * reach.margin) // reach.stride * reach.stride
    assert step > 0, (tile, reach)
    last_start = max(-(-(length - tile) // reach.stride) * reach.stride, 0)
    starts = [*range(0, last_start, step), last_start]
    kept = [0, *(start + tile - reach.margin for start in starts[:-1]), length]
    return [
        Span(start, min(start + tile, length), first, last)
        for start, first, last in zip(starts, kept, kept[1:], strict=False)
    ]


def shapes(height: int, width: int) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
    """A uint8 image (1, height, width, 3) and its size, int32 (1, 2), for tracing."""
    image = jax.ShapeDtypeStruct((1, height, width, 3), jnp.uint8)
    return image, jax.ShapeDtypeStruct((1, 2), jnp.int32)
