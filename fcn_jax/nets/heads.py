"""Heads: from feature maps to an output in the image's coordinates.

A head is a linen module, called as `head(maps, train=train)` with the maps of trunk and decoder by
name: the image first, the decoder's last.
"""

from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp

from fcn_jax.labels import LabelKind
from fcn_jax.nets.decoders.pyramid import Maps, deepest
from fcn_jax.nets.fcn import crop_offset, upsampling_kernel
from fcn_jax.nn.background import pointwise
from fcn_jax.nn.blocks import ConvBlock
from fcn_jax.nn.feature_map import FeatureMap
from fcn_jax.nn.layers import Conv, Crop, Dropout
from fcn_jax.nn.pooling import global_mean
from fcn_jax.nn.stretching import Align, Stretch
from fcn_jax.nn.upsampling import Upsampling


class Pixels(nn.Module):
    """A score for every class, or a number such as a depth, at every pixel.

    Attributes:
        num_classes: channels of the output; 1 for a depth.
        source: name of the map; the decoder's last by default.
        kernel: rows and columns of the last convolution, odd.
        hidden: channels of a 3x3 convolution with batch norm and ReLU before it; 0 for none.
        dropout: rate before the last convolution.
        align: how the scores are stretched to the image.
        upsampling: a layer that upsamples by the grids, as in `FCN`, instead of stretching.
        auxiliary: the head is there for a loss in training only; predictions do without it.
    """

    num_classes: int
    source: str = ""
    kernel: int = 1
    hidden: int = 0
    dropout: float = 0.0
    align: Align = Align.GRID
    upsampling: type[Upsampling] | None = None
    auxiliary: bool = False

    @property
    def kind(self) -> LabelKind:
        """A class of every pixel, or one number; a run's data set may say otherwise."""
        return LabelKind.NUMBERS if self.num_classes == 1 else LabelKind.CLASSES

    @nn.compact
    def __call__(self, maps: Maps, *, train: bool) -> Any:
        """float32 `(b, h, w, num_classes)`, zero outside the true sizes."""
        x, image = deepest(maps, self.source), maps["image"]
        if self.hidden:
            x = ConvBlock(self.hidden, name="hidden")(x, train=train)
        x = Dropout(self.dropout, name="dropout")(x, train=train)
        x = pointwise(x, lambda values: values.astype(jnp.float32))
        padding = self.kernel // 2
        x = Conv(self.num_classes, self.kernel, padding=padding, zero_init=True, name="score")(x)
        return self._on_pixels(x, image).values

    def _on_pixels(self, x: FeatureMap, image: FeatureMap) -> FeatureMap:
        if self.upsampling is not None:
            factor, kernel = upsampling_kernel(x, image)
            layer = self.upsampling(factor, kernel, name="upscore")
            offset = crop_offset(layer.outline(x), image)
            return Crop(offset, image.shape, name="crop")(layer(x), image.size)
        if (x.grid.stride, x.shape) == (1, image.shape):
            return x
        return Stretch(self.align, name="stretch")(x, image)


class Vector(nn.Module):
    """Numbers for the whole image: scores of classes, or of attributes.

    Without a data set that says which of the two, they are scores of classes.

    Attributes:
        num_classes: length of the vector.
        source: name of the map whose mean is taken; the trunk's deepest by default.
        hidden: units of a layer with ReLU before the last; 0 for none.
        dropout: rate before the last layer.
        auxiliary: as in `Pixels`.
    """

    num_classes: int
    source: str = "trunk"
    hidden: int = 0
    dropout: float = 0.0
    auxiliary: bool = False

    kind: ClassVar[LabelKind] = LabelKind.CLASS

    @nn.compact
    def __call__(self, maps: Maps, *, train: bool) -> Any:
        """float32 `(b, num_classes)`."""
        x = global_mean(deepest(maps, self.source))
        x = x.replace(values=x.values.astype(jnp.float32))
        if self.hidden:
            x = Conv(self.hidden, relu=True, name="hidden")(x)
        x = Dropout(self.dropout, name="dropout")(x, train=train)
        return Conv(self.num_classes, zero_init=True, name="score")(x).values[:, 0, 0]
