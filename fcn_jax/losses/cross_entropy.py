"""Cross-entropies: of the softmax over classes, and of one sigmoid per class."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fcn_jax.losses.per_pixel import LabelMap, NetScores, Normalization, Sizes, normalized_sum


def softmax_loss(
    scores: NetScores,
    labels: LabelMap,
    *,
    normalization: Normalization,
    sizes: Sizes = None,
    offsets: Float[np.ndarray, " k"] | float = 0.0,
) -> Float[Array, ""]:
    """Cross-entropy of the softmax over classes, in float32 whatever the type of `scores`.

    The gradient at a labelled pixel is `softmax(scores) - onehot(label)` over the divisor. At an
    ignored pixel loss and gradient are exactly 0 for any finite scores. See `normalized_sum` for
    labels that are not a class.

    Args:
        scores: unnormalised log-probabilities (batch, rows, columns, classes), or coarse scores.
            Loss and gradient of the latter are computed in tiles of a few rows, so that the scores
            of all pixels are never in memory at once.
        labels: class 0..k-1 of each pixel, or 255, which is ignored.
        normalization: what the sum is divided by.
        sizes: rows and columns of each image where the batch shares a canvas.
        offsets: added to the scores of each class.

    Returns:
        The loss in nats, a float32 scalar.

    Raises:
        ValueError: the shapes do not belong together, or 255 would be a class.

    Source: SoftmaxWithLoss of Caffe; FCN (TPAMI) section 4.2 for the sum.

    Differs: Caffe caps the loss of one pixel at -ln(FLT_MIN) = 87.3 (its gradient is not capped);
    here the logarithm is exact.
    """

    def of_pixels(scores: Array, labels: Array) -> Array:
        scores = scores + offsets
        return jax.nn.logsumexp(scores, axis=-1) - _score_of_label(scores, labels)

    return normalized_sum(of_pixels, scores, labels, normalization=normalization, sizes=sizes)


def sigmoid_loss(
    scores: NetScores, labels: LabelMap, *, normalization: Normalization, sizes: Sizes = None
) -> Float[Array, ""]:
    """Cross-entropy of one sigmoid per class against the one-hot label, summed over classes.

    Arguments, result and errors are those of `softmax_loss`. The scores are one logit per class;
    the divisor counts pixels, not pixels times classes.

    Source: FCN (TPAMI) section 4.2, the control experiment "sigmoid cross-entropy loss".
    """

    def of_pixels(scores: Array, labels: Array) -> Array:
        # -log σ(s) is softplus(s) - s for the labelled class, softplus(s) for every other one.
        return jnp.sum(jax.nn.softplus(scores), axis=-1) - _score_of_label(scores, labels)

    return normalized_sum(of_pixels, scores, labels, normalization=normalization, sizes=sizes)


softmax_loss.takes_coarse_scores = sigmoid_loss.takes_coarse_scores = True  # type: ignore


def _score_of_label(scores: Array, labels: Array) -> Array:
    """The score of each pixel's own class, 0 where the label is not a class."""
    # A comparison instead of a gather: it fuses, and its gradient is not a scatter.
    own = jnp.arange(scores.shape[-1]) == labels[..., None]
    return jnp.sum(jnp.where(own, scores, 0.0), axis=-1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Softmax:
    """`softmax_loss` as a value for a recipe, with an optional adjustment for rare classes.

    With an adjustment t the loss sees `scores + t * log(prior)`: a rare class must win by more,
    so that the scores themselves, which decide at test time, favour it. 0 is the papers' loss; 1
    trains for mean accuracy rather than pixel accuracy.

    Attributes:
        normalization: what the sum is divided by.
        prior: share of each class in the labelled pixels of the training set, for the adjustment.
        adjustment: t, 0..1.

    Source: Menon et al., "Long-tail learning via logit adjustment", 2021, for the adjustment.
    Differs: the papers do not balance classes (section 4.3).
    """

    normalization: Normalization
    prior: tuple[float, ...] = ()
    adjustment: float = 0.0

    takes_coarse_scores: ClassVar[bool] = True

    def __post_init__(self):
        if self.adjustment and not (self.prior and min(self.prior) > 0):
            raise ValueError(
                "an adjustment for rare classes needs the share of every class, above 0, as "
                f"`prior`; found {self.prior}. Count them with fcn_jax.data.check_labels."
            )

    def __call__(
        self, scores: NetScores, labels: LabelMap, *, sizes: Sizes = None
    ) -> Float[Array, ""]:
        """The loss; see `softmax_loss`.

        Raises:
            ValueError: `prior` has another number of classes than the scores.
        """
        offsets = 0.0
        if self.adjustment:
            if len(self.prior) != scores.shape[-1]:
                raise ValueError(
                    f"the prior has {len(self.prior)} classes, the scores {scores.shape[-1]};"
                    " count the classes of the data set that is trained on."
                )
            offsets = self.adjustment * np.log(np.asarray(self.prior, np.float32))
        return softmax_loss(
            scores, labels, normalization=self.normalization, sizes=sizes, offsets=offsets
        )
