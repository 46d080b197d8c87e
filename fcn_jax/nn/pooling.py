"""Pooling: of windows, of parts of an image, of a whole image."""

import dataclasses
import functools

import flax.linen as nn
import jax.numpy as jnp
from jax import lax

from fcn_jax.nn import ops
from fcn_jax.nn.background import slide, whole
from fcn_jax.nn.feature_map import WHOLE_IMAGE, FeatureMap, Grid, conv_size, pool_size


class MaxPool(nn.Module):
    """Max pooling.

    Attributes:
        kernel: rows and columns of the window.
        stride: cells between windows.
        padding: cells on every side, which never win.
        ceil_mode: a last window that is clipped at the edge counts, as in Caffe; otherwise only
            complete windows do, as in torch by default (3x3/2 with padding 1: 112 -> 56, not 57).
    """

    kernel: int = 2
    stride: int = 2
    padding: int = 0
    ceil_mode: bool = True

    @nn.compact
    def __call__(self, x: FeatureMap) -> FeatureMap:
        """Ties go to the first maximum of the window in row order, as in Caffe."""
        k, s = self.kernel, self.stride
        apply = functools.partial(ops.max_pool, kernel=k, stride=s, ceil_mode=self.ceil_mode)
        length = pool_size if self.ceil_mode else conv_size
        # After a ReLU the zeros outside an image never exceed a maximum and may stay.
        fill = 0.0 if x.nonnegative else -jnp.inf
        out = slide(x, k, s, self.padding, apply=apply, length=length, fill=fill)
        return out.replace(name=self.name or "", nonnegative=x.nonnegative)


class AveragePool(nn.Module):
    """Mean over every full `kernel` x `kernel` window, stride 1."""

    kernel: int

    @nn.compact
    def __call__(self, x: FeatureMap) -> FeatureMap:
        """Raises ValueError where the map is smaller than the window."""
        x, k = whole(x), self.kernel
        if min(x.shape) < k:
            raise ValueError(f"{self.name}: {x.name} is {x.shape}, smaller than the {k}x{k} window")
        total = lax.reduce_window(x.values, 0.0, lax.add, (1, k, k, 1), (1, 1, 1, 1), "VALID")
        size = None if x.size is None else conv_size(x.size, k, 1, 0)
        grid = x.grid.window(k, 1, 0)
        return FeatureMap(total / k**2, size, grid=grid, name=self.name or "").masked()


class GlobalMean(nn.Module):
    """The mean over each image's own extent, repeated at every cell."""

    @nn.compact
    def __call__(self, x: FeatureMap) -> FeatureMap:
        """The same cells and size; the receptive field becomes the whole image."""
        x, mean = whole(x), global_mean(x)
        values = jnp.broadcast_to(mean.values, x.values.shape)
        return x.replace(values=values, grid=_seeing_all(x), name=self.name or "").masked()


def global_mean(x: FeatureMap) -> FeatureMap:
    """The mean over each image's own extent, `(b, 1, 1, c)`."""
    x = whole(x)
    total = jnp.sum(x.values, (1, 2), keepdims=True)
    size = jnp.asarray([x.shape]) if x.size is None else x.size
    cells = jnp.prod(size, axis=1)[:, None, None, None].astype(x.values.dtype)
    return FeatureMap(total / cells, grid=_seeing_all(x), name=f"mean of {x.name}")


class AdaptivePool(nn.Module):
    """Means over `bins` x `bins` parts of each image's own extent, whatever its size.

    Bin `i` of an axis of `n` cells is cells floor(i n / bins) up to ceil((i + 1) n / bins), the
    latter not included: bins overlap where n is not a multiple of `bins`.

    Attributes:
        bins: rows and columns of the result.

    Source: torch's `adaptive_avg_pool2d`; Zhao et al., "Pyramid Scene Parsing Network", 2017.
    """

    bins: int

    @nn.compact
    def __call__(self, x: FeatureMap) -> FeatureMap:
        """`(b, bins, bins, c)`; cells of the result have no place on the grid of `x`."""
        x = whole(x)
        rows, columns = (
            ops.averaging_matrix(n, self.bins, None if x.size is None else x.size[:, axis])
            for axis, n in enumerate(x.shape)
        )
        values = ops.resample(x.values, rows, columns)
        return FeatureMap(values, grid=_seeing_all(x), name=self.name or "")


def _seeing_all(x: FeatureMap) -> Grid:
    return dataclasses.replace(x.grid, field=WHOLE_IMAGE)
