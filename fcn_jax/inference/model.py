"""A net ready to predict: with its variables, its preprocessing and its classes."""

import io
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from fcn_jax.data.images import AS_STORED, ImageOptions
from fcn_jax.data.named import as_plain, primary, zip_named
from fcn_jax.data.readers import read_image
from fcn_jax.inference.answers import answers
from fcn_jax.inference.anysize import AnySize
from fcn_jax.inference.certainty import confidence, entropy, sigmoid, softmax
from fcn_jax.inference.inputs import InputFiles
from fcn_jax.inference.predictor import Preprocess
from fcn_jax.inference.result_files import picture
from fcn_jax.labels import LabelKind
from fcn_jax.report.palette import class_palette, coloured
from fcn_jax.report.pictures import laid_over, overlay


class Model:
    """Predicts labels, scores and probabilities of images.

    Outputs that are no classes of pixels have answers of their own (`fcn_jax.inference.answers`).

    An image is a path, a PIL image or a uint8 array `(h, w, 3)`, RGB, of any size; a dictionary of
    them by name if the net has several inputs. A list of images gives a list of results. Results
    are dictionaries by name if the net has several outputs. An image that does not fit in memory is
    predicted in tiles, with the same result, and a warning says so.

    Attributes:
        net: the net.
        variables: its variables.
        preprocessing: makes the net's input from images.
        class_names: a name for each class; by output's name if there are several.
        palette: colours by label, uint8 `(256, 3)`, RGB; by output's name if there are several.
        kinds: what each output is (`fcn_jax.labels.LabelKind`), by output's name.
        image_options: what image files do not say of their pixels.

    Example:
        `label = fcn_jax.load("runs/voc_fcn8s")("photo.jpg")`
    """

    def __init__(
        self,
        net: nn.Module,
        variables: Any,
        preprocessing: Preprocess,
        *,
        class_names: Any = None,
        options: ImageOptions = AS_STORED,
        kinds: Any = None,
    ):
        """Puts the variables on the device; compiles nothing yet.

        Args:
            net: `net.apply(variables, images, sizes=sizes)` gives scores (b, h, w, k).
            variables: the net's variables.
            preprocessing: makes the net's input from images and sizes, on the device.
            class_names: a name for each class; by output's name if there are several. By default
                "class 0", "class 1", ...
            options: what image files do not say of their pixels.
            kinds: what each output is, by output's name if there are several; by default what the
                net's heads say (`Segmenter.output_kinds`), else classes of pixels.
        """
        self.net = net
        self.variables = jax.tree.map(jnp.asarray, variables)
        self.preprocessing = preprocessing
        self.class_names = _checked_names(class_names, getattr(net, "num_classes", None))
        kinds = getattr(net, "output_kinds", None) if kinds is None else kinds
        outputs = [name for name, _ in zip_named(self.class_names)]
        said = dict(kinds) if isinstance(kinds, Mapping) else {"": kinds}
        self.kinds = {name: said.get(name) or LabelKind.CLASSES for name in outputs}
        self.palette = as_plain(
            {name: class_palette(min(len(k), 255)) for name, k in zip_named(self.class_names)}
        )
        self._predictor = AnySize(net, self.variables, preprocessing, say=_warn)
        self.image_options = options
        self._files = InputFiles(self._predictor.inputs, options)

    def __call__(self, image: Any) -> Any:
        """The class of every pixel, uint8 `(h, w)`; of equal scores, the first class.

        Other outputs: see `fcn_jax.inference.answers.answer`.

        Raises:
            ValueError: the image cannot be read, or is not what the net takes.
        """
        return self._each(image, self._answer)

    def scores(self, image: Any) -> Any:
        """The score of every class at every pixel, before the softmax: float32 `(h, w, k)`.

        Of an output for the whole image float32 `(k,)`.

        Raises:
            ValueError: the image cannot be read, or is not what the net takes.
        """
        return self._each(image, self._predictor.scores)

    def probabilities(self, image: Any) -> Any:
        """The softmax of `scores`: float32 `(h, w, k)`, sums to 1 at every pixel.

        Of a class of the image `(k,)`; of attributes, the sigmoid of each. Outputs of numbers have
        none, and are left out.

        Raises:
            ValueError: the image cannot be read, or is not what the net takes; or the net gives
                numbers only.
        """
        return self._each(image, self._probabilities)

    def confidence(self, image: Any) -> Any:
        """The probability of the predicted class: float32 `(h, w)`, 1 / k to 1.

        Of a class of the image a number; of other outputs than classes nothing.

        Raises:
            ValueError: as `probabilities`.
        """
        return self._each(image, lambda arrays: self._of_classes(arrays, confidence))

    def entropy(self, image: Any) -> Any:
        """How undecided the classes are: float32 `(h, w)`, 0 (one is certain) to 1 (all equal).

        It is the entropy of the probabilities as a part of log k. Outputs: as `confidence`.

        Raises:
            ValueError: as `probabilities`.
        """
        return self._each(image, lambda arrays: self._of_classes(arrays, entropy))

    def overlay(self, image: Any, label: Any = None, *, alpha: float = 0.5) -> Any:
        """The image with the colours of its classes laid over it, as a PIL image.

        Args:
            image: one image, as in `__call__`.
            label: what `__call__` returned for it; by default, that is predicted. Numbers are drawn
                from 0, blue, to the highest, yellow. Outputs for the whole image are left out.
            alpha: opacity of the colours, 0 to 1.

        Raises:
            ValueError: the label is not one of this image.
        """
        arrays = self._arrays(image)
        shown, label = picture(arrays), self._answer(arrays) if label is None else label

        def draw(label: Any, palette: np.ndarray, kind: LabelKind) -> Image.Image:
            expected = np.float32 if kind is LabelKind.NUMBERS else np.uint8
            found = getattr(label, "dtype", type(label).__name__), getattr(label, "shape", ())
            if found != (expected, shown.shape[:2]):
                raise ValueError(
                    f"overlay: expected a label of this image, {np.dtype(expected)} "
                    f"{shown.shape[:2]}; found {found[0]} {found[1]}"
                )
            if kind is LabelKind.NUMBERS:
                return Image.fromarray(laid_over(shown, coloured(label), alpha))
            return Image.fromarray(overlay(shown, label, alpha, palette))

        drawn = {
            name: draw(found, palette, self.kinds[name])
            for name, found, palette in zip_named(label, self.palette)
            if self.kinds[name] in (LabelKind.CLASSES, LabelKind.NUMBERS)
        }
        if not drawn:
            raise ValueError("overlay: this net answers for the whole image, not for its pixels")
        return as_plain(drawn)

    def _answer(self, arrays: Any) -> Any:
        return answers(self._predictor, arrays, self.kinds)

    def _probabilities(self, arrays: Any) -> Any:
        found = {
            name: sigmoid(scores) if self.kinds[name] is LabelKind.ATTRIBUTES else softmax(scores)
            for name, scores in zip_named(self._predictor.scores(arrays))
            if self.kinds[name] is not LabelKind.NUMBERS
        }
        if not found:
            raise ValueError("this net gives numbers, which have no probabilities")
        return as_plain(found)

    def _of_classes(self, arrays: Any, of_probabilities: Callable[[Any], Any]) -> Any:
        kinds = LabelKind.CLASSES, LabelKind.CLASS
        found = zip_named(self._probabilities(arrays))
        return as_plain({n: of_probabilities(p) for n, p in found if self.kinds[n] in kinds})

    def _each(self, image: Any, predict: Callable[[Any], Any]) -> Any:
        if isinstance(image, list | tuple):
            return [predict(self._arrays(one)) for one in image]
        return predict(self._arrays(image))

    def _arrays(self, image: Any) -> Any:
        """The image's pixels as arrays, by name if the net has several inputs."""
        if isinstance(image, Mapping) and not getattr(self.net, "inputs", True):
            raise ValueError(f"this net takes one image, found a dictionary of {', '.join(image)}")
        parts = image if isinstance(image, Mapping) else {"": image}
        return as_plain({name: self._array(name, part) for name, part in parts.items()})

    def _array(self, name: str, image: Any) -> np.ndarray:
        if isinstance(image, str | os.PathLike):
            return primary(self._files.read({name: Path(image).expanduser()}))
        if isinstance(image, Image.Image):
            if self._predictor.inputs.get(name) == 1:
                return np.asarray(image).astype(np.uint16)[..., None]
            return read_image(_as_png(image), "the PIL image", options=self._files.options)
        return image


def _checked_names(class_names: Any, num_classes: Any) -> Any:
    """The names as tuples, one for each class of each output."""
    counts = dict(num_classes) if isinstance(num_classes, Mapping) else num_classes
    if class_names is None:
        return as_plain({n: tuple(f"class {i}" for i in range(k)) for n, k in zip_named(counts)})
    names = as_plain({name: tuple(k) for name, k in zip_named(class_names)})
    if counts is not None and {n: len(k) for n, k in zip_named(names)} != dict(zip_named(counts)):
        raise ValueError(f"expected a name for each class of {counts}, found {class_names}")
    return names


def _as_png(image: Image.Image) -> bytes:
    """A PIL image as a file, so that it is read by the rule of all images."""
    stored, exif = io.BytesIO(), image.getexif()
    if image.mode in ("F", "I"):
        raise ValueError(
            f"a PIL image of mode {image.mode}: no number is known to be white; pass a uint8 array "
            "(h, w, 3), or an image of mode RGB, L or I;16"
        )
    if image.mode not in ("1", "L", "LA", "I;16", "P", "RGB", "RGBA"):
        image = image.convert("RGB")
    image.save(stored, "PNG", compress_level=0, exif=exif)
    return stored.getvalue()


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=2)
