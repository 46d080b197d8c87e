"""The array operations under the layers, written for speed: pooling, convolution and upsampling.

Everything here is plain `(b, h, w, c)` arrays; grids and true sizes are the layers' business.
`plain_ops` switches the speed off: the same functions from XLA's own operations.
"""

from fcn_jax.ops.activation import relu
from fcn_jax.ops.convolution import add_bias, convolve, is_product
from fcn_jax.ops.enlarging import bilinear_filter, transposed_conv, upsample_axis
from fcn_jax.ops.plain import plain_ops
from fcn_jax.ops.pooling import max_pool

__all__ = [
    "add_bias",
    "bilinear_filter",
    "convolve",
    "is_product",
    "max_pool",
    "plain_ops",
    "relu",
    "transposed_conv",
    "upsample_axis",
]
