"""Losses of dense prediction: one term per labelled pixel, one division per batch.

Every loss here is a sum over all labelled pixels of the batch, divided once by a count over the
whole batch. Under `jax.jit` on a sharded batch both are global, whatever the device count; means
of per-device means, which differ as soon as void pixels do, never appear.
"""

import dataclasses
import enum
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.core import FrozenDict
from jaxtyping import Array, Float, Int, Integer

from fcn_jax.labels import IGNORE
from fcn_jax.nn.coarse_scores import CoarseScores, loss_over_tiles

Scores = Float[Array, "b h w k"] | CoarseScores


class Normalization(enum.Enum):
    """What the sum over labelled pixels is divided by; no divisor is below 1.

    Source: Caffe's `LossParameter.NormalizationMode`.
    """

    SUM = "sum"
    """By nothing (Caffe's NONE)."""

    BATCH = "batch"
    """By the number of images (Caffe's BATCH_SIZE). This, and not SUM, is what the reference's
    `normalize: false` means; the two agree for a batch of one."""

    VALID = "valid"
    """By the number of labelled pixels of the whole batch (Caffe's default)."""

    FULL = "full"
    """By the number of pixels of the whole batch, ignored ones included."""


def softmax_loss(
    scores: Scores,
    labels: Integer[Array, "b h w"],
    *,
    normalization: Normalization,
    sizes: Int[Array, "b 2"] | None = None,
    offsets: Float[np.ndarray, " k"] | float = 0.0,
) -> Float[Array, ""]:
    """Cross-entropy of the softmax over classes, in float32 whatever the type of `scores`.

    The gradient at a labelled pixel is `softmax(scores) - onehot(label)` over the divisor; at an
    ignored pixel loss and gradient are exactly 0 for any finite scores. A label that is neither a
    class nor 255 makes the loss NaN: values cannot raise inside a compiled program, and a loop
    that stops on a loss that is not finite is better than a wrong number. Checks on data should
    find such labels first.

    Args:
        scores: unnormalised log-probabilities (batch, rows, columns, classes), or what a net gives
            with `upsample=False`: the loss and its gradient are then found in tiles of a few rows,
            and scores of every pixel are never all there.
        labels: class 0..k-1 of each pixel, or 255, which is ignored.
        normalization: what the sum is divided by.
        sizes: rows and columns of each image where the batch shares a canvas; pixels outside are
            ignored whatever their label, and count neither for FULL nor, where an image has no
            pixel at all, for BATCH.
        offsets: added to the scores of each class.

    Returns:
        The loss in nats, a float32 scalar.

    Raises:
        ValueError: the shapes do not belong together, or 255 would be a class.

    Source: SoftmaxWithLoss of Caffe; FCN (TPAMI) section 4.2 for the sum.

    Differs: Caffe caps the loss of one pixel at -ln(FLT_MIN) = 87.3 (its gradient is not capped);
    here the logarithm is exact.
    """
    return _reduce(jax.nn.logsumexp, scores, labels, normalization, sizes, offsets)


def sigmoid_loss(
    scores: Scores,
    labels: Integer[Array, "b h w"],
    *,
    normalization: Normalization,
    sizes: Int[Array, "b 2"] | None = None,
) -> Float[Array, ""]:
    """Cross-entropy of one sigmoid per class against the one-hot label, summed over classes.

    Args:
        scores: one logit per class (batch, rows, columns, classes), or coarse scores.
        labels: class 0..k-1 of each pixel, or 255, which is ignored.
        normalization: what the sum is divided by; pixels are counted, not pixels times classes.
        sizes: rows and columns of each image where the batch shares a canvas.

    Returns:
        The loss in nats, a float32 scalar; the remarks of `softmax_loss` hold here too.

    Raises:
        ValueError: the shapes do not belong together, or 255 would be a class.

    Source: FCN (TPAMI) section 4.2, the control experiment "sigmoid cross-entropy loss".
    """
    # -log σ(s) = softplus(s) - s for the labelled class and softplus(s) for every other one.
    return _reduce(
        lambda s, axis: jnp.sum(jax.nn.softplus(s), axis), scores, labels, normalization, sizes
    )


def _reduce(partition, scores, labels, normalization, sizes, offsets: Any = 0.0):
    """`(Σ partition(scores) - scores[label]) / divisor` over the labelled pixels."""
    _check(scores, labels, normalization, sizes)
    b, h, w, k = scores.shape
    labels = labels.astype(jnp.int32)
    if sizes is not None:
        rows = jnp.arange(h)[:, None] < sizes[:, 0, None, None]
        columns = jnp.arange(w)[None, :] < sizes[:, 1, None, None]
        labels = jnp.where(rows & columns, labels, IGNORE)

    def term(scores: Array, labels: Array) -> Array:
        scores = scores.astype(jnp.float32) + offsets
        # A comparison instead of a gather: it fuses, and its gradient is no scatter.
        picked = jnp.sum(jnp.where(jnp.arange(k) == labels[..., None], scores, 0.0), axis=-1)
        valid = labels != IGNORE
        picked = jnp.where(((labels >= 0) & (labels < k)) | ~valid, picked, jnp.nan)
        return jnp.sum(jnp.where(valid, partition(scores, axis=-1) - picked, 0.0))

    total = loss_over_tiles(term, scores, labels)

    match normalization:
        case Normalization.SUM:
            return total
        case Normalization.BATCH:
            count = b if sizes is None else jnp.sum(jnp.all(sizes > 0, axis=1))
        case Normalization.VALID:
            count = jnp.sum(labels != IGNORE)
        case Normalization.FULL:
            count = b * h * w if sizes is None else jnp.sum(jnp.prod(sizes, axis=1))
    return total / jnp.maximum(jnp.float32(count), 1.0)


def _check(scores, labels, normalization, sizes):
    """Raises ValueError unless the arguments belong together; see the callers."""
    if len(scores.shape) != 4 or labels.shape != scores.shape[:3]:
        raise ValueError(
            "a loss needs scores (batch, rows, columns, classes) and labels (batch, rows, columns)"
            f" of the same pixels; found scores {scores.shape} and labels {labels.shape}."
            " Give the network and the labels the same canvas."
        )
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(
            f"labels must be integers (a class or {IGNORE}); found {labels.dtype}."
            " Convert them where they are read."
        )
    if scores.shape[3] > IGNORE:
        raise ValueError(
            f"label {IGNORE} means 'ignore', so there can be at most {IGNORE} classes;"
            f" found {scores.shape[3]} scores per pixel. Use fewer classes."
        )
    if sizes is not None and sizes.shape != (scores.shape[0], 2):
        raise ValueError(
            f"sizes must hold (rows, columns) of each of the {scores.shape[0]} images;"
            f" found shape {sizes.shape}. Pass the sizes that came with the batch."
        )
    if not isinstance(normalization, Normalization):
        raise ValueError(
            f"normalization must be a member of Normalization; found {normalization!r}."
            f" Use one of {[str(member) for member in Normalization]}."
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Softmax:
    """`softmax_loss` as a value that a recipe holds, for rare classes with an adjustment.

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

    def __post_init__(self):
        if self.adjustment and not (self.prior and min(self.prior) > 0):
            raise ValueError(
                "an adjustment for rare classes needs the share of every class, above 0, as "
                f"`prior`; found {self.prior}. Count them with fcn_jax.data.check_labels."
            )

    def __call__(self, scores, labels, *, sizes=None):
        """The loss; see `softmax_loss`.

        Raises:
            ValueError: `prior` has another number of classes than the scores.
        """
        if self.adjustment:
            if len(self.prior) != scores.shape[-1]:
                raise ValueError(
                    f"the prior has {len(self.prior)} classes, the scores {scores.shape[-1]};"
                    " count the classes of the data set that is trained on."
                )
            offsets = self.adjustment * np.log(np.asarray(self.prior, np.float32))
        else:
            offsets = 0.0
        return softmax_loss(
            scores, labels, normalization=self.normalization, sizes=sizes, offsets=offsets
        )


@dataclasses.dataclass(frozen=True)
class ByOutput:
    """The sum of a loss per output, for nets with several heads.

    Attributes:
        losses: a loss such as `Softmax` by the output's name.

    Source: shelhamer/fcn.berkeleyvision.org siftflow-fcn*/net.py, two losses of weight 1.
    """

    losses: Mapping[str, Callable[..., Any]]

    def __post_init__(self):
        object.__setattr__(self, "losses", FrozenDict(self.losses))  # hashable

    def __call__(self, scores, labels, *, sizes=None):
        """The sum, of scores and labels by the same names.

        Raises:
            ValueError: scores or labels have other names.
        """
        if not set(self.losses) == set(scores) == set(labels):
            raise ValueError(
                f"losses for the outputs {', '.join(self.losses)}; the net scores "
                f"{', '.join(scores)}, and there are labels for {', '.join(labels)}. Give the "
                "recipe's model, data set and loss the same names."
            )
        return sum(
            loss(scores[name], labels[name], sizes=sizes) for name, loss in self.losses.items()
        )
