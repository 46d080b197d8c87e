"""The loss of a net with several outputs, and which scores a loss takes."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from flax.core import FrozenDict
from jaxtyping import Array, Float

from fcn_jax.losses.per_pixel import Sizes


def takes_coarse_scores(loss: Callable[..., Any]) -> bool:
    """Whether a loss takes `CoarseScores`; any other loss gets float scores of every pixel.

    A loss says so by an attribute `takes_coarse_scores = True`. That of a function is also found
    through `functools.partial`.
    """
    while isinstance(loss, functools.partial):
        loss = loss.func
    return getattr(loss, "takes_coarse_scores", False)


@dataclasses.dataclass(frozen=True)
class ByOutput:
    """The weighted sum of a loss per output, for nets with several heads.

    Attributes:
        losses: a loss such as `Softmax` by the output's name.
        weights: what the losses of some outputs are multiplied by, such as `{"aux": 0.4}`; 1 for
            the others.
        labels: the name of the labels of outputs that have none of their own name, such as
            `{"aux": "semantic"}`. Where there is one array of labels, all outputs take it.

    Source: shelhamer/fcn.berkeleyvision.org siftflow-fcn*/net.py, two losses of weight 1.
    """

    losses: Mapping[str, Callable[..., Any]]
    weights: Mapping[str, float] = FrozenDict()
    labels: Mapping[str, str] = FrozenDict()

    def __post_init__(self):
        object.__setattr__(self, "losses", FrozenDict(self.losses))  # hashable
        object.__setattr__(self, "weights", FrozenDict(self.weights))
        object.__setattr__(self, "labels", FrozenDict(self.labels))
        if unknown := set(self.weights) - set(self.losses):
            raise ValueError(
                f"weights for {', '.join(sorted(unknown))}, but losses for "
                f"{', '.join(self.losses)}; give weights of outputs that have a loss"
            )

    @property
    def takes_coarse_scores(self) -> bool:
        """Whether all of the losses do."""
        return all(takes_coarse_scores(loss) for loss in self.losses.values())

    def __call__(
        self,
        scores: Mapping[str, Any],
        labels: Any,
        *,
        sizes: Sizes = None,
    ) -> Float[Array, ""]:
        """The sum, of scores by name and labels by name or one array, each as its loss takes them.

        Raises:
            ValueError: scores or labels have other names.
        """
        by_name = labels if isinstance(labels, Mapping) else dict.fromkeys(self.losses, labels)
        needed = {self.labels.get(name, name) for name in self.losses}
        if set(self.losses) != set(scores) or needed != set(by_name):
            raise ValueError(
                f"losses for the outputs {', '.join(self.losses)}; the net scores "
                f"{', '.join(scores)}, and there are labels for {', '.join(by_name)}. Give the "
                "recipe's model, data set and loss the same names."
            )
        losses = [
            self.weights.get(k, 1.0) * loss(scores[k], by_name[self.labels.get(k, k)], sizes=sizes)
            for k, loss in self.losses.items()
        ]
        return sum(losses, start=jnp.zeros(()))
