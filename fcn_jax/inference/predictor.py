"""Labels for single images of any size, from a few compiled programs."""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from fcn_jax.devices.compiling import jit
from fcn_jax.inference.few_canvases import Canvases, few_canvases
from fcn_jax.nn.coarse_scores import CoarseScores, best_classes, is_coarse, scores_of

Preprocess = Callable[[Any, Any], Any]
"""Runs on the device: images uint8 (b, h, w, 3) RGB and sizes int32 (b, 2) -> float32 (b, h, w, 3),
in the network's own units and channel order, 0 outside the sizes; by name of several inputs."""
Image = UInt8[np.ndarray, "h w 3"] | dict[str, np.ndarray]

_MOST_CLASSES = 255
# Pixels that are predicted while one program compiles. FCN-8s on VGG16 takes 8 s to compile and
# labels 0.19 Mpx/s on two cores; no accelerator was measured: 20 s and 20 Mpx/s are a guess.
_PROGRAM = {"cpu": 1.5e6}
_PROGRAM_ELSEWHERE = 4e8


def dense_scores(
    net: nn.Module,
    preprocess: Preprocess,
    variables: Any,
    images: Any,
    sizes: Int[Array, "b 2"],
) -> Any:
    """Scores of a batch of images on one canvas, for use inside `jit`.

    Args:
        net: `net.apply(variables, images, sizes=sizes)` gives scores (b, h, w, k).
        preprocess: makes the network's input from images and sizes.
        variables: the network's variables.
        images: uint8 (b, h, w, 3), 0..255, RGB; by name where the net has several inputs.
        sizes: rows and columns of each image, in the upper left corner of the canvas.

    Returns:
        Float scores, (b, h, w, k), by name where the net has several outputs.
    """
    return net.apply(variables, preprocess(images, sizes), sizes=sizes)


def best_class(scores: Float[Array, "b h w k"] | CoarseScores) -> UInt8[Array, "b h w"]:
    """The class of the highest score, the first of equals.

    Args:
        scores: (b, h, w, k), or coarse scores, which are upsampled a few rows at a time.

    Returns:
        uint8 labels (b, h, w), 0..k-1.

    Raises:
        ValueError: if there are more than 255 classes: 255 means ignore in a uint8 label.
    """
    if scores.shape[-1] > _MOST_CLASSES:
        raise ValueError(
            f"labels are uint8 and 255 means ignore: expected at most {_MOST_CLASSES} classes, "
            f"found {scores.shape[-1]}. Take the scores and choose a wider label yourself."
        )
    return best_classes(scores).astype(jnp.uint8)


def labels_of(net: nn.Module, preprocess: Preprocess, variables: Any, images: Any, sizes: Any):
    """Labels of a batch of images, uint8 (b, h, w), by name of several outputs; as `dense_scores`.

    Raises:
        ValueError: if there are more than 255 classes.
    """
    scores = scores_of(net, variables, preprocess(images, sizes), sizes=sizes)
    return jax.tree.map(best_class, scores, is_leaf=is_coarse)


class Predictor:
    """Predicts the label of one image of any size.

    Images are laid on canvases whose sides are rounded up, so that sizes which are close share one
    compiled program. The network is told the true size, so the result is that of the bare image.
    Where the sizes are known beforehand, `prepare` finds fewer programs.

    Example:
        `label = Predictor(net, variables, preprocess)(image)`
    """

    def __init__(
        self, net: nn.Module, variables: Any, preprocess: Preprocess, *, multiple: int = 64
    ):
        """Keeps the variables on the device; nothing is compiled yet.

        Args:
            net: `net.apply(variables, images, sizes=sizes)` gives scores (b, h, w, k), zero outside
                the sizes.
            variables: the network's variables.
            preprocess: makes the network's input from uint8 images and sizes, on the device.
            multiple: sides of canvases are multiples of this many pixels: fewer programs, or fewer
                wasted pixels.

        Raises:
            ValueError: if `multiple` is below 1.
        """
        if multiple < 1:
            raise ValueError(f"Predictor: expected multiple of at least 1 pixel, found {multiple}.")
        self.multiple = multiple
        self.canvases: Canvases = ()
        self._variables = jax.tree.map(jnp.asarray, variables)

        def scores(variables, images, sizes):
            return dense_scores(net, preprocess, variables, images, sizes)

        self._scores = jit(scores)
        self._label = jit(lambda *args: labels_of(net, preprocess, *args))

    def prepare(self, sizes: Iterable[tuple[int, int]]) -> None:
        """Chooses canvases for images that are to come, instead of rounding each up by itself.

        Few images share canvases, many get canvases that fit closer: whichever takes less time,
        compiling included (see `few_canvases`). Others can be predicted all the same.

        Args:
            sizes: rows and columns of every image.
        """
        program = _PROGRAM.get(jax.default_backend(), _PROGRAM_ELSEWHERE)
        self.canvases = few_canvases(list(sizes), program=program, multiple=self.multiple)

    def __call__(self, image: Image) -> Any:
        """Predicts the class of every pixel.

        Args:
            image: uint8 (h, w, 3), 0..255, RGB, any h and w of at least 1; by name where the net
                has several inputs.

        Returns:
            uint8 (h, w), 0..k-1, by name where the net has several outputs; of equal scores, the
            first class wins.

        Raises:
            ValueError: if `image` is not uint8 (h, w, 3), or the classes are more than 255.
        """
        return self._run(self._label, image)

    def scores(self, image: Image) -> Any:
        """Predicts the scores of every class at every pixel.

        Args:
            image: as above.

        Returns:
            float32 (h, w, k), scores before the softmax, by name where the net has several outputs.

        Raises:
            ValueError: if `image` is not uint8 (h, w, 3).
        """
        return self._run(self._scores, image)

    def _run(self, program: Callable[..., Any], image: Image) -> Any:
        parts = image if isinstance(image, dict) else {"": self._checked(image)}
        shapes = {part.shape[:2] for part in parts.values()}
        if len(shapes) != 1:
            raise ValueError(f"Predictor: expected inputs of one size, found {sorted(shapes)}.")
        h, w = shapes.pop()
        canvas = jax.tree.map(functools.partial(self._on, self._canvas(h, w)), image)
        out = program(self._variables, canvas, np.array([[h, w]], np.int32))
        return jax.tree.map(lambda x: np.asarray(x)[0, :h, :w], out)

    def _canvas(self, *size: int) -> tuple[int, ...]:
        own = tuple(-(-n // self.multiple) * self.multiple for n in size)
        fits = [c for c in self.canvases if c[0] >= size[0] and c[1] >= size[1]]
        return fits[0] if fits else own  # they are sorted by area

    @staticmethod
    def _on(canvas: tuple[int, ...], image: np.ndarray) -> np.ndarray:
        on_canvas = np.zeros((1, *canvas, image.shape[-1]), image.dtype)
        on_canvas[0, : image.shape[0], : image.shape[1]] = image
        return on_canvas

    @staticmethod
    def _checked(image: np.ndarray) -> np.ndarray:
        good = image.dtype == np.uint8 and image.ndim == 3 and image.shape[-1] == 3
        if not (good and image.size):
            raise ValueError(
                "Predictor: expected an RGB image, uint8 (h, w, 3), h and w at least 1; found "
                f"{image.dtype} {image.shape}. Read files with fcn_jax.inference.folder.read_rgb."
            )
        return image
