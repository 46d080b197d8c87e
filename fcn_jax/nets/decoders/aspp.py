"""Atrous spatial pyramid pooling: DeepLabv3, and DeepLabv3+ with a finer map beside it.

Source: Chen et al., "Rethinking Atrous Convolution", 2017; "Encoder-Decoder with Atrous Separable
Convolution", 2018. Details are those of torchvision 0.29.1 `models/segmentation/deeplabv3.py` and
segmentation_models.pytorch 0.6.0 `decoders/deeplabv3`.
"""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp

from fcn_jax.nets.decoders.pyramid import Maps, at_stride, deepest
from fcn_jax.nn.background import stacked
from fcn_jax.nn.blocks import ConvBlock
from fcn_jax.nn.feature_map import FeatureMap
from fcn_jax.nn.layers import Dropout
from fcn_jax.nn.pooling import global_mean
from fcn_jax.nn.stretching import Align, Stretch


class ASPP(nn.Module):
    """Parallel dilated convolutions of the deepest map, and its mean, side by side.

    Gives the map `aspp`. The mean makes the receptive field the whole image.

    Attributes:
        rates: dilations of the 3x3 convolutions, in cells of the deepest map.
        features: channels of each branch, and of the result.
        separable: depthwise separable convolutions in the branches (segmentation_models.pytorch).
        dropout: rate after the projection.
    """

    rates: tuple[int, ...] = (12, 24, 36)
    features: int = 256
    separable: bool = False
    dropout: float = 0.5

    @nn.compact
    def __call__(self, maps: Maps, *, train: bool) -> Maps:
        """The order along the channels: 1x1, the rates, the mean."""
        x = deepest(maps)
        branches = [ConvBlock(self.features, 1, name="branch_1x1")(x, train=train)]
        for rate in self.rates:
            block = ConvBlock(
                self.features, dilation=rate, separable=self.separable, name=f"branch_{rate}"
            )
            branches.append(block(x, train=train))
        mean = ConvBlock(self.features, 1, name="branch_mean")(global_mean(x), train=train)
        branches.append(_spread(mean, x))
        y = ConvBlock(self.features, 1, name="project")(stacked(branches), train=train)
        return {"aspp": Dropout(self.dropout, name="dropout")(y, train=train)}


def _spread(mean: FeatureMap, x: FeatureMap) -> FeatureMap:
    """One value for each image, at every cell of it: what stretching a single cell gives."""
    values = jnp.broadcast_to(mean.values, (*x.values.shape[:3], mean.channels))
    grid = dataclasses.replace(x.grid, field=mean.grid.field)
    return FeatureMap(values, x.size, grid=grid, name=mean.name).masked()


class DeepLabV3Plus(nn.Module):
    """ASPP, stretched onto a finer map of few channels, and a convolution of both.

    Gives the map `deeplab` at stride `fine`.

    Attributes:
        rates: dilations, as in `ASPP`.
        features: channels of the result.
        fine_features: channels that are kept of the finer map.
        fine: stride of the finer map.
        dropout: rate within `ASPP`.
        align: how the coarse map is stretched; segmentation_models.pytorch uses `CORNERS`.

    Differs: segmentation_models.pytorch stretches by a factor, which needs sides that are multiples
    of it; here it is to the finer map's size, which is the same there.
    """

    rates: tuple[int, ...] = (12, 24, 36)
    features: int = 256
    fine_features: int = 48
    fine: int = 4
    dropout: float = 0.5
    align: Align = Align.GRID

    @nn.compact
    def __call__(self, maps: Maps, *, train: bool) -> Maps:
        """Raises ValueError where the trunk has no map at stride `fine`."""
        aspp = ASPP(self.rates, self.features, separable=True, dropout=self.dropout, name="aspp")
        block = ConvBlock(self.features, separable=True, name="after_aspp")
        x = block(aspp(maps, train=train)["aspp"], train=train)
        finer = at_stride(maps, self.fine)
        y = ConvBlock(self.fine_features, 1, name="fine")(finer, train=train)
        x = Stretch(self.align, name="stretch")(x, y)
        fuse = ConvBlock(self.features, separable=True, name="fuse")
        return {"deeplab": fuse(stacked([x, y]), train=train)}
