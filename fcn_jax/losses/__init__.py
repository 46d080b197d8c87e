"""What is minimised: losses that ignore void pixels and divide once per batch.

A loss is any callable `loss(scores, labels, sizes=sizes)` that gives a scalar. A function that
gives a loss per pixel becomes one with `PerPixel`.
"""

from fcn_jax.losses.by_output import ByOutput, takes_coarse_scores
from fcn_jax.losses.cross_entropy import Softmax, sigmoid_loss, softmax_loss
from fcn_jax.losses.per_pixel import Normalization, PerPixel

__all__ = [
    "ByOutput",
    "Normalization",
    "PerPixel",
    "Softmax",
    "sigmoid_loss",
    "softmax_loss",
    "takes_coarse_scores",
]
