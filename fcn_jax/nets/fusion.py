"""Nets with several inputs: each input is scored by a net of its own, the scores are averaged."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
from flax.core import FrozenDict
from jaxtyping import Array, Float, Int

from fcn_jax.nets.fcn import FCN, Classes
from fcn_jax.nets.inputs import check_inputs
from fcn_jax.nn.coarse_scores import CoarseScores, is_coarse


class LateFusion(nn.Module):
    """The mean of the scores of several nets, one for each input.

    Upsampling is linear, so the mean of the upsampled scores is the reference's upsampled mean.

    Attributes:
        streams: a net by the name of its input: `{"color": FCN32s(...), "hha": FCN32s(...)}`.

    Source: shelhamer/fcn.berkeleyvision.org nyud-fcn32s-color-hha/net.py (`score_fused`, with
    coefficients of one half); FCN (TPAMI) section 5, NYUDv2.
    """

    streams: Mapping[str, FCN]

    def __post_init__(self):
        # A FrozenDict is hashable. Copies, as a linen module in two places shares its parameters.
        self.streams = FrozenDict(
            {name: net.clone(_deep_clone=True) for name, net in self.streams.items()}
        )
        super().__post_init__()

    @property
    def num_classes(self) -> Classes:
        """Classes of each stream."""
        return next(iter(self.streams.values())).num_classes

    @property
    def gives_coarse_scores(self) -> bool:
        """Whether the streams' mean can be taken before the last upsampling."""
        layers = {net.final_upsampling for net in self.streams.values()}
        return len(layers) == 1 and not layers.pop().learned

    @property
    def inputs(self) -> tuple[tuple[str, int], ...]:
        """Name and channels of each input."""
        return tuple((name, 3) for name in self.streams)

    @nn.compact
    def __call__(
        self,
        images: Mapping[str, Float[Array, "b h w 3"]],
        sizes: Int[Array, "b 2"] | None = None,
        *,
        train: bool = False,
        upsample: bool = True,
    ) -> Any:
        """Scores as each stream gives them; `(b, h, w, k)`, by name, or coarse (see `FCN`).

        Raises:
            ValueError: an input is missing or unknown.
        """
        check_inputs(images, dict(self.inputs))
        scores = [
            net(images[name], sizes, train=train, upsample=upsample)
            for name, net in self.streams.items()
        ]
        return jax.tree.map(_mean, *scores, is_leaf=is_coarse)


def _mean(*scores: Any) -> Any:
    return CoarseScores.mean(scores) if is_coarse(scores[0]) else sum(scores) / len(scores)
