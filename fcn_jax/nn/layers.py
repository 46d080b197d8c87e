"""The layers of an FCN: small modules from `FeatureMap` to `FeatureMap`.

Each transforms the values, the grid and the true sizes together, and leaves zeros outside each
image's own extent. Layers compute in the dtype of the values; parameters are float32.
"""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax

from fcn_jax.nn import ops
from fcn_jax.nn.background import pointwise, slide, stacked, whole
from fcn_jax.nn.feature_map import WHOLE_IMAGE, FeatureMap, conv_size, overlap, pool_size


class Conv(nn.Module):
    """Convolution (cross-correlation, as in Caffe) with bias.

    Attributes:
        features: output channels.
        kernel: rows and columns of the kernel.
        stride: cells between outputs.
        padding: zero cells on every side; an unstored ring of the input is added to it.
        groups: channel groups.
        zero_init: start from zeros (score layers; Source: FCN papers, section 4.3) rather than
            from He's normal distribution.
        relu: apply max(x, 0) to the result.
        use_bias: add a learned bias, which starts from zeros.
    """

    features: int
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    groups: int = 1
    zero_init: bool = False
    relu: bool = False
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: FeatureMap) -> FeatureMap:
        """Raises ValueError where the map is smaller than the kernel."""
        k = self.kernel
        padding = self.padding + (0 if x.border else x.ring)
        if min(conv_size(n, k, self.stride, padding) for n in x.shape) < 1:
            raise ValueError(
                f"{self.name}: a {k}x{k} kernel with padding {padding} does not fit on "
                f"{x.name}, which is {x.shape[0]}x{x.shape[1]} here; the image is too small for "
                "this net; a larger ring of zeros around it would make room"
            )
        init = nn.initializers.zeros if self.zero_init else nn.initializers.he_normal()
        shape = (k, k, x.channels // self.groups, self.features)
        if self.has_variable("packed", "kernel"):
            kernel = self.get_variable("packed", "kernel").T.reshape(shape)
        else:
            kernel = self.param("kernel", init, shape)
            self._pack(kernel)
        kernel = kernel.astype(x.values.dtype)
        bias = None
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,)).astype(kernel.dtype)

        def apply(values: Any, padding: int) -> Any:
            values = ops.convolve(values, kernel, self.stride, padding, self.groups)
            return values if bias is None else ops.add_bias(values, bias)

        out = slide(x, k, self.stride, padding, apply=apply, length=conv_size)
        return (relu(out) if self.relu else out).replace(name=self.name or "")

    def _pack(self, kernel: Any) -> None:
        """Stores the kernel of a product as a matrix with the outputs first, for `prepack`."""
        wanted = self.is_mutable_collection("packed") and not self.is_initializing()
        if wanted and ops.is_product(kernel.shape, self.stride, self.groups):
            self.put_variable("packed", "kernel", kernel.reshape(-1, self.features).T)


def relu(x: FeatureMap) -> FeatureMap:
    """max(values, 0)."""
    return pointwise(x, ops.relu).replace(nonnegative=True)


class BatchNorm(nn.Module):
    """Batch normalisation over the true extents only.

    Attributes:
        momentum: share of the running averages kept at each step.
    """

    momentum: float = 0.9

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool) -> FeatureMap:
        """Normalise; running averages are in the collection `batch_stats`."""
        x = whole(x)
        norm = nn.BatchNorm(
            use_running_average=not train,
            momentum=self.momentum,
            epsilon=1e-5,
            dtype=x.values.dtype,
            name="norm",
        )
        mask = None if x.size is None else x.inside()
        return x.replace(values=norm(x.values, mask=mask), name=self.name or "").masked()


class Dropout(nn.Module):
    """Element-wise inverted dropout, as in Caffe; identity unless training."""

    rate: float = 0.5

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool) -> FeatureMap:
        """Needs the random stream `dropout` when training."""
        if not train or not self.rate:
            return x
        x = whole(x)
        drop = nn.Dropout(self.rate, deterministic=False, name="drop")
        return x.replace(values=drop(x.values))


class MaxPool(nn.Module):
    """Ceil-mode max pooling: the last window is clipped at the edge, as in Caffe."""

    kernel: int = 2
    stride: int = 2
    padding: int = 0

    @nn.compact
    def __call__(self, x: FeatureMap) -> FeatureMap:
        """Ties go to the first maximum of the window in row order, as in Caffe."""
        k, s = self.kernel, self.stride
        apply = functools.partial(ops.max_pool, kernel=k, stride=s)
        # After a ReLU the zeros outside an image never exceed a maximum and may stay.
        fill = 0.0 if x.nonnegative else -jnp.inf
        out = slide(x, k, s, self.padding, apply=apply, length=pool_size, fill=fill)
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


class GlobalMean(nn.Module):
    """The mean over each image's own extent, repeated at every cell."""

    @nn.compact
    def __call__(self, x: FeatureMap) -> FeatureMap:
        """The same cells and size; the receptive field becomes the whole image."""
        x = whole(x)
        total = jnp.sum(x.values, (1, 2), keepdims=True)
        size = jnp.asarray([x.shape]) if x.size is None else x.size
        cells = jnp.prod(size, axis=1)[:, None, None, None].astype(x.values.dtype)
        values = jnp.broadcast_to(total / cells, x.values.shape)
        grid = dataclasses.replace(x.grid, field=WHOLE_IMAGE)
        return x.replace(values=values, grid=grid, name=self.name or "").masked()


class Crop(nn.Module):
    """The `shape` cells that begin at cell `start`; both follow from the grids (see `overlap`)."""

    start: int
    shape: tuple[int, int]

    @nn.compact
    def __call__(self, x: FeatureMap, size: Any) -> FeatureMap:
        """`size` is the true size of the result, int32 `(b, 2)`, or None."""
        (h, w), o = self.shape, self.start
        values = whole(x).values[:, o : o + h, o : o + w]
        return FeatureMap(values, size, grid=x.grid.cropped(o), name=self.name or "").masked()


class Sum(nn.Module):
    """The sum of two maps over the cells that both have."""

    @nn.compact
    def __call__(self, a: FeatureMap, b: FeatureMap) -> FeatureMap:
        """Raises ValueError, naming both layers, where the maps do not line up."""
        shared = overlap(a, b)
        # Linen refuses two layers of one name.
        second = f"{b.name}c" if a.name != b.name else f"{b.name}c_2"
        a = Crop(shared.starts[0], shared.shape, name=f"{a.name}c")(a, shared.size)
        b = Crop(shared.starts[1], shared.shape, name=second)(b, shared.size)
        return FeatureMap(a.values + b.values, shared.size, grid=shared.grid, name=self.name or "")


class Scale(nn.Module):
    """A fixed factor, as on the at-once net's skips.

    Source: shelhamer/fcn.berkeleyvision.org voc-fcn8s-atonce/net.py.
    """

    factor: float

    @nn.compact
    def __call__(self, x: FeatureMap) -> FeatureMap:
        """The values times the factor."""
        return pointwise(x, lambda v: v * self.factor).replace(name=self.name or "")


def concat(maps: list[FeatureMap]) -> FeatureMap:
    """Maps concatenated along the channels, over the cells that all of them have.

    Raises:
        ValueError: the maps do not line up (see `overlap`); the layers are named.
    """
    name, size, shared = maps[0].name, maps[0].size, overlap(*maps)
    # Maps of equal shape may differ in the sizes of their images. These are unknown while a program
    # is traced; only one and the same array surely holds equal sizes.
    if any(m.shape != shared.shape or m.size is not size for m in maps):
        maps = list[Any](
            Crop(start, shared.shape, name=f"{m.name}c", parent=None).apply({}, m, shared.size)
            for start, m in zip(shared.starts, maps, strict=True)
        )
    return stacked(maps).replace(grid=shared.grid, name=name)
