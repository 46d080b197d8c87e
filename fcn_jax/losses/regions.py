"""Losses of the overlap of regions: Dice, generalised Dice, Jaccard and Tversky.

With p the softmax over classes and y the one-hot label, they need three sums per class over the
labelled pixels: of p·y, of p and of y. Void pixels are in none of them. The sums are of the whole
batch, over all devices, before one ratio is taken; or of each image (`per_image`).

Differs: mmsegmentation's DiceLoss counts p of void pixels as false positives. The classes that
segmentation-models-pytorch does not find in the labels have loss 0, and count in the mean; MONAI's
have 1 - s / (Σp + s).
"""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from fcn_jax.losses.region_sums import AbsentClasses, Region, Sums, ratio
from fcn_jax.losses.sums import power


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
