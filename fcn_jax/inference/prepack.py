"""Weights laid out for many predictions."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from fcn_jax.devices.compiling import jit
from fcn_jax.nets.inputs import placeholder


def prepack(net: nn.Module, variables: Any) -> Any:
    """Variables that predict faster on a CPU, and cannot be trained; as they were elsewhere.

    The kernels of fc6 and fc7, matrices of 411 and 67 MB in VGG16, are turned so that the outputs
    come first, which XLA multiplies with in two thirds of the time. It takes a second or two, so it
    pays from some ten images on. Scores are those of the variables given, up to rounding.

    Args:
        net: the network, of this library's layers.
        variables: its variables.

    Returns:
        Variables for `net.apply` and the predictors, with turned kernels in the collection `packed`
        instead of `params`.

    Example:
        `predict = Predictor(net, prepack(net, variables), preprocess)`
    """
    if jax.default_backend() != "cpu":
        return variables
    images = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), placeholder(net, (1, 224, 224)))
    pack = jit(lambda variables: net.apply(variables, images, mutable=["packed"])[1])
    packed = pack(variables).get("packed", {})
    kept = flatten_dict(variables["params"]).items()
    params = {path: leaf for path, leaf in kept if path not in flatten_dict(packed)}
    return {**variables, "params": unflatten_dict(params), "packed": packed}
