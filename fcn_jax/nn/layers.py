"""The layers of an FCN: small modules from `FeatureMap` to `FeatureMap`.

Each transforms the values, the grid and the true sizes together, and leaves zeros outside each
image's own extent. Layers compute in the dtype of the values; parameters are float32.
"""

import dataclasses
from typing import Any

import flax.linen as nn

from fcn_jax.nn import ops
from fcn_jax.nn.activations import hard_sigmoid, relu
from fcn_jax.nn.background import pointwise, slide, stacked, whole
from fcn_jax.nn.feature_map import FeatureMap, Padding, conv_size, low_high, overlap
from fcn_jax.nn.normalization import LRN, BatchNorm
from fcn_jax.nn.pooling import AveragePool, GlobalMean, MaxPool, global_mean

__all__ = [
    "LRN",
    "AveragePool",
    "BatchNorm",
    "Conv",
    "Crop",
    "Dropout",
    "GlobalMean",
    "MaxPool",
    "Scale",
    "SqueezeExcite",
    "Sum",
    "concat",
    "relu",
]


class Conv(nn.Module):
    """Convolution (cross-correlation, as in Caffe) with bias.

    Attributes:
        features: output channels.
        kernel: rows and columns of the kernel.
        stride: cells between outputs.
        padding: zero cells on every side, or before and after (TensorFlow pads unevenly); an
            unstored ring of the input is added.
        groups: channel groups; as many as channels for a depthwise convolution.
        zero_init: start from zeros (score layers; Source: FCN papers, section 4.3) rather than
            from He's normal distribution.
        relu: apply max(x, 0) to the result.
        use_bias: add a learned bias, which starts from zeros.
        dilation: cells between the kernel's taps ("hole" of DeepLab).
    """

    features: int
    kernel: int = 1
    stride: int = 1
    padding: Padding = 0
    groups: int = 1
    zero_init: bool = False
    relu: bool = False
    use_bias: bool = True
    dilation: int = 1

    @nn.compact
    def __call__(self, x: FeatureMap) -> FeatureMap:
        """Raises ValueError where the map is smaller than the kernel."""
        k, reach = self.kernel, (self.kernel - 1) * self.dilation + 1
        low, high = (p + (0 if x.border else x.ring) for p in low_high(self.padding))
        padding = low if low == high else (low, high)
        if min(conv_size(n, reach, self.stride, padding) for n in x.shape) < 1:
            raise ValueError(
                f"{self.name}: a {reach}x{reach} kernel with padding {padding} does not fit on "
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

        def apply(values: Any, padding: Padding) -> Any:
            values = ops.convolve(values, kernel, self.stride, padding, self.groups, self.dilation)
            return values if bias is None else ops.add_bias(values, bias)

        out = slide(x, reach, self.stride, padding, apply=apply, length=conv_size)
        return (relu(out) if self.relu else out).replace(name=self.name or "")

    def _pack(self, kernel: Any) -> None:
        """Stores the kernel of a product as a matrix with the outputs first, for `prepack`."""
        wanted = self.is_mutable_collection("packed") and not self.is_initializing()
        if wanted and ops.is_product(kernel.shape, self.stride, self.groups):
            self.put_variable("packed", "kernel", kernel.reshape(-1, self.features).T)


class Dropout(nn.Module):
    """Inverted dropout; identity unless training.

    Attributes:
        rate: share of the values that become zero.
        whole_channels: drop channels of an image as a whole (torch's Dropout2d), not each value.
    """

    rate: float = 0.5
    whole_channels: bool = False

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool) -> FeatureMap:
        """Needs the random stream `dropout` when training."""
        if not train or not self.rate:
            return x
        x = whole(x)
        together = (1, 2) if self.whole_channels else ()
        drop = nn.Dropout(self.rate, together, deterministic=False, name="drop")
        return x.replace(values=drop(x.values))


class SqueezeExcite(nn.Module):
    """Each channel times a factor of 0 to 1 that depends on the means of all channels.

    Attributes:
        squeeze: channels between the two 1x1 convolutions.

    Source: Hu et al., "Squeeze-and-Excitation Networks", 2018; the hard sigmoid: Howard et al.,
    "Searching for MobileNetV3", 2019, as in torchvision.
    """

    squeeze: int

    @nn.compact
    def __call__(self, x: FeatureMap) -> FeatureMap:
        """The same cells; the receptive field becomes the whole image."""
        x, means = whole(x), global_mean(x)
        y = Conv(self.squeeze, relu=True, name="fc1")(means)
        y = hard_sigmoid(Conv(x.channels, name="fc2")(y))
        values = x.values * y.values
        return x.replace(
            values=values,
            grid=dataclasses.replace(x.grid, field=means.grid.field),
            name=self.name or "",
        )


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
