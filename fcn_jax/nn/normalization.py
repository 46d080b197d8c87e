"""Normalisation over a batch, over the channels of a cell, and across neighbouring channels."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax

from fcn_jax.nn.background import pointwise, whole
from fcn_jax.nn.feature_map import WHOLE_IMAGE, FeatureMap
from fcn_jax.nn.ops.normalizing import normalize_batch


class BatchNorm(nn.Module):
    """Batch normalisation over the true extents only, in float32.

    The statistics are of the whole batch, also where it is divided among devices.

    Attributes:
        momentum: share of the running averages kept at each step (torch's is the share of the new
            value: 1 - this).
        epsilon: added to the variance.
        unbiased: keep the running variance as n / (n - 1) times that of the batch of n cells, as
            torch does.

    Source: Ioffe and Szegedy, "Batch Normalization", 2015.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    unbiased: bool = False

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool) -> FeatureMap:
        """Normalise; running averages are in the collection `batch_stats`."""
        x = whole(x)
        norm = _BatchNorm(self.momentum, self.epsilon, self.unbiased, name="norm")
        mask = None if x.size is None else x.inside()
        return x.replace(values=norm(x.values, mask, train=train), name=self.name or "").masked()


class _BatchNorm(nn.Module):
    """`BatchNorm` on arrays, with flax's names of parameters."""

    momentum: float
    epsilon: float
    unbiased: bool

    @nn.compact
    def __call__(self, values: Any, mask: Any, *, train: bool) -> Any:
        c = values.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (c,))
        bias = self.param("bias", nn.initializers.zeros, (c,))
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (c,), jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, (c,), jnp.float32)
        wide = values.astype(jnp.float32)
        if not train:
            factor = lax.rsqrt(running_var.value + self.epsilon) * scale
            return ((wide - running_mean.value) * factor + bias).astype(values.dtype)
        out, (mean, var, count) = normalize_batch(wide, mask, scale, bias, self.epsilon)
        if not self.is_initializing():
            more = count / jnp.maximum(count - 1, 1) if self.unbiased else 1.0
            for kept, new in ((running_mean, mean), (running_var, var * more)):
                kept.value = self.momentum * kept.value + (1 - self.momentum) * new
        return out.astype(values.dtype)


class LayerNorm(nn.Module):
    """Each cell's channels, less their mean and divided by their deviation, in float32.

    Attributes:
        epsilon: added to the variance. torch's default is 1e-5, ConvNeXt and ViT use 1e-6.

    Source: Ba et al., "Layer Normalization", 2016.
    """

    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, x: FeatureMap) -> FeatureMap:
        """The same cells."""
        x, c = whole(x), x.channels
        scale = self.param("scale", nn.initializers.ones, (c,))
        bias = self.param("bias", nn.initializers.zeros, (c,))
        wide = x.values.astype(jnp.float32)
        centred = wide - jnp.mean(wide, -1, keepdims=True)
        var = jnp.mean(jnp.square(centred), -1, keepdims=True)
        values = centred * lax.rsqrt(var + self.epsilon) * scale + bias
        return x.replace(values=values.astype(x.values.dtype), name=self.name or "").masked()


class GroupNorm(nn.Module):
    """Normalisation over each image's own extent and the channels of a group, in float32.

    Attributes:
        groups: number of groups; the channels must be a multiple of it.
        epsilon: added to the variance; torch's default.

    Source: Wu and He, "Group Normalization", 2018.
    """

    groups: int = 32
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: FeatureMap) -> FeatureMap:
        """The same cells; the receptive field becomes the whole image.

        Raises:
            ValueError: the channels are not a multiple of `groups`.
        """
        x, c = whole(x), x.channels
        if c % self.groups:
            raise ValueError(f"{self.name}: {c} channels are not {self.groups} equal groups")
        scale = self.param("scale", nn.initializers.ones, (c,))
        bias = self.param("bias", nn.initializers.zeros, (c,))
        wide = x.values.astype(jnp.float32).reshape(*x.values.shape[:3], self.groups, -1)
        mask = None if x.size is None else x.inside()[..., None]
        where = None if mask is None else jnp.broadcast_to(mask, wide.shape)
        axes = {"axis": (1, 2, 4), "keepdims": True, "where": where}
        mean = jnp.mean(wide, **axes)
        var = jnp.mean(jnp.square(wide - mean), **axes)
        values = ((wide - mean) * lax.rsqrt(var + self.epsilon)).reshape(x.values.shape)
        values = (values * scale + bias).astype(x.values.dtype)
        grid = dataclasses.replace(x.grid, field=WHOLE_IMAGE)
        return x.replace(values=values, grid=grid, name=self.name or "").masked()


class LayerScale(nn.Module):
    """A learned factor for each channel.

    Attributes:
        start: its first value.

    Source: Touvron et al., "Going deeper with Image Transformers", 2021; 1e-6: ConvNeXt, 2022.
    """

    start: float = 1e-6

    @nn.compact
    def __call__(self, x: FeatureMap) -> FeatureMap:
        """The same cells."""
        scale = self.param("scale", nn.initializers.constant(self.start), (x.channels,))
        return pointwise(x, lambda v: v * scale.astype(v.dtype)).replace(name=self.name or "")


class LRN(nn.Module):
    """Local response normalisation across channels: `x / (k + alpha / n * sum(x ** 2)) ** beta`.

    The sum is over the `n` channels around each; channels beyond the first and the last are zero.

    Attributes:
        n: channels in the window, odd.
        alpha: weight of the mean square.
        beta: exponent.
        k: added to the mean square.

    Source: Krizhevsky et al. 2012, section 3.3; BVLC/caffe src/caffe/layers/lrn_layer.cpp, which
    divides alpha by n; the values are those of bvlc_reference_caffenet.
    """

    n: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0

    @nn.compact
    def __call__(self, x: FeatureMap) -> FeatureMap:
        """The same grid and size; the squares are summed in float32."""
        half, c = self.n // 2, x.channels

        def normalise(values: Any) -> Any:
            squares = jnp.square(values.astype(jnp.float32))
            padded = jnp.pad(squares, ((0, 0), (0, 0), (0, 0), (half, half)))
            total = sum(padded[..., i : i + c] for i in range(self.n))
            scale = (self.k + self.alpha / self.n * total) ** -self.beta
            return values * scale.astype(values.dtype)

        return pointwise(x, normalise).replace(name=self.name or "")
