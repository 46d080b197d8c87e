"""The array operations under the layers, written for speed: pooling, convolution and upsampling.

Everything here is plain `(b, h, w, c)` arrays; grids and true sizes are the layers' business.
`fcn_jax.nn.savings.use(fast_operations=False)` gives the same functions from XLA's own operations.
"""

from fcn_jax.nn.ops.activation import relu
from fcn_jax.nn.ops.convolution import add_bias, convolve, is_product
from fcn_jax.nn.ops.enlarging import bilinear_filter, transposed_conv, upsample_axis
from fcn_jax.nn.ops.pooling import max_pool

__all__ = [
    "add_bias",
    "bilinear_filter",
    "convolve",
    "is_product",
    "max_pool",
    "relu",
    "transposed_conv",
    "upsample_axis",
]
