"""Labels for single images of any size, from a few compiled programs."""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from fcn_jax.arithmetic import round_up
from fcn_jax.data.canvases import Canvases
from fcn_jax.devices.compiling import jit
from fcn_jax.inference.few_canvases import few_canvases
from fcn_jax.nn.coarse_scores import CoarseScores, best_classes, is_coarse, scores_of

Preprocess = Callable[[Any, Any], Any]
"""Runs on the device: images uint8 (b, h, w, 3) RGB and sizes int32 (b, 2) -> float32 (b, h, w, 3),
in the net's own units and channel order, 0 outside the sizes; dictionaries of several inputs."""
Image = UInt8[np.ndarray, "h w 3"] | dict[str, np.ndarray]

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
        uint8 (b, h, w), 0..k-1; a dictionary of them if the net has several outputs.

    Raises:
        ValueError: if there are more than 255 classes.
    """
    scores = scores_of(net, variables, preprocess(images, sizes), sizes=sizes)
    return jax.tree.map(uint8_labels, scores, is_leaf=is_coarse)


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


class Predictor:
    """Predicts the label of one image of any size.

    Each image is put on a canvas whose sides are rounded up, so that images of similar size share
    one compiled program. The net is told the true size, so the result is that of the image alone.
    If the sizes are known beforehand, `prepare` finds fewer programs.

    Example:
        `label = Predictor(net, variables, preprocess)(image)`
    """

    def __init__(
        self, net: nn.Module, variables: Any, preprocess: Preprocess, *, multiple: int = 64
    ):
        """Puts the variables on the device; compiles nothing yet.

        Args:
            net: `net.apply(variables, images, sizes=sizes)` gives scores (b, h, w, k), zero outside
                the sizes.
            variables: the net's variables.
            preprocess: makes the net's input from uint8 images and sizes, on the device.
            multiple: sides of canvases are multiples of this many pixels. The larger, the fewer
                programs and the more padding.

        Raises:
            ValueError: if `multiple` is below 1.
        """
        if multiple < 1:
            raise ValueError(f"Predictor: expected multiple of at least 1 pixel, found {multiple}.")
        self.multiple = multiple
        self.canvases: Canvases = ()
        self._variables = jax.tree.map(jnp.asarray, variables)
        self._scores = jit(lambda v, x, sizes: net.apply(v, preprocess(x, sizes), sizes=sizes))
        self._label = jit(functools.partial(predict_labels, net, preprocess))

    def prepare(self, sizes: Iterable[tuple[int, int]]) -> None:
        """Chooses canvases for known images with `few_canvases`, instead of rounding up each size.

        Few images share canvases, many get closer ones. Other sizes can be predicted too.

        Args:
            sizes: rows and columns of every image.
        """
        cost = _COMPILE_COST.get(jax.default_backend(), _COMPILE_COST_ELSEWHERE)
        self.canvases = few_canvases(list(sizes), compile_cost=cost, multiple=self.multiple)

    def __call__(self, image: Image) -> Any:
        """Predicts the class of every pixel.

        Args:
            image: uint8 (h, w, 3), 0..255, RGB, any h and w of at least 1; a dictionary if the net
                has several inputs.

        Returns:
            uint8 (h, w), 0..k-1; a dictionary of them if the net has several outputs. Of equal
            scores, the first class wins.

        Raises:
            ValueError: if `image` is not uint8 (h, w, 3), or there are more than 255 classes.
        """
        return self._run(self._label, image)

    def scores(self, image: Image) -> Any:
        """Predicts the scores of every class at every pixel.

        Args:
            image: as in `__call__`.

        Returns:
            float32 (h, w, k), scores before the softmax; a dictionary of them if the net has
            several outputs.

        Raises:
            ValueError: if `image` is not uint8 (h, w, 3).
        """
        return self._run(self._scores, image)

    def _run(self, program: Callable[..., Any], image: Image) -> Any:
        if not isinstance(image, dict):
            check_rgb(image)
        shapes = {part.shape[:2] for part in jax.tree.leaves(image)}
        if len(shapes) != 1:
            raise ValueError(f"Predictor: expected inputs of one size, found {sorted(shapes)}.")
        h, w = shapes.pop()
        height, width = self._canvas(h, w)
        padding = ((0, 0), (0, height - h), (0, width - w), (0, 0))
        on_canvas = jax.tree.map(lambda part: np.pad(part[None], padding), image)
        out = program(self._variables, on_canvas, np.array([[h, w]], np.int32))
        return jax.tree.map(lambda x: np.asarray(x)[0, :h, :w], out)

    def _canvas(self, height: int, width: int) -> tuple[int, int]:
        """The smallest prepared canvas that holds the image, or else the image's own."""
        own = round_up(height, self.multiple), round_up(width, self.multiple)
        fits = (c for c in self.canvases if c[0] >= height and c[1] >= width)  # sorted by area
        return next(fits, own)


def check_rgb(image: Any) -> None:
    """Raises ValueError unless `image` is uint8 (h, w, 3) with h and w of at least 1."""
    dtype, shape = getattr(image, "dtype", type(image).__name__), getattr(image, "shape", ())
    if dtype != np.uint8 or shape[2:] != (3,) or 0 in shape:
        raise ValueError(
            "expected an RGB image, a uint8 array (h, w, 3), h and w at least 1; found "
            f"{dtype} {shape}. Read files with fcn_jax.inference.folder.read_rgb."
        )
