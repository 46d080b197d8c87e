"""Losses of depth in metres: absolute differences, and the scale-invariant logarithmic error.

Labels are float32 (b, h, w), in metres. A pixel is missing if its label is NaN or not between
`minimum` and `maximum`; 0 and infinity are not between them. Loss and gradient are exactly 0 at
missing pixels and outside `sizes`. Scores are (b, h, w, 1), in metres, of every pixel or coarse;
one score per pixel takes little memory, so coarse scores are upsampled at once.

Logarithms of scores below `floor` go on as their tangent. A net that starts with scores of 0 learns
so; a logarithm of clamped scores, as in other programs, would leave it without a gradient.
"""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num

from fcn_jax.losses.per_pixel import NetScores, Sizes, check_shapes
from fcn_jax.losses.sums import mean_where
from fcn_jax.nn.coarse_scores import CoarseScores
from fcn_jax.nn.feature_map import cells_inside

DepthMap = Num[Array, "b h w"]  # floats, metres; 0, NaN or out of range where it is missing


@dataclasses.dataclass(frozen=True, kw_only=True)
class Depth:
    """What the losses of depth have in common.

    Attributes:
        minimum: metres; a label that is not above is missing.
        maximum: metres; a label that is not below is missing.
        floor: metres, above 0; below it the logarithm of a score is continued as its tangent.
    """

    minimum: float = 0.0
    maximum: float = float("inf")
    floor: float = 0.1

    takes_coarse_scores: ClassVar[bool] = True

    def __post_init__(self):
        if not (0 <= self.minimum < self.maximum and self.floor > 0):
            raise ValueError(
                "depths need 0 <= minimum < maximum and a floor above 0, all in metres; found "
                f"{self.minimum}, {self.maximum} and {self.floor}"
            )

    def pixels(
        self, scores: NetScores, labels: DepthMap, sizes: Sizes
    ) -> tuple[Float[Array, "b h w"], Float[Array, "b h w"], Bool[Array, "b h w"]]:
        """Predicted and true metres of each pixel, 1 where missing; which are not missing.

        Raises:
            ValueError: the shapes do not belong together, the labels are integers, or there is not
                one score per pixel.
        """
        check_shapes(scores, labels, sizes)
        if scores.shape[-1] != 1 or not jnp.issubdtype(labels.dtype, jnp.floating):
            raise ValueError(
                "a loss of depth needs one score per pixel and float labels in metres; found "
                f"{scores.shape[-1]} scores and labels of {labels.dtype}. Give the head one output,"
                " and divide depths in millimetres by 1000."
            )
        if isinstance(scores, CoarseScores):
            scores = scores.dense()
        _, h, w = labels.shape
        valid = (labels > self.minimum) & (labels < self.maximum)
        if sizes is not None:
            valid &= cells_inside(jnp.arange(h), jnp.arange(w), sizes)[..., 0]
        found, true = (x.astype(jnp.float32) for x in (scores[..., 0], labels))
        return jnp.where(valid, found, 1.0), jnp.where(valid, true, 1.0), valid

    def logarithm(self, metres: Float[Array, "..."]) -> Float[Array, "..."]:
        """The natural logarithm, below `floor` its tangent there."""
        below = jnp.minimum(metres - self.floor, 0.0) / self.floor
        return jnp.log(jnp.maximum(metres, self.floor)) + below


@dataclasses.dataclass(frozen=True, kw_only=True)
class L1(Depth):
    """The mean of `|ŷ - y|` over the pixels of the batch that are not missing; 0 if all are.

    Attributes:
        log: take the difference of logarithms.

    Other attributes, and missing pixels: see `Depth`.
    """

    log: bool = False

    def __call__(
        self, scores: NetScores, labels: DepthMap, *, sizes: Sizes = None
    ) -> Float[Array, ""]:
        """The loss in metres, or without a unit if of logarithms; see `Depth.pixels`."""
        found, true, valid = self.pixels(scores, labels, sizes)
        if self.log:
            found, true = self.logarithm(found), jnp.log(true)
        return mean_where(jnp.abs(found - true), valid)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SiLog(Depth):
    """√(mean d² - λ (mean d)²) with d = ln y - ln ŷ, averaged over images.

    Images without a pixel that is not missing do not count; the loss is 0 if there is no other.

    Attributes:
        focus: λ, 0..1. 1 does not mind the scale of the whole image.
        per_image: False takes the means over the whole batch, as AdaBins and BTS do.

    Other attributes, and missing pixels: see `Depth`.

    Source: Eigen et al., "Depth map prediction from a single image using a multi-scale deep
    network", 2014, equation 4, with λ = 0.5; the root is mmsegmentation's `silog_loss.py`. BTS has
    λ = 0.85 and ten times the root: `Sum((SiLog(focus=0.85, per_image=False),), weights=(10,))`.
    Differs: mmsegmentation gives a NaN gradient for an image without a label, and lets it count.
    """

    focus: float = 0.5
    per_image: bool = True

    def __call__(
        self, scores: NetScores, labels: DepthMap, *, sizes: Sizes = None
    ) -> Float[Array, ""]:
        """The loss, without a unit; see `Depth.pixels`."""
        found, true, valid = self.pixels(scores, labels, sizes)
        images = len(labels) if self.per_image else 1
        valid = valid.reshape(images, -1)
        d = (jnp.log(true) - self.logarithm(found)).reshape(images, -1)
        mean = mean_where(d, valid, axis=1)
        # The same as mean d² - λ (mean d)², without a difference of large numbers.
        square = mean_where((d - mean[:, None]) ** 2, valid, axis=1) + (1 - self.focus) * mean**2
        positive = square > 0
        root = jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)
        return mean_where(root, jnp.any(valid, axis=1))
