"""Where pixels become a loss: void pixels are masked, and the sum is divided once per batch.

Both the sum over all labelled pixels and the divisor are of the whole batch, also under `jax.jit`
on a batch that is sharded over devices. A mean of per-device means would differ as soon as the
devices' void pixels do.
"""

import dataclasses
import enum
from collections.abc import Callable
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Integer

from fcn_jax.labels import IGNORE
from fcn_jax.nn.coarse_scores import CoarseScores, loss_over_tiles
from fcn_jax.nn.feature_map import cells_inside

NetScores = Float[Array, "b h w k"] | CoarseScores  # coarse: from a net with `upsample=False`
LabelMap = Integer[Array, "b h w"]  # class 0..k-1, or 255 = ignored
Sizes = Int[Array, "b 2"] | None  # rows and columns of each image on a shared canvas


class Normalization(enum.Enum):
    """What the sum over labelled pixels is divided by. A divisor is at least 1.

    Source: Caffe's `LossParameter.NormalizationMode`.
    """

    SUM = "sum"
    """By nothing (Caffe's NONE)."""

    BATCH = "batch"
    """By the number of images (Caffe's BATCH_SIZE). This, and not SUM, is what the reference's
    `normalize: false` means; the two agree for a batch of one."""

    VALID = "valid"
    """By the number of labelled pixels of the whole batch (Caffe's default). A loss with class
    weights says whether a pixel counts as 1 or as its class's weight."""

    FULL = "full"
    """By the number of pixels of the whole batch, ignored ones included."""


def normalized_sum(
    loss_of_pixels: Callable[[Array, Array], Array],
    scores: NetScores,
    labels: LabelMap,
    *,
    normalization: Normalization,
    sizes: Sizes = None,
    count_of_pixels: Callable[[Array], Array] | None = None,
) -> Float[Array, ""]:
    """The loss of a batch: the sum of the losses of all labelled pixels over the divisor.

    A label that is neither a class nor 255 makes it NaN, since a compiled program cannot raise.
    Training stops on such a loss; check the labels of the data first.

    Args:
        loss_of_pixels: float32 scores (b, r, w, k) and int32 labels (b, r, w) of some rows, to the
            loss of each pixel, (b, r, w). Its values at ignored pixels do not count.
        scores: of every pixel, or coarse; coarse ones are upsampled a few rows at a time.
        labels: class or 255 of every pixel.
        normalization: what the sum is divided by.
        sizes: rows and columns of each image where the batch shares a canvas. Pixels outside are
            ignored whatever their label. They do not count for FULL, nor does an image without
            pixels for BATCH.
        count_of_pixels: from labels (b, h, w), what each pixel counts for VALID; 1 if not given.
            If nothing counts, the divisor is 1.

    Raises:
        ValueError: the shapes do not belong together, or 255 would be a class.
    """
    check_arguments(scores, labels, normalization, sizes)
    b, h, w, classes = scores.shape
    labels = void_outside(labels, sizes)

    def sum_of_rows(scores: Array, labels: Array) -> Array:
        losses = loss_of_pixels(scores.astype(jnp.float32), labels)
        losses = jnp.where((labels >= 0) & (labels < classes), losses, jnp.nan)
        return jnp.sum(jnp.where(labels != IGNORE, losses, 0.0))

    total = loss_over_tiles(sum_of_rows, scores, labels)
    match normalization:
        case Normalization.SUM:
            return total
        case Normalization.BATCH:
            count = b if sizes is None else jnp.sum(jnp.all(sizes > 0, axis=1))
        case Normalization.VALID:
            if count_of_pixels is not None:
                count = jnp.sum(jnp.where(labels != IGNORE, count_of_pixels(labels), 0.0))
                return total / jnp.where(count > 0, count, 1.0)
            count = jnp.sum(labels != IGNORE)
        case Normalization.FULL:
            count = b * h * w if sizes is None else jnp.sum(jnp.prod(sizes, axis=1))
    return total / jnp.maximum(jnp.float32(count), 1.0)


@dataclasses.dataclass(frozen=True)
class PerPixel:
    """The loss of a batch from a function that gives the loss of each pixel.

    `PerPixel(optax.losses.softmax_cross_entropy_with_integer_labels)` equals
    `Softmax(normalization=Normalization.VALID)`. Loss and gradient at ignored pixels are exactly
    0, even where the scores or the function are not finite.

    Attributes:
        function: `(logits, labels)`, float32 (b, r, w, k) and int32 (b, r, w), to the loss of each
            pixel, (b, r, w), which must depend on that pixel alone: of coarse scores the function
            gets a few rows at a time. At ignored pixels logits and label are 0.
        normalization: what the sum is divided by.
    """

    function: Callable[[Array, Array], Array]
    normalization: Normalization = Normalization.VALID

    takes_coarse_scores: ClassVar[bool] = True

    def __call__(
        self, scores: NetScores, labels: LabelMap, *, sizes: Sizes = None
    ) -> Float[Array, ""]:
        """The loss; see `normalized_sum`.

        Raises:
            ValueError: shapes do not belong together, also that of the function's result.
        """
        return normalized_sum(
            self._of_pixels, scores, labels, normalization=self.normalization, sizes=sizes
        )

    def _of_pixels(self, scores: Array, labels: Array) -> Array:
        is_class = (labels >= 0) & (labels < scores.shape[-1])
        # This selection also makes the gradient 0 at ignored pixels, whatever the function's is.
        scores = jnp.where(is_class[..., None], scores, 0.0)
        losses = self.function(scores, jnp.where(is_class, labels, 0))
        if losses.shape != labels.shape:
            raise ValueError(
                f"PerPixel needs a function that gives a loss per pixel, here {labels.shape}; "
                f"{getattr(self.function, '__name__', self.function)} gave {losses.shape}. A "
                "function that gives the loss of the batch is a loss without PerPixel."
            )
        return losses


def void_outside(labels: LabelMap, sizes: Sizes) -> Int[Array, "b h w"]:
    """The labels, 255 outside each image of a shared canvas."""
    labels = labels.astype(jnp.int32)
    if sizes is None:
        return labels
    _, h, w = labels.shape
    inside = cells_inside(jnp.arange(h), jnp.arange(w), sizes)[..., 0]
    return jnp.where(inside, labels, IGNORE)


def nan_unless_classes(loss: Float[Array, ""], labels: LabelMap, classes: int) -> Float[Array, ""]:
    """The loss, or NaN where a label is neither a class nor 255."""
    right = ((labels >= 0) & (labels < classes)) | (labels == IGNORE)
    return jnp.where(jnp.all(right), loss, jnp.nan)


def check_arguments(scores: Any, labels: Any, normalization: Any, sizes: Any) -> None:
    """Raises ValueError unless the arguments of a loss per pixel belong together."""
    check_class_labels(scores, labels, sizes)
    if not isinstance(normalization, Normalization):
        raise ValueError(
            f"found normalization {normalization!r}; use one of {[str(m) for m in Normalization]}"
        )


def check_class_labels(scores: Any, labels: Any, sizes: Any) -> None:
    """Raises ValueError unless scores, labels of classes and sizes belong together."""
    check_shapes(scores, labels, sizes)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(
            f"labels must be integers (a class or {IGNORE}), found {labels.dtype}; convert them"
        )
    if scores.shape[3] > IGNORE:
        raise ValueError(
            f"label {IGNORE} means 'ignore', so there can be at most {IGNORE} classes;"
            f" found {scores.shape[3]} scores per pixel. Use fewer classes."
        )


def check_shapes(scores: Any, labels: Any, sizes: Any) -> None:
    """Raises ValueError unless scores, labels and sizes are of the same pixels."""
    if len(scores.shape) != 4 or labels.shape != scores.shape[:3]:
        raise ValueError(
            "a loss needs scores (batch, rows, columns, classes) and labels (batch, rows, columns)"
            f" of the same pixels; found scores {scores.shape} and labels {labels.shape}."
            " Give the network and the labels the same canvas."
        )
    if sizes is not None and sizes.shape != (scores.shape[0], 2):
        raise ValueError(
            f"sizes must hold (rows, columns) of each of the {scores.shape[0]} images;"
            f" found shape {sizes.shape}. Pass the sizes that came with the batch."
        )
