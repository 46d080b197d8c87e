"""Nets with several inputs that are scored apart and averaged."""

from collections.abc import Mapping

import flax.linen as nn
import jax
from flax.core import FrozenDict
from jaxtyping import Array, Float, Int

from fcn_jax.fcn import FCN, Classes
from fcn_jax.inputs import check_inputs


class LateFusion(nn.Module):
    """The mean of the scores of several nets, each with an input of its own.

    Upsampling is linear, so the mean of the upsampled scores is the reference's upsampled mean.

    Attributes:
        streams: a net per input, by its name: `{"color": FCN32s(...), "hha": FCN32s(...)}`.

    Source: shelhamer/fcn.berkeleyvision.org nyud-fcn32s-color-hha/net.py (`score_fused`, with
    coefficients of one half); FCN (TPAMI) section 5, NYUDv2.
    """

    streams: Mapping[str, FCN]

    def __post_init__(self):
        # Hashable; and copies, since linen lets one module in two places share its parameters.
        self.streams = FrozenDict(
            {name: net.clone(_deep_clone=True) for name, net in self.streams.items()}
        )
        super().__post_init__()

    @property
    def num_classes(self) -> Classes:
        """Those of every stream."""
        return next(iter(self.streams.values())).num_classes

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
    ) -> Float[Array, "b h w k"] | dict[str, Float[Array, "b h w _"]]:
        """Scores as each stream gives them.

        Raises:
            ValueError: an input is missing or unknown.
        """
        check_inputs(images, dict(self.inputs))
        scores = [net(images[name], sizes, train=train) for name, net in self.streams.items()]
        return jax.tree.map(lambda *s: sum(s) / len(s), *scores)
