"""What is minimised: losses that ignore void pixels and divide once per batch."""

from fcn_jax.losses.cross_entropy import (
    ByOutput,
    Normalization,
    Softmax,
    sigmoid_loss,
    softmax_loss,
)

__all__ = ["ByOutput", "Normalization", "Softmax", "sigmoid_loss", "softmax_loss"]
