"""The array operations under the layers, written for speed: pooling, convolution and upsampling.

They work on plain `(b, h, w, c)` arrays; the layers take care of grids and true sizes.
`fcn_jax.nn.savings.use(fast_operations=False)` gives the same functions from XLA's own operations.
"""

from fcn_jax.nn.ops.convolution import add_bias, convolve, is_product, relu
from fcn_jax.nn.ops.enlarging import (
    bilinear_filter,
    spread_conv,
    transposed_conv,
    upsample_axis,
    upsampling_matrix,
)
from fcn_jax.nn.ops.pooling import max_pool
from fcn_jax.nn.ops.resampling import averaging_matrix, bilinear_matrix, resample, source_index

__all__ = [
    "add_bias",
    "averaging_matrix",
    "bilinear_filter",
    "bilinear_matrix",
    "convolve",
    "is_product",
    "max_pool",
    "relu",
    "resample",
    "source_index",
    "spread_conv",
    "transposed_conv",
    "upsample_axis",
    "upsampling_matrix",
]
