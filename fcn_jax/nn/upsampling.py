"""Transposed convolutions, fixed and learned: four small classes with the same two fields."""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from fcn_jax.nn.background import whole
from fcn_jax.nn.coarse_scores import CoarseScores
from fcn_jax.nn.feature_map import FeatureMap
from fcn_jax.nn.ops import bilinear_filter, transposed_conv, upsample_axis

_ALL = slice(None)


class Upsampling(nn.Module):
    """Transposed convolution of stride `factor` and size `kernel`, zero-extended at the borders.

    The result is `factor * (n - 1) + kernel` cells long; nothing is cut off here. Abstract: the
    subclasses say which kernel.
    """

    factor: int
    kernel: int

    learned: ClassVar[bool] = False

    @nn.compact
    def weights(self, channels: int) -> Any:
        """What is learned; None for a fixed kernel."""
        return None

    def enlarge(self, values: Any, weights: Any, rows: slice = _ALL, columns: slice = _ALL) -> Any:
        """`(b, h, w, c)` to these rows and columns of `(b, factor * (h - 1) + kernel, ..., c)`."""
        raise NotImplementedError

    def share(self, cells: int, true: Any) -> Any:
        """What the result is divided by along an axis, `(b or 1, factor * (cells - 1) + kernel)`.

        None for nothing. `true` is each image's own number of cells, int32 `(b,)`, or None.
        """
        return None

    def outline(self, x: FeatureMap) -> FeatureMap:
        """The finer map without its values, which are only a shape and a type."""
        size = None if x.size is None else (x.size - 1) * self.factor + self.kernel
        grid = x.grid.transposed(self.kernel, self.factor)
        h, w = (self.factor * (n - 1) + self.kernel for n in x.shape)
        values = jax.ShapeDtypeStruct((x.values.shape[0], h, w, x.channels), x.values.dtype)
        return FeatureMap(values, size, grid, 0, self.name or "")

    def __call__(self, x: FeatureMap) -> FeatureMap:
        """The finer map; its grid follows."""
        full = self.outline(x)
        return full.replace(values=self.later(x, 0, full.shape, None).dense())

    def later(self, x: FeatureMap, start: int, pixels: tuple[int, int], sizes: Any) -> CoarseScores:
        """The scores of an image of `pixels` rows and columns, not upsampled yet.

        Args:
            x: coarse scores.
            start: row and column of the finer map at which the image begins.
            pixels: rows and columns of the image's canvas.
            sizes: true rows and columns of each image, or None.
        """
        x = whole(x)
        layer = type(self)(self.factor, self.kernel, parent=None)
        weights = self.weights(x.channels)
        return CoarseScores(x.values, weights, x.size, sizes, layer, start, pixels)


class BilinearUpsampling(Upsampling):
    """Fixed bilinear interpolation, a constant: the reference's frozen deconvolution.

    Near the borders the taps sum to less than one, as in Caffe.

    Source: shelhamer/fcn.berkeleyvision.org surgery.py, interp and upsample_filt.
    """

    def enlarge(self, values: Any, weights: Any, rows: slice = _ALL, columns: slice = _ALL) -> Any:
        """Row by row, then column by column."""
        taps = bilinear_filter(self.kernel)
        tall = upsample_axis(values, taps, self.factor, 1)[:, rows]
        return upsample_axis(tall, taps, self.factor, 2)[:, :, columns]


class NormalizedUpsampling(BilinearUpsampling):
    """Bilinear interpolation that repeats the outermost cells beyond the borders.

    Differs: not in the papers. Dividing by the sum of the taps that met a cell equals clamping
    to the edge; without the padded ring the borders of the image would fade to zero otherwise.
    """

    def share(self, cells: int, true: Any) -> Any:
        """The share of the taps inside the true extent; 1 where there is none."""
        met = jnp.ones((1, cells)) if true is None else jnp.arange(cells) < true[:, None]
        share = upsample_axis(met.astype(jnp.float32), bilinear_filter(self.kernel), self.factor, 1)
        return jnp.where(share > 0, share, 1)


class LearnedUpsampling(Upsampling):
    """One learned kernel per channel, initialised bilinear.

    The parameter `kernel` is `(kernel, kernel, c)` in Caffe's orientation: cell `i` adds
    `x[i] * kernel[j]` to cell `factor * i + j` of the result.

    Source: FCN papers, section 4.3 (learned from bilinear initialisation); the reference's
    README speaks of one kernel per class.
    """

    learned: ClassVar[bool] = True

    @nn.compact
    def weights(self, channels: int) -> Any:
        """The kernel, `(kernel, kernel, c)`."""

        def init(key: Any, shape: tuple[int, ...]) -> Any:
            filt = bilinear_filter(self.kernel)
            return jnp.broadcast_to(jnp.asarray(np.outer(filt, filt))[..., None], shape)

        return self.param("kernel", init, (self.kernel, self.kernel, channels))

    def enlarge(self, values: Any, weights: Any, rows: slice = _ALL, columns: slice = _ALL) -> Any:
        """Transposed convolution, channel by channel."""
        return transposed_conv(values, weights.astype(values.dtype), self.factor)[:, rows, columns]


class DenseUpsampling(Upsampling):
    """A learned kernel for every pair of channels, initialised bilinear on the diagonal.

    The parameter `kernel` is `(kernel, kernel, c_in, c_out)` in Caffe's orientation (see
    `LearnedUpsampling`); this is the reference's `Deconvolution` with `group: 1`.
    """

    learned: ClassVar[bool] = True

    @nn.compact
    def weights(self, channels: int) -> Any:
        """The kernel, `(kernel, kernel, c, c)`."""

        def init(key: Any, shape: tuple[int, ...]) -> Any:
            filt = bilinear_filter(self.kernel)
            return jnp.asarray(np.outer(filt, filt)[..., None, None] * np.eye(shape[-1]), "float32")

        return self.param("kernel", init, (self.kernel, self.kernel, channels, channels))

    def enlarge(self, values: Any, weights: Any, rows: slice = _ALL, columns: slice = _ALL) -> Any:
        """Transposed convolution."""
        k = self.kernel
        full = lax.conv_general_dilated(
            values,
            weights[::-1, ::-1].astype(values.dtype),
            (1, 1),
            ((k - 1, k - 1), (k - 1, k - 1)),
            lhs_dilation=(self.factor, self.factor),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return full[:, rows, columns]
