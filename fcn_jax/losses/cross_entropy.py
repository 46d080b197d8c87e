"""Cross-entropies: of the softmax over classes, and of one sigmoid per class."""

import dataclasses
import functools
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
    class_weights: tuple[float, ...] = (),
    count_weights: bool = True,
    label_smoothing: float = 0.0,
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
        class_weights: what a pixel of each class weighs; empty for 1 each.
        count_weights: with weights, VALID divides by the sum of the labelled pixels' weights; if
            false, by the number of labelled pixels.
        label_smoothing: ε, 0..1: the loss of a pixel is (1 - ε) w_y (-ln p_y) + ε/k Σ_c w_c
            (-ln p_c).

    Returns:
        The loss in nats, a float32 scalar.

    Raises:
        ValueError: the shapes do not belong together, 255 would be a class, or there are weights
            of another number of classes.

    Source: SoftmaxWithLoss of Caffe; FCN (TPAMI) section 4.2 for the sum. Weights and smoothing
    are those of PyTorch's `cross_entropy`, which with weights divides by the sum of weights.

    Differs: Caffe caps the loss of one pixel at -ln(FLT_MIN) = 87.3 (its gradient is not capped);
    here the logarithm is exact.
    """
    k = scores.shape[-1]
    if class_weights and len(class_weights) != k:
        raise ValueError(
            f"there are class weights of {len(class_weights)} classes, and {k} scores per pixel; "
            "give a weight for each class"
        )
    weights = jnp.asarray(class_weights, jnp.float32) if class_weights else None

    def of_pixels(scores: Array, labels: Array) -> Array:
        return _cross_entropies(scores + offsets, labels, weights, label_smoothing)

    count_of_pixels = None
    if weights is not None and count_weights:
        count_of_pixels = functools.partial(_score_of_label, weights)
    return normalized_sum(
        of_pixels,
        scores,
        labels,
        normalization=normalization,
        sizes=sizes,
        count_of_pixels=count_of_pixels,
    )


def _cross_entropies(
    scores: Array, labels: Array, weights: Array | None, smoothing: float
) -> Array:
    """The cross-entropy of each pixel; see `softmax_loss`."""
    total = jax.nn.logsumexp(scores, axis=-1)
    losses = total - _score_of_label(scores, labels)
    if weights is not None:
        losses = losses * _score_of_label(weights, labels)
    if smoothing:
        every = (total[..., None] - scores) * (1.0 if weights is None else weights)
        losses = (1 - smoothing) * losses + smoothing * jnp.mean(every, axis=-1)
    return losses


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
    """The score (…, k) of each pixel's own class, 0 where the label is not a class."""
    # A comparison instead of a gather: it fuses, and its gradient is not a scatter.
    own = jnp.arange(scores.shape[-1]) == labels[..., None]
    return jnp.sum(jnp.where(own, scores, 0.0), axis=-1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Softmax:
    """`softmax_loss` as a value for a recipe, with optional helps for rare classes.

    With an adjustment t the loss sees `scores + t * log(prior)`: a rare class must win by more,
    so that the scores themselves, which decide at test time, favour it. 0 is the papers' loss; 1
    trains for mean accuracy rather than pixel accuracy.

    Attributes:
        normalization: what the sum is divided by.
        prior: share of each class in the labelled pixels of the training set, for the adjustment.
        adjustment: t, 0..1.
        class_weights: what a pixel of each class weighs; empty for 1 each.
        count_weights: with class weights, VALID divides by the sum of the labelled pixels'
            weights, as PyTorch does; if false, by their number.
        label_smoothing: ε, 0..1, the share of each label that is spread over all classes.

    Source: Menon et al., "Long-tail learning via logit adjustment", 2021, for the adjustment.
    Differs: the papers do not balance classes (section 4.3).
    """

    normalization: Normalization
    prior: tuple[float, ...] = ()
    adjustment: float = 0.0
    class_weights: tuple[float, ...] = ()
    count_weights: bool = True
    label_smoothing: float = 0.0

    takes_coarse_scores: ClassVar[bool] = True
    of_softmax: ClassVar[bool] = True

    def __post_init__(self):
        if self.adjustment and not (self.prior and min(self.prior) > 0):
            raise ValueError(
                "an adjustment for rare classes needs the share of every class, above 0, as "
                f"`prior`; found {self.prior}. Count them with fcn_jax.data.check_labels."
            )
        if not 0 <= self.label_smoothing <= 1 or min(self.class_weights, default=0) < 0:
            raise ValueError(
                "label_smoothing must be 0 to 1, and class weights at least 0; found "
                f"{self.label_smoothing} and {self.class_weights}"
            )

    def __call__(
        self, scores: NetScores, labels: LabelMap, *, sizes: Sizes = None
    ) -> Float[Array, ""]:
        """The loss; see `softmax_loss`.

        Raises:
            ValueError: `prior` or `class_weights` has another number of classes than the scores.
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
            scores,
            labels,
            normalization=self.normalization,
            sizes=sizes,
            offsets=offsets,
            class_weights=self.class_weights,
            count_weights=self.count_weights,
            label_smoothing=self.label_smoothing,
        )
