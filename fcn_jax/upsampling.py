"""Transposed convolutions, fixed and learned: four small classes with the same two fields."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import lax

from fcn_jax.border import whole
from fcn_jax.feature_map import FeatureMap
from fcn_jax.ops import bilinear_filter, transposed_conv, upsample_axis


class Upsampling(nn.Module):
    """Transposed convolution of stride `factor` and size `kernel`, zero-extended at the borders.

    The result is `factor * (n - 1) + kernel` cells long; nothing is cut off here. Abstract: the
    subclasses say which kernel.
    """

    factor: int
    kernel: int

    def upsample(self, values: Any, size: Any) -> Any:
        """`(b, h, w, c)` to `(b, factor * (h - 1) + kernel, ..., c)`."""
        raise NotImplementedError

    @nn.compact
    def __call__(self, x: FeatureMap) -> FeatureMap:
        """The finer map; its grid follows."""
        x = whole(x)
        size = None if x.size is None else (x.size - 1) * self.factor + self.kernel
        grid = x.grid.transposed(self.kernel, self.factor)
        return FeatureMap(self.upsample(x.values, x.size), size, grid, 0, self.name or "")


class BilinearUpsampling(Upsampling):
    """Fixed bilinear interpolation, a constant: the reference's frozen deconvolution.

    Near the borders the taps sum to less than one, as in Caffe.

    Source: shelhamer/fcn.berkeleyvision.org surgery.py, interp and upsample_filt.
    """

    def upsample(self, values: Any, size: Any) -> Any:
        """Row by row, then column by column."""
        taps = bilinear_filter(self.kernel)
        return upsample_axis(upsample_axis(values, taps, self.factor, 1), taps, self.factor, 2)


class NormalizedUpsampling(BilinearUpsampling):
    """Bilinear interpolation that repeats the outermost cells beyond the borders.

    Differs: not in the papers. Dividing by the sum of the taps that met a cell equals clamping
    to the edge; without the padded ring the borders of the image would fade to zero otherwise.
    """

    def upsample(self, values: Any, size: Any) -> Any:
        """Bilinear interpolation divided by the share of the taps inside the true extent."""
        out = super().upsample(values, size)
        for axis in (1, 2):
            n = values.shape[axis]
            met = jnp.ones((1, n)) if size is None else jnp.arange(n) < size[:, axis - 1, None]
            met = met.astype(jnp.float32)
            share = upsample_axis(met, bilinear_filter(self.kernel), self.factor, 1)
            share = jnp.where(share > 0, share, 1).astype(out.dtype)
            out = out / (share[:, :, None, None] if axis == 1 else share[:, None, :, None])
        return out


class LearnedUpsampling(Upsampling):
    """One learned kernel per channel, initialised bilinear.

    The parameter `kernel` is `(kernel, kernel, c)` in Caffe's orientation: cell `i` adds
    `x[i] * kernel[j]` to cell `factor * i + j` of the result.

    Source: FCN papers, section 4.3 (learned from bilinear initialisation); the reference's
    README speaks of one kernel per class.
    """

    def upsample(self, values: Any, size: Any) -> Any:
        """Transposed convolution, channel by channel."""

        def init(key: Any, shape: tuple[int, ...]) -> Any:
            filt = bilinear_filter(self.kernel)
            return jnp.broadcast_to(jnp.asarray(np.outer(filt, filt))[..., None], shape)

        kernel = self.param("kernel", init, (self.kernel, self.kernel, values.shape[-1]))
        return transposed_conv(values, kernel.astype(values.dtype), self.factor)


class DenseUpsampling(Upsampling):
    """A learned kernel for every pair of channels, initialised bilinear on the diagonal.

    The parameter `kernel` is `(kernel, kernel, c_in, c_out)` in Caffe's orientation (see
    `LearnedUpsampling`); this is the reference's `Deconvolution` with `group: 1`.
    """

    def upsample(self, values: Any, size: Any) -> Any:
        """Transposed convolution."""

        def init(key: Any, shape: tuple[int, ...]) -> Any:
            filt = bilinear_filter(self.kernel)
            return jnp.asarray(np.outer(filt, filt)[..., None, None] * np.eye(shape[-1]), "float32")

        c = values.shape[-1]
        kernel = self.param("kernel", init, (self.kernel, self.kernel, c, c))
        k = self.kernel
        return lax.conv_general_dilated(
            values,
            kernel[::-1, ::-1].astype(values.dtype),
            (1, 1),
            ((k - 1, k - 1), (k - 1, k - 1)),
            lhs_dilation=(self.factor, self.factor),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
