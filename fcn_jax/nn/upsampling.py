"""Transposed convolutions, fixed and learned: four small classes with the same two fields."""

from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from fcn_jax.nn.background import whole
from fcn_jax.nn.coarse_scores import CoarseScores
from fcn_jax.nn.feature_map import FeatureMap, Outline
from fcn_jax.nn.ops import (
    bilinear_filter,
    resample,
    spread_conv,
    transposed_conv,
    upsample_axis,
    upsampling_matrix,
)
from fcn_jax.nn.savings import current, platform


class Upsampling(nn.Module):
    """Transposed convolution of stride `factor` and size `kernel`, zero-extended at the borders.

    The result is `factor * (n - 1) + kernel` cells long; nothing is cut off here. Abstract: the
    subclasses define the kernel, and may have more fields.

    Attributes:
        factor: cells of the result per cell of the input, along each axis.
        kernel: rows and columns of the kernel.
        learned: whether the kernel has parameters.
    """

    factor: int
    kernel: int

    learned: ClassVar[bool] = False

    def weights(self, channels: int) -> Any:
        """The learned kernel; None where it is fixed."""
        return None

    def enlarge(self, values: Any, weights: Any, rows: slice, columns: slice) -> Any:
        """These rows and columns of the result, from `(b, h, w, c)` values."""
        raise NotImplementedError

    def share(self, cells: int, true: Any) -> Any:
        """The divisor of the result along an axis, `(b or 1, factor * (cells - 1) + kernel)`.

        None for no division. `true` is each image's own number of cells, int32 `(b,)`, or None.
        """
        return None

    def outline(self, x: FeatureMap) -> Outline:
        """Where the finer map lies."""
        h, w = (self.factor * (n - 1) + self.kernel for n in x.shape)
        size = None if x.size is None else (x.size - 1) * self.factor + self.kernel
        grid = x.grid.transposed(self.kernel, self.factor)
        return Outline((h, w), size, grid, self.name or "")

    def __call__(self, x: FeatureMap) -> FeatureMap:
        """The finer map; its grid follows."""
        full = self.outline(x)
        values = self.without_upsampling(x, 0, full.shape, None).dense()
        return FeatureMap(values, full.size, grid=full.grid, name=full.name)

    def without_upsampling(
        self, x: FeatureMap, start: int, pixels: tuple[int, int], sizes: Any
    ) -> CoarseScores:
        """The scores of an image of `pixels` rows and columns, not upsampled yet.

        Args:
            x: coarse scores.
            start: row and column of the finer map at which the image starts.
            pixels: rows and columns of the image's canvas.
            sizes: true rows and columns of each image, or None.
        """
        x = whole(x)
        return CoarseScores(
            values=x.values,
            weights=self.weights(x.channels),
            extent=x.size,
            sizes=sizes,
            layer=self.clone(parent=None, name=None),
            start=start,
            pixels=pixels,
        )


class BilinearUpsampling(Upsampling):
    """Fixed bilinear interpolation, a constant: the reference's frozen deconvolution.

    Near the borders the taps sum to less than one, as in Caffe.

    Source: shelhamer/fcn.berkeleyvision.org surgery.py, interp and upsample_filt.
    """

    def enlarge(self, values: Any, weights: Any, rows: slice, columns: slice) -> Any:
        """Row by row, then column by column; as two products of matrices on a TPU."""
        taps = bilinear_filter(self.kernel)
        if platform() == "tpu" and current().fast_operations:
            down, across = (
                jnp.asarray(upsampling_matrix(taps, self.factor, n)[None, part])
                for n, part in zip(values.shape[1:3], (rows, columns), strict=True)
            )
            return resample(values, down, across)
        tall = upsample_axis(values, taps, self.factor, 1)[:, rows]
        return upsample_axis(tall, taps, self.factor, 2)[:, :, columns]


class NormalizedUpsampling(BilinearUpsampling):
    """Bilinear interpolation that repeats the outermost cells beyond the borders.

    Differs: not in the papers. Dividing by the sum of the taps that lie on a cell equals clamping
    to the edge. Without this, and without the padded ring, the image's borders would fade to zero.
    """

    def share(self, cells: int, true: Any) -> Any:
        """The sum of the taps inside the true extent; 1 where there is none."""
        inside = jnp.ones((1, cells)) if true is None else jnp.arange(cells) < true[:, None]
        taps = bilinear_filter(self.kernel)
        share = upsample_axis(inside.astype(jnp.float32), taps, self.factor, 1)
        return jnp.where(share > 0, share, 1)


class LearnedUpsampling(Upsampling):
    """One learned kernel per channel, initialised bilinear.

    The parameter `kernel` is `(kernel, kernel, c)` in Caffe's orientation: cell `i` adds
    `x[i] * kernel[j]` to cell `factor * i + j` of the result.

    Source: FCN papers, section 4.3 (learned, initialised bilinear); one kernel per class: the
    reference's README.
    """

    learned: ClassVar[bool] = True

    @nn.compact
    def weights(self, channels: int) -> Any:
        """The kernel, `(kernel, kernel, c)`."""
        taps = bilinear_filter(self.kernel)
        return self.param("kernel", lambda _: np.outer(taps, taps)[..., None] * jnp.ones(channels))

    def enlarge(self, values: Any, weights: Any, rows: slice, columns: slice) -> Any:
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
        taps = bilinear_filter(self.kernel)
        diagonal = jnp.eye(channels)
        return self.param("kernel", lambda _: np.outer(taps, taps)[..., None, None] * diagonal)

    def enlarge(self, values: Any, weights: Any, rows: slice, columns: slice) -> Any:
        """Transposed convolution."""
        full = spread_conv(values, weights.astype(values.dtype), (self.factor, self.factor))
        return full[:, rows, columns]
