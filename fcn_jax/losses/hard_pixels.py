"""Cross-entropies of the hardest pixels alone: by a threshold (OHEM) or as a share of the pixels.

Which pixels are kept depends on all pixels of the batch, over all devices. So these losses take
scores of every pixel. Void pixels are left out before anything is counted.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from fcn_jax.labels import IGNORE
from fcn_jax.losses.per_pixel import (
    LabelMap,
    Sizes,
    check_class_labels,
    nan_unless_classes,
    void_outside,
)
from fcn_jax.losses.sums import mean_where


@dataclasses.dataclass(frozen=True, kw_only=True)
class OHEM:
    """The mean cross-entropy of the pixels whose own class has a small probability.

    Kept are the pixels with p_y below `threshold` and, if these are fewer than `min_kept`, the
    `min_kept` pixels of the smallest p_y; of all pixels if there are fewer. Pixels that are as hard
    as the last one that is kept are kept too.

    Attributes:
        threshold: probability, 0..1.
        min_kept: pixels of the whole batch, at least 1.

    Source: mmsegmentation `ohem_cross_entropy_loss.py`, whose default threshold is 0.7; Shrivastava
    et al., "Training region-based object detectors with online hard example mining", 2016.
    Differs: mmsegmentation drops the last pixel if there are fewer than `min_kept`, and gives NaN
    if none is left. Its `OHEMPixelSampler` divides by all pixels and multiplies `min_kept` by the
    number of images.
    """

    threshold: float = 0.7
    min_kept: int = 100_000

    takes_coarse_scores: ClassVar[bool] = False
    of_softmax: ClassVar[bool] = True

    def __post_init__(self):
        if not (0 <= self.threshold <= 1 and self.min_kept >= 1):
            raise ValueError(
                "OHEM needs a threshold of 0 to 1, a probability, and at least 1 as min_kept; found"
                f" {self.threshold} and {self.min_kept}"
            )

    def __call__(
        self, scores: Float[Array, "b h w k"], labels: LabelMap, *, sizes: Sizes = None
    ) -> Float[Array, ""]:
        """The loss of a batch, 0 if no pixel is labelled; see `TopK` for the arguments."""
        losses, valid, labels = _losses(scores, labels, sizes)
        hardest = losses >= _kth_largest(losses, jnp.int32(self.min_kept))
        above = losses > -np.log(np.float32(max(self.threshold, 1e-30)))
        loss = mean_where(losses, valid & (hardest | above))
        return nan_unless_classes(loss, labels, scores.shape[-1])


@dataclasses.dataclass(frozen=True, kw_only=True)
class TopK:
    """The mean cross-entropy of the hardest share of the labelled pixels of the batch.

    The number of pixels is rounded, and at least 1. Pixels that are as hard as the last one that is
    kept are kept too.

    Attributes:
        fraction: share of the labelled pixels, above 0 and at most 1, which is the cross-entropy.

    Source: Wu, Shen and van den Hengel, "Bridging category-level and instance-level semantic image
    segmentation", 2016.
    Differs: the programs that keep a share of all pixels, void ones included, keep more.
    """

    fraction: float = 0.25

    takes_coarse_scores: ClassVar[bool] = False
    of_softmax: ClassVar[bool] = True

    def __post_init__(self):
        if not 0 < self.fraction <= 1:
            raise ValueError(f"TopK needs a fraction above 0 and up to 1; found {self.fraction}")

    def __call__(
        self, scores: Float[Array, "b h w k"], labels: LabelMap, *, sizes: Sizes = None
    ) -> Float[Array, ""]:
        """The loss of a batch, a float32 scalar, 0 if no pixel is labelled.

        Args:
            scores: unnormalised log-probabilities.
            labels: class 0..k-1 of each pixel, or 255, which is ignored: loss and gradient are
                exactly 0 there. A label that is neither makes the loss NaN.
            sizes: rows and columns of each image where the batch shares a canvas. Pixels outside
                are ignored.

        Raises:
            ValueError: the shapes do not belong together, or 255 would be a class.
        """
        losses, valid, labels = _losses(scores, labels, sizes)
        count = jnp.round(self.fraction * jnp.sum(valid)).astype(jnp.int32)
        loss = mean_where(losses, valid & (losses >= _kth_largest(losses, count)))
        return nan_unless_classes(loss, labels, scores.shape[-1])


def _losses(
    scores: Float[Array, "b h w k"], labels: LabelMap, sizes: Sizes
) -> tuple[Float[Array, "b h w"], Bool[Array, "b h w"], Int[Array, "b h w"]]:
    """The cross-entropy of each pixel, 0 at void ones; which are valid; labels, void outside."""
    check_class_labels(scores, labels, sizes)
    labels = void_outside(labels, sizes)
    valid = labels != IGNORE
    logs = jax.nn.log_softmax(jnp.where(valid[..., None], scores, 0).astype(jnp.float32), axis=-1)
    own = jnp.arange(scores.shape[-1]) == labels[..., None]
    return -jnp.sum(jnp.where(own, logs, 0.0), axis=-1), valid, labels


def _kth_largest(losses: Float[Array, "b h w"], k: Int[Array, ""]) -> Float[Array, ""]:
    """The k-th largest loss, the first for k < 1; 0 if k reaches void pixels: no loss is less."""
    falling = -jnp.sort(-lax.stop_gradient(losses).ravel())
    return falling[jnp.clip(k, 1, losses.size) - 1]
