"""Losses of the overlap of regions: Dice, generalised Dice, Jaccard and Tversky.

With p the softmax over classes and y the one-hot label, they need three sums per class over the
labelled pixels: of p·y, of p and of y. Void pixels are in none of them. The sums are of the whole
batch, over all devices, before one ratio is taken; or of each image (`per_image`).

Differs: mmsegmentation's DiceLoss counts p of void pixels as false positives. The classes that
segmentation-models-pytorch does not find in the labels have loss 0, and count in the mean; MONAI's
have 1 - s / (Σp + s).
"""

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
from fcn_jax.losses.sums import loss_of_sums, mean_where, power


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dice(Region):
    """1 - (2Σpy + s) / (Σp + Σy + s), averaged over classes.

    Attributes:
        squared: Σp² in place of Σp in the denominator.

    Other attributes, void pixels and absent classes: see `Region`.

    Source: Milletari et al., "V-Net", 2016, section 3, for squares.
    Differs: V-Net has two classes and no s. segmentation-models-pytorch adds s to the ratio of
    halves, so its `smooth` is half of this one; MONAI's `smooth_nr` and `smooth_dr` are this one.
    """

    squared: bool = False

    def of_probabilities(self, p: Float[Array, "..."]) -> Float[Array, "..."]:
        """What `Sums.predicted` is the sum of."""
        return p**2 if self.squared else p

    def class_losses(self, sums: Sums) -> Float[Array, "n k"]:
        """The loss of each class."""
        both = sums.predicted + sums.true
        return 1 - ratio(2 * sums.overlap + self.smooth, both + self.smooth)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GeneralizedDice(Region):
    """1 - (2Σ_c w_c Σpy + s) / (Σ_c w_c (Σp + Σy) + s), where w_c is 1 / (Σy)².

    One ratio for all classes, in which rare classes weigh more. Where absent classes are counted,
    their weight is the largest of the other classes'.

    Attributes, void pixels and absent classes: see `Region`.

    Source: Sudre et al., "Generalised Dice overlap as a deep learning loss function", 2017.
    Differs: the paper says nothing of absent classes, whose weight would be infinite. The largest
    weight is MONAI's rule.
    """

    def of_sums(self, sums: Sums) -> Float[Array, " n"]:
        """The loss of the batch (n = 1) or of each image."""
        present = sums.true > 0
        weights = jnp.where(present, 1 / jnp.maximum(sums.true, 1) ** 2, 0.0)
        if self.absent is AbsentClasses.COUNTED:
            weights = jnp.where(present, weights, jnp.max(weights, axis=1, keepdims=True))
        overlap = jnp.sum(weights * sums.overlap, axis=1)
        both = jnp.sum(weights * (sums.predicted + sums.true), axis=1)
        return 1 - ratio(2 * overlap + self.smooth, both + self.smooth)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Jaccard(Region):
    """1 - (Σpy + s) / (Σp + Σy - Σpy + s), averaged over classes.

    Attributes, void pixels and absent classes: see `Region`.

    Source: Rahman and Wang, "Optimizing intersection-over-union in deep neural networks", 2016.
    """

    def class_losses(self, sums: Sums) -> Float[Array, "n k"]:
        """The loss of each class."""
        union = sums.predicted + sums.true - sums.overlap
        return 1 - ratio(sums.overlap + self.smooth, union + self.smooth)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tversky(Region):
    """(1 - T)^γ, averaged over classes; T = (Σpy + s) / (Σpy + α FP + β FN + s).

    FP is Σp - Σpy and FN is Σy - Σpy. α = β = 1/2 is Dice, α = β = 1 is Jaccard.

    Attributes:
        alpha: α, the price of false positives.
        beta: β, the price of missed pixels.
        gamma: γ, the power of each class's loss; not 1 in the focal Tversky loss.

    Other attributes, void pixels and absent classes: see `Region`.

    Source: Salehi et al., "Tversky loss function for image segmentation", 2017, for α 0.3 and β
    0.7; Abraham and Khan, "A novel focal Tversky loss function", 2018, whose γ is 1/γ here.
    Differs: segmentation-models-pytorch takes the power of the mean over classes, not of each.
    """

    alpha: float = 0.3
    beta: float = 0.7
    gamma: float = 1.0

    def class_losses(self, sums: Sums) -> Float[Array, "n k"]:
        """The loss of each class."""
        wrong = self.alpha * (sums.predicted - sums.overlap)
        wrong += self.beta * (sums.true - sums.overlap)
        right = sums.overlap + self.smooth
        return power(1 - ratio(right, right + wrong), self.gamma)


def ratio(above: Float[Array, "..."], below: Float[Array, "..."]) -> Float[Array, "..."]:
    """`above / below`; 1 where `below` is nothing, so that there is nothing to find and none found.

    Nothing is less than 1e-12 pixels, whose square float32 can hold in the gradient.
    """
    some = below > 1e-12
    return jnp.where(some, above / jnp.where(some, below, 1.0), 1.0)
