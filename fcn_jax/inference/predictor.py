"""Labels for single images of any size, from a few compiled programs."""

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from fcn_jax.arithmetic import round_up
from fcn_jax.data.canvases import Canvases
from fcn_jax.devices.compiling import jit
from fcn_jax.inference.few_canvases import few_canvases
from fcn_jax.inference.memory import Memory, patch_bytes
from fcn_jax.nn.coarse_scores import CoarseScores, best_classes, is_coarse, scores_of

Preprocess = Callable[[Any, Any], Any]
"""Runs on the device: images uint8 (b, h, w, 3) RGB and sizes int32 (b, 2) -> float32 (b, h, w, 3),
in the net's own units and channel order, 0 outside the sizes; dictionaries of several inputs."""
Image = UInt8[np.ndarray, "h w 3"] | dict[str, np.ndarray]

LARGEST_TILE = 4096
"""Rows and columns of the largest tile, and of the largest canvas that may be compiled in vain."""

_MOST_CLASSES = 255
# Pixels that are predicted in the time that one program takes to compile. On two CPU cores FCN-8s
# on VGG16 compiles in 8 s and predicts 0.19 Mpx/s; for other devices 20 s and 20 Mpx/s are a guess.
_COMPILE_COST = {"cpu": 1.5e6}
_COMPILE_COST_ELSEWHERE = 4e8


def predict_labels(
    net: nn.Module, preprocess: Preprocess, variables: Any, images: Any, sizes: Int[Array, "b 2"]
) -> Any:
    """Labels of a batch of images on one canvas, for use inside `jit`.

    Args:
        net: `net.apply(variables, images, sizes=sizes)` gives scores (b, h, w, k).
        preprocess: makes the net's input from images and sizes.
        variables: the net's variables.
        images: uint8 (b, h, w, 3), 0..255, RGB; a dictionary if the net has several inputs.
        sizes: rows and columns of each image, in the upper left corner of the canvas.

    Returns:
        uint8 (b, h, w), 0..k-1, or int32 (b,) of an output for the whole image; a dictionary of
        them if the net has several outputs. What an output other than classes says, see `answers`.

    Raises:
        ValueError: if there are more than 255 classes.
    """
    scores = scores_of(net, variables, preprocess(images, sizes), sizes=sizes)
    return jax.tree.map(
        lambda s: uint8_labels(s) if len(s.shape) == 4 else jnp.argmax(s, axis=-1),
        scores,
        is_leaf=is_coarse,
    )


def uint8_labels(scores: Float[Array, "b h w k"] | CoarseScores) -> UInt8[Array, "b h w"]:
    """The class of the highest score at every pixel, the first of equals: `best_classes` as uint8.

    Raises:
        ValueError: if there are more than 255 classes: 255 means ignore in a uint8 label.
    """
    if scores.shape[-1] > _MOST_CLASSES:
        raise ValueError(
            f"labels are uint8 and 255 means ignore: expected at most {_MOST_CLASSES} classes, "
            f"found {scores.shape[-1]}. Take the scores and choose a wider label yourself."
        )
    return best_classes(scores).astype(jnp.uint8)


class _Program(NamedTuple):
    """A program for one canvas, compiled.

    Attributes:
        run: from variables, images on the canvas and their sizes to labels or scores.
        memory: what it takes, with images and results on the canvas, without the variables.
        bytes_of_pixel: of images and results.
    """

    run: Callable[..., Any]
    memory: Memory
    bytes_of_pixel: float


class Predictor:
    """Predicts the label of one image of any size.

    Each image is put on a canvas whose sides are rounded up, so that images of similar size share
    one compiled program. The net is told the true size, so the result is that of the image alone.
    If the sizes are known beforehand, `prepare` finds fewer programs. The image must fit in memory;
    for all others there is `fcn_jax.inference.anysize.AnySize`.

    Attributes:
        inputs: channels of each input by name, if the net has several inputs.
        variables: the net's variables, on the device.

    Example:
        `label = Predictor(net, variables, preprocess)(image)`
    """

    def __init__(
        self,
        net: nn.Module,
        variables: Any,
        preprocess: Preprocess,
        *,
        multiple: int | None = None,
    ):
        """Puts the variables on the device; compiles nothing yet.

        Args:
            net: `net.apply(variables, images, sizes=sizes)` gives scores (b, h, w, k), zero outside
                the sizes.
            variables: the net's variables.
            preprocess: makes the net's input from uint8 images and sizes, on the device.
            multiple: sides of canvases are multiples of this many pixels. The larger, the fewer
                programs and the more padding. By default 64; 1 if the net's scores are not of the
                image's size (`keeps_size` of the net is False): each size then has its own program.

        Raises:
            ValueError: if `multiple` is below 1.
        """
        self._keeps_size = getattr(net, "keeps_size", True)
        multiple = (64 if self._keeps_size else 1) if multiple is None else multiple
        if multiple < 1:
            raise ValueError(f"Predictor: expected multiple of at least 1 pixel, found {multiple}.")
        self.inputs = net_inputs(net)
        self.multiple = multiple
        self.canvases: Canvases = ()
        self.variables = jax.tree.map(jnp.asarray, variables)
        self._scores = jit(lambda v, x, sizes: net.apply(v, preprocess(x, sizes), sizes=sizes))
        self._label = jit(functools.partial(predict_labels, net, preprocess))
        self._programs: dict[Any, _Program] = {}

    def prepare(self, sizes: Iterable[tuple[int, int]]) -> None:
        """Chooses canvases for known images with `few_canvases`, instead of rounding up each size.

        Few images share canvases, many get closer ones. Other sizes can be predicted too.

        Args:
            sizes: rows and columns of every image.
        """
        if not self._keeps_size:
            return
        cost = _COMPILE_COST.get(jax.default_backend(), _COMPILE_COST_ELSEWHERE)
        self.canvases = few_canvases(list(sizes), compile_cost=cost, multiple=self.multiple)

    def __call__(self, image: Image) -> Any:
        """Predicts the class of every pixel.

        Args:
            image: uint8 (h, w, 3), 0..255, RGB, any h and w of at least 1; a dictionary if the net
                has several inputs (see `check_image`).

        Returns:
            uint8 (h, w), 0..k-1; a dictionary of them if the net has several outputs. Of equal
            scores, the first class wins.

        Raises:
            ValueError: if `image` is not what the net takes, or there are more than 255 classes.
        """
        return self._run(image, scores=False)

    def scores(self, image: Image) -> Any:
        """Predicts the scores of every class at every pixel.

        Args:
            image: as in `__call__`.

        Returns:
            float32 (h, w, k), scores before the softmax; (k,) of an output for the whole image; a
            dictionary of them if the net has several outputs.

        Raises:
            ValueError: if `image` is not what the net takes.
        """
        return self._run(image, scores=True)

    def memory(self, size: tuple[int, int], *, scores: bool = False) -> Memory:
        """What an image takes, with its own pixels and its result: an upper bound.

        Compiles the program for the image's canvas. Above 4,096 x 4,096 pixels it compiles that
        canvas instead, and multiplies: memory grows no faster than the longer sides.

        Args:
            size: rows and columns of the image.
            scores: whether for `scores`; otherwise for labels.
        """
        (height, width), pixels = self._canvas(*size), size[0] * size[1]
        most, factor = round_up(LARGEST_TILE, self.multiple), 1.0
        if height * width > most**2:
            factor = max(height, most) * max(width, most) / most**2
            height = width = most
        images = abstract_images(self.inputs, height, width)
        program = self._program(images, scores=scores)
        return program.memory.times(factor).plus(pixels * program.bytes_of_pixel)

    def bytes_of_pixel(self, *, scores: bool) -> float:
        """Bytes of a pixel of the image and of its result; after `memory`."""
        return next(p.bytes_of_pixel for key, p in self._programs.items() if key[0] == scores)

    def _program(self, images: Any, *, scores: bool) -> "_Program":
        """The compiled program for images of these shapes and dtypes."""
        key = scores, *jax.tree.leaves(images)
        if key not in self._programs:
            function: Any = self._scores if scores else self._label
            sizes = jax.ShapeDtypeStruct((1, 2), jnp.int32)
            traced = function.trace(self.variables, images, sizes)
            run = traced.lower().compile()
            need, parts = run.memory_analysis(), jax.tree.leaves(images)
            outside = need.output_size_in_bytes + sum(p.size * p.dtype.itemsize for p in parts)
            used = need.temp_size_in_bytes + outside
            memory = Memory(used, used + patch_bytes(traced.jaxpr))
            pixels = math.prod(parts[0].shape[:3])
            self._programs[key] = _Program(run, memory, outside / pixels)
        return self._programs[key]

    def _run(self, image: Image, *, scores: bool) -> Any:
        h, w = check_image(image, self.inputs)
        height, width = self._canvas(h, w)
        padding = ((0, 0), (0, height - h), (0, width - w), (0, 0))
        on_canvas = jax.tree.map(lambda part: np.pad(part[None], padding), image)
        shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), on_canvas)
        program = self._program(shapes, scores=scores)
        out = program.run(self.variables, on_canvas, np.array([[h, w]], np.int32))
        own = np.s_[0, :h, :w]
        return jax.tree.map(lambda x: np.asarray(x)[own if x.ndim > 2 else 0], out)

    def _canvas(self, height: int, width: int) -> tuple[int, int]:
        """The smallest prepared canvas that holds the image, or else the image's own."""
        own = round_up(height, self.multiple), round_up(width, self.multiple)
        fits = (c for c in self.canvases if c[0] >= height and c[1] >= width)  # sorted by area
        return next(fits, own)


def net_inputs(net: nn.Module) -> dict[str, int]:
    """Channels of each input by name; nothing for a net of one input, an RGB image."""
    return dict(getattr(net, "inputs", ()))


def abstract_images(inputs: Mapping[str, int], height: int, width: int) -> Any:
    """Images (1, height, width, c) for tracing, by name if the net has several inputs."""

    def array(channels: int) -> jax.ShapeDtypeStruct:
        dtype = jnp.uint16 if channels == 1 else jnp.uint8  # one channel is depth
        return jax.ShapeDtypeStruct((1, height, width, channels), dtype)

    return {name: array(c) for name, c in inputs.items()} if inputs else array(3)


def check_image(image: Any, inputs: Mapping[str, int]) -> tuple[int, int]:
    """Rows and columns of an image that a net can take.

    Args:
        image: uint8 (h, w, 3), RGB; of several inputs a dictionary by name: uint8 (h, w, 3), or
            uint16 (h, w, 1), millimetres of depth.
        inputs: channels of each input by name; nothing for a net of one input.

    Raises:
        ValueError: if it is anything else.
    """
    if not isinstance(image, Mapping):
        if inputs:
            raise ValueError(f"expected a dictionary of {', '.join(inputs)}, found one image.")
        check_rgb(image)
        return image.shape[:2]
    if inputs and set(image) != set(inputs):
        raise ValueError(
            f"expected the inputs {', '.join(inputs)}, found {', '.join(image) or 'none'}."
        )
    for name, channels in inputs.items():
        if channels == 3:
            check_rgb(image[name], name)
        elif image[name].shape[2:] != (channels,) or image[name].dtype not in ("uint8", "uint16"):
            raise ValueError(
                f"{name}: expected a uint16 array (h, w, {channels}), such as millimetres of "
                f"depth; found {image[name].dtype} {image[name].shape}."
            )
    sizes = {name: part.shape[:2] for name, part in image.items()}
    if len(set(sizes.values())) != 1:
        found = ", ".join(f"{name} {h}x{w}" for name, (h, w) in sizes.items())
        raise ValueError(f"expected inputs of one size, found {found}.")
    return next(iter(sizes.values()))


def check_rgb(image: Any, name: str = "") -> None:
    """Raises ValueError unless `image` is uint8 (h, w, 3) with h and w of at least 1."""
    dtype, shape = getattr(image, "dtype", type(image).__name__), getattr(image, "shape", ())
    if dtype != np.uint8 or shape[2:] != (3,) or 0 in shape:
        raise ValueError(
            f"{name and f'{name}: '}expected an RGB image, a uint8 array (h, w, 3), h and w at "
            f"least 1; found {dtype} {shape}. Read files with fcn_jax.data.readers.read_image."
        )
