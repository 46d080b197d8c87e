"""Focal losses: cross-entropies in which pixels that are right already count little."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fcn_jax.losses.per_pixel import LabelMap, NetScores, Normalization, PerPixel, Sizes
from fcn_jax.losses.sums import power


@dataclasses.dataclass(frozen=True, kw_only=True)
class Focal:
    """-(1 - p_y)^γ ln p_y per pixel, p_y being the softmax's probability of the pixel's class.

    Attributes:
        gamma: γ, at least 0; 0 is the cross-entropy.
        normalization: what the sum over labelled pixels is divided by.

    Source: Lin et al., "Focal loss for dense object detection", 2017, equation 4.
    Differs: the paper has the sigmoid form. This is `softmax_focal_loss_with_logits` of
    segmentation-models-pytorch, whose FocalLoss is the sigmoid form, also of several classes.
    """

    gamma: float = 2.0
    normalization: Normalization = Normalization.VALID

    takes_coarse_scores: ClassVar[bool] = True
    of_softmax: ClassVar[bool] = True

    def __call__(
        self, scores: NetScores, labels: LabelMap, *, sizes: Sizes = None
    ) -> Float[Array, ""]:
        """The loss of a batch; see `PerPixel`."""
        return PerPixel(self.of_pixels, self.normalization)(scores, labels, sizes=sizes)

    def of_pixels(self, scores: Float[Array, "b r w k"], labels: LabelMap) -> Float[Array, "b r w"]:
        """The loss of each pixel."""
        logs = jax.nn.log_softmax(scores, axis=-1)
        own = jnp.arange(scores.shape[-1]) == labels[..., None]
        wrong = jnp.sum(jnp.where(own, 0.0, jnp.exp(logs)), axis=-1)  # 1 - p_y, to all digits
        return -power(wrong, self.gamma) * jnp.sum(jnp.where(own, logs, 0.0), axis=-1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SigmoidFocal:
    """-α_t (1 - p_t)^γ ln p_t, summed over classes: a sigmoid per class, and the one-hot label.

    p_t is the sigmoid at the labelled class and 1 minus the sigmoid at every other class.

    Attributes:
        gamma: γ, at least 0.
        alpha: α, 0..1: what the labelled class weighs; every other one weighs 1 - α. None for
            equal weights of 1.
        normalization: what the sum over labelled pixels is divided by. It counts pixels, not
            pixels times classes.

    Source: Lin et al., "Focal loss for dense object detection", 2017, equation 5 and the values.
    Differs: `torchvision.ops.sigmoid_focal_loss` with reduction "mean" divides by pixels times
    classes and knows no void; segmentation-models-pytorch 0.6 averages over classes, 0.5 summed.
    """

    gamma: float = 2.0
    alpha: float | None = 0.25
    normalization: Normalization = Normalization.VALID

    takes_coarse_scores: ClassVar[bool] = True

    def __call__(
        self, scores: NetScores, labels: LabelMap, *, sizes: Sizes = None
    ) -> Float[Array, ""]:
        """The loss of a batch; see `PerPixel`."""
        return PerPixel(self.of_pixels, self.normalization)(scores, labels, sizes=sizes)

    def of_pixels(self, scores: Float[Array, "b r w k"], labels: LabelMap) -> Float[Array, "b r w"]:
        """The loss of each pixel."""
        own = jnp.arange(scores.shape[-1]) == labels[..., None]
        right = jnp.where(own, scores, -scores)  # the logit of p_t
        losses = power(jax.nn.sigmoid(-right), self.gamma) * jax.nn.softplus(-right)
        if self.alpha is not None:
            losses = losses * jnp.where(own, self.alpha, 1 - self.alpha)
        return jnp.sum(losses, axis=-1)
