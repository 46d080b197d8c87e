"""The weighted sum of losses of the same scores and labels; what a loss consists of."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from fcn_jax.losses.by_output import ByOutput, takes_coarse_scores
from fcn_jax.losses.per_pixel import Sizes


@dataclasses.dataclass(frozen=True)
class Sum:
    """Several losses, added: `Sum((Softmax(normalization=VALID), Dice()), weights=(1.0, 0.5))`.

    It takes coarse scores if all of the losses do.

    Attributes:
        losses: at least one loss.
        weights: what each is multiplied by; empty for 1 each.
    """

    losses: tuple[Callable[..., Any], ...]
    weights: tuple[float, ...] = ()

    def __post_init__(self):
        object.__setattr__(self, "losses", tuple(self.losses))  # hashable
        object.__setattr__(self, "weights", tuple(self.weights) or (1.0,) * len(self.losses))
        if not self.losses or len(self.losses) != len(self.weights):
            raise ValueError(
                f"Sum needs at least one loss and a weight for each; found {len(self.losses)} "
                f"losses and {len(self.weights)} weights"
            )

    @property
    def takes_coarse_scores(self) -> bool:
        """Whether all of the losses do."""
        return all(map(takes_coarse_scores, self.losses))

    def __call__(self, scores: Any, labels: Any, *, sizes: Sizes = None) -> Float[Array, ""]:
        """The sum; scores and labels are what each of the losses takes."""
        losses = [
            weight * loss(scores, labels, sizes=sizes)
            for weight, loss in zip(self.weights, self.losses, strict=True)
        ]
        return sum(losses, start=jnp.zeros(()))


def parts(loss: Callable[..., Any], output: str = "") -> Iterator[tuple[str, Callable[..., Any]]]:
    """The losses of which `ByOutput` and `Sum` consist, each with its output ("" if only one)."""
    if isinstance(loss, ByOutput):
        for name, part in loss.losses.items():
            yield from parts(part, name)
    elif isinstance(loss, Sum):
        for part in loss.losses:
            yield from parts(part, output)
    else:
        yield output, loss
