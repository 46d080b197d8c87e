"""The loss of a net with several outputs, and which scores a loss takes."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from flax.core import FrozenDict
from jaxtyping import Array, Float

from fcn_jax.losses.per_pixel import LabelMap, NetScores, Sizes


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
    """The sum of a loss per output, for nets with several heads.

    Attributes:
        losses: a loss such as `Softmax` by the output's name.

    Source: shelhamer/fcn.berkeleyvision.org siftflow-fcn*/net.py, two losses of weight 1.
    """

    losses: Mapping[str, Callable[..., Any]]

    def __post_init__(self):
        object.__setattr__(self, "losses", FrozenDict(self.losses))  # hashable

    @property
    def takes_coarse_scores(self) -> bool:
        """Whether all of the losses do."""
        return all(takes_coarse_scores(loss) for loss in self.losses.values())

    def __call__(
        self,
        scores: Mapping[str, NetScores],
        labels: Mapping[str, LabelMap],
        *,
        sizes: Sizes = None,
    ) -> Float[Array, ""]:
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
        losses = [loss(scores[k], labels[k], sizes=sizes) for k, loss in self.losses.items()]
        return sum(losses, start=jnp.zeros(()))
