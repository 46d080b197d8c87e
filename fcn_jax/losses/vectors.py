"""Losses of outputs for the whole image: classes and attributes.

Scores are (b, k). A loss is a sum over what is labelled in the batch, divided once; where a batch
is spread over devices, the sums are over all of them. Loss and gradient of what is missing are
exactly 0. `sizes` say nothing about the whole image, and are not used. Its scores are never coarse.
"""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from fcn_jax.labels import IGNORE
from fcn_jax.losses.sums import mean_where


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassOfImage:
    """Cross-entropy of the softmax over the classes of an image, in nats, averaged over images.

    Labels are integers (b,): a class, or -1 where it is missing. 255 is missing too if there are at
    most 255 classes. Any other number makes the loss NaN, and training stops.

    Attributes:
        label_smoothing: ε, 0..1: the loss of an image is (1 - ε) (-ln p_y) + ε/k Σ_c (-ln p_c).

    Source: PyTorch's `cross_entropy` with `ignore_index`, whose mean of no label is NaN; here 0.
    """

    label_smoothing: float = 0.0

    takes_coarse_scores: ClassVar[bool] = True
    of_softmax: ClassVar[bool] = True

    def __call__(
        self, scores: Float[Array, "..."], labels: Num[Array, "..."], *, sizes: Any = None
    ) -> Float[Array, ""]:
        """The loss of scores (b, k) and labels (b,); 0 if no image has a label.

        Raises:
            ValueError: the shapes do not belong together, or labels are no integers.
        """
        whole = jnp.issubdtype(labels.dtype, jnp.integer)
        if scores.ndim != 2 or labels.shape != scores.shape[:1] or not whole:
            raise ValueError(
                "a class of the image needs scores (batch, classes) and integer labels (batch,); "
                f"found scores {scores.shape} and labels {labels.dtype} {labels.shape}. Give the "
                "net a `Vector` head, and the data set a label of the kind CLASS."
            )
        k = scores.shape[1]
        labelled = labels != -1
        if k <= IGNORE:
            labelled &= labels != IGNORE
        log_p = jax.nn.log_softmax(scores.astype(jnp.float32))
        own = jnp.where(jnp.arange(k) == labels[:, None], log_p, 0.0)
        losses = -(1 - self.label_smoothing) * jnp.sum(own, axis=1)
        losses -= self.label_smoothing * jnp.mean(log_p, axis=1)
        losses = jnp.where((labels >= 0) & (labels < k), losses, jnp.nan)
        return mean_where(losses, labelled)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attributes:
    """Cross-entropy of a sigmoid for each attribute, in nats, averaged over what is labelled.

    Labels are floats (b, k), 0..1: 1 where the image has the attribute; NaN where that is missing.

    Attributes:
        positive_weight: what a label of 1 weighs beside one of 0.

    Source: PyTorch's `BCEWithLogitsLoss`, `pos_weight`, which knows no missing labels.
    """

    positive_weight: float = 1.0

    takes_coarse_scores: ClassVar[bool] = True

    def __call__(
        self, scores: Float[Array, "..."], labels: Num[Array, "..."], *, sizes: Any = None
    ) -> Float[Array, ""]:
        """The loss of scores and labels (b, k); 0 if nothing is labelled.

        Raises:
            ValueError: the shapes do not belong together, or labels are integers.
        """
        floats = jnp.issubdtype(labels.dtype, jnp.floating)
        if scores.ndim != 2 or labels.shape != scores.shape or not floats:
            raise ValueError(
                "attributes need scores (batch, attributes) and float labels of the same shape; "
                f"found scores {scores.shape} and labels {labels.dtype} {labels.shape}. Give the "
                "net a `Vector` head, and the data set a label of the kind ATTRIBUTES."
            )
        labelled = ~jnp.isnan(labels)
        true = jnp.where(labelled, labels, 0.0).astype(jnp.float32)
        found = scores.astype(jnp.float32)
        yes, no = jax.nn.softplus(-found), jax.nn.softplus(found)
        return mean_where(self.positive_weight * true * yes + (1 - true) * no, labelled)
