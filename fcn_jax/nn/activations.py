"""Functions of each value, from `FeatureMap` to `FeatureMap`."""

from typing import Any

import jax
import jax.numpy as jnp

from fcn_jax.nn import ops
from fcn_jax.nn.background import pointwise, whole
from fcn_jax.nn.feature_map import FeatureMap


def relu(x: FeatureMap) -> FeatureMap:
    """max(values, 0)."""
    return pointwise(x, ops.relu).replace(nonnegative=True)


def relu6(x: FeatureMap) -> FeatureMap:
    """The values, cut off below 0 and above 6; the gradient is 0 at both, as in torch."""

    def cut(values: Any) -> Any:
        return jnp.where(values <= 0, 0, jnp.where(values >= 6, 6, values))

    return pointwise(x, cut).replace(nonnegative=True)


def hard_swish(x: FeatureMap) -> FeatureMap:
    """X · relu6(x + 3) / 6. Source: Howard et al., "Searching for MobileNetV3", 2019."""
    return pointwise(x, jax.nn.hard_swish)


def hard_sigmoid(x: FeatureMap) -> FeatureMap:
    """relu6(x + 3) / 6, in 0..1; the same source."""
    x = whole(x)
    return x.replace(values=jax.nn.hard_sigmoid(x.values), nonnegative=True).masked()


def gelu(x: FeatureMap) -> FeatureMap:
    """X · Φ(x), exactly (by erf), as torch's default; JAX's default is an approximation by tanh.

    Source: Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016.
    """
    return pointwise(x, lambda values: jax.nn.gelu(values, approximate=False))
