"""A convolution, its batch norm and its activation: what decoders are made of."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn

from fcn_jax.nn.activations import relu
from fcn_jax.nn.feature_map import FeatureMap
from fcn_jax.nn.layers import BatchNorm, Conv


class ConvBlock(nn.Module):
    """Convolution that keeps the size, batch norm, activation.

    Attributes:
        features: output channels.
        kernel: rows and columns of the kernel, odd.
        dilation: cells between its taps.
        separable: a depthwise convolution, then a 1x1 convolution, without anything in between.
        norm: with batch norm (torch's epsilon, momentum and running variance), else with a bias.
        activation: the last of the three; ReLU by default.
    """

    features: int
    kernel: int = 3
    dilation: int = 1
    separable: bool = False
    norm: bool = True
    activation: Callable[[FeatureMap], FeatureMap] = relu

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool) -> FeatureMap:
        """The same cells."""
        padding = self.dilation * (self.kernel - 1) // 2
        geometry: dict[str, Any] = {
            "kernel": self.kernel,
            "padding": padding,
            "dilation": self.dilation,
        }
        if self.separable:
            own = {"groups": x.channels, "use_bias": False, "name": "depthwise"}
            x = Conv(x.channels, **geometry, **own)(x)
            geometry = {}
        x = Conv(self.features, **geometry, use_bias=not self.norm, name="conv")(x)
        if self.norm:
            x = BatchNorm(unbiased=True, name="bn")(x, train=train)
        return self.activation(x).replace(name=self.name or "")
