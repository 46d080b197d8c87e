"""What losses of the overlap of regions have in common: three sums per class, and their ratio."""

import dataclasses
import enum
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fcn_jax.labels import IGNORE
from fcn_jax.losses.per_pixel import (
    LabelMap,
    NetScores,
    Sizes,
    check_class_labels,
    nan_unless_classes,
    void_outside,
)
from fcn_jax.losses.sums import loss_of_sums, mean_where


class AbsentClasses(enum.Enum):
    """What happens to a class without a labelled pixel in the batch (`per_image`: the image)."""

    SKIPPED = "skipped"
    """It is left out of the mean over classes. Where it is predicted, only the classes that lose
    these pixels are worse for it."""

    COUNTED = "counted"
    """It counts as every other class: the loss falls as the class is predicted less. An image
    without any labelled pixel is left out all the same."""


class Sums(NamedTuple):
    """Sums over labelled pixels, float32 (n, k): of n images, or n = 1 for the whole batch."""

    overlap: Float[Array, "n k"]
    """Of p where the pixel is of the class: Σpy."""
    predicted: Float[Array, "n k"]
    """Of p: Σp; of p² where Dice is squared."""
    true: Float[Array, "n k"]
    """Of y: the labelled pixels of the class."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Region:
    """What the losses of this family have in common. A subclass gives `class_losses`.

    Attributes:
        absent: whether a class without a labelled pixel counts.
        per_image: the mean over the images that have a labelled pixel, instead of one loss of the
            sums over the batch.
        smooth: s, added to both sides of the ratio. Classes that are absent and counted have no
            gradient without it.
    """

    absent: AbsentClasses = AbsentClasses.SKIPPED
    per_image: bool = False
    smooth: float = 0.0

    takes_coarse_scores: ClassVar[bool] = True
    of_softmax: ClassVar[bool] = True

    def __post_init__(self):
        if self.smooth < 0 or (self.absent is AbsentClasses.COUNTED and not self.smooth):
            raise ValueError(
                f"{type(self).__name__} needs a `smooth` of at least 0, above 0 if absent classes "
                f"are counted: without it their loss is 1 and has no gradient. Found {self.smooth};"
                " give 1.0, or leave absent classes out (AbsentClasses.SKIPPED)."
            )

    def of_probabilities(self, p: Float[Array, "..."]) -> Float[Array, "..."]:
        """What `Sums.predicted` is the sum of."""
        return p

    def class_losses(self, sums: Sums) -> Float[Array, "n k"]:
        """The loss of each class."""
        raise NotImplementedError

    def of_sums(self, sums: Sums) -> Float[Array, " n"]:
        """The loss of the batch (n = 1) or of each image."""
        counted = (sums.true > 0) | (self.absent is AbsentClasses.COUNTED)
        return mean_where(self.class_losses(sums), counted, axis=1)

    def __call__(
        self, scores: NetScores, labels: LabelMap, *, sizes: Sizes = None
    ) -> Float[Array, ""]:
        """The loss of a batch, a float32 scalar, 0 if no pixel is labelled.

        Args:
            scores: unnormalised log-probabilities (b, h, w, k), or coarse scores.
            labels: class 0..k-1 of each pixel, or 255, which is ignored: loss and gradient are
                exactly 0 there. A label that is neither makes the loss NaN.
            sizes: rows and columns of each image where the batch shares a canvas. Pixels outside
                are ignored.

        Raises:
            ValueError: the shapes do not belong together, or 255 would be a class.
        """
        check_class_labels(scores, labels, sizes)
        labels, classes = void_outside(labels, sizes), scores.shape[-1]
        # Counted as integers: float32 cannot count beyond 2**24.
        true = jnp.sum(labels[..., None] == jnp.arange(classes), axis=(1, 2))

        def term(scores: Array, labels: Array) -> tuple[Array, Array]:
            valid = labels[..., None] != IGNORE
            p = jax.nn.softmax(jnp.where(valid, scores, 0).astype(jnp.float32), axis=-1)
            overlap = jnp.where(labels[..., None] == jnp.arange(classes), p, 0.0)
            predicted = jnp.where(valid, self.of_probabilities(p), 0.0)
            return jnp.sum(overlap, axis=(1, 2)), jnp.sum(predicted, axis=(1, 2))

        def finish(sums: tuple[Array, Array]) -> Array:
            found = Sums(*sums, true.astype(jnp.float32))
            if not self.per_image:
                found = Sums(*(jnp.sum(x, axis=0, keepdims=True) for x in found))
            return mean_where(self.of_sums(found), jnp.any(found.true > 0, axis=1))

        return nan_unless_classes(loss_of_sums(term, finish, scores, labels), labels, classes)


def ratio(above: Float[Array, "..."], below: Float[Array, "..."]) -> Float[Array, "..."]:
    """`above / below`; 1 where `below` is nothing, so that there is nothing to find and none found.

    Nothing is less than 1e-12 pixels, whose square float32 can hold in the gradient.
    """
    some = below > 1e-12
    return jnp.where(some, above / jnp.where(some, below, 1.0), 1.0)
