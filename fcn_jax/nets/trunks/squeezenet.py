"""SqueezeNet 1.0 and 1.1: AlexNet's accuracy in 1.2 million parameters.

Source: Iandola et al., 2016 (arXiv 1602.07360); forresti/SqueezeNet, SqueezeNet_v1.0 and _v1.1.
"""

from typing import ClassVar

import flax.linen as nn

from fcn_jax.nets.trunks.ending import Ending
from fcn_jax.nn.feature_map import FeatureMap
from fcn_jax.nn.layers import Conv, Dropout, MaxPool, concat
from fcn_jax.nn.savings import current

# Squeeze and expand channels of fire2 … fire9.
FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))


class Fire(nn.Module):
    """A 1x1 convolution that squeezes, then parallel 1x1 and 3x3 convolutions that expand."""

    squeeze: int
    expand: int

    @nn.compact
    def __call__(self, x: FeatureMap) -> FeatureMap:
        """`2 * expand` channels, on the same grid."""
        x = Conv(self.squeeze, 1, relu=True, name="squeeze1x1")(x)
        left = Conv(self.expand, 1, relu=True, name="expand1x1")(x)
        right = Conv(self.expand, 3, padding=1, relu=True, name="expand3x3")(x)
        return concat([left, right]).replace(name=self.name or "")


class SqueezeNet(nn.Module):
    """Eight fire modules between ceil-mode 3x3 pools.

    Maps: `conv1` (1/2), `pool1` … `fire4` (1/4), `pool4` … `fire8` (1/8), `pool8`, `fire9` (1/16).

    Attributes:
        aligned: use the smallest ring with which the upsampled scores cover the image (3 zero
            cells), instead of the papers' 100.
        dropout: rate after fire9.
    """

    aligned: bool = False
    dropout: float = 0.5

    classifier: ClassVar[Ending] = Ending("conv10", relu=True, window=13)
    follows_borders: ClassVar[bool] = True
    rematerialises: ClassVar[bool] = True  # keeps the inputs of the fire modules
    conv1: ClassVar[tuple[int, int]] = (96, 7)  # channels and kernel
    pools: ClassVar[tuple[int, ...]] = (4, 8)  # the fire modules that a pool follows
    least: ClassVar[int] = 3  # the smallest ring that covers the image

    @property
    def ring(self) -> int:
        """Zero cells around the image; conv1 does not pad."""
        return self.least if self.aligned else 100

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool) -> dict[str, FeatureMap]:
        """Raises ValueError where the image is too small."""
        maps = {"conv1": Conv(*self.conv1, stride=2, relu=True, name="conv1")(x)}  # 1/2
        x = maps["pool1"] = MaxPool(3, 2, name="pool1")(maps["conv1"])  # 1/4
        fire = nn.remat(Fire) if current().rematerialise else Fire
        for i, (squeeze, expand) in enumerate(FIRES, 2):
            x = maps[f"fire{i}"] = fire(squeeze, expand, name=f"fire{i}")(x)
            if i in self.pools:
                x = maps[f"pool{i}"] = MaxPool(3, 2, name=f"pool{i}")(x)  # 1/8, 1/16
        maps["fire9"] = Dropout(self.dropout, name="drop9")(x, train=train)
        return maps


class SqueezeNet11(SqueezeNet):
    """Version 1.1: a smaller first layer and earlier pools, 2.4 times fewer operations.

    Maps: `conv1` (1/2), `pool1` … `fire3` (1/4), `pool3` … `fire5` (1/8), `pool5` … `fire9` (1/16).
    """

    conv1: ClassVar[tuple[int, int]] = (64, 3)
    pools: ClassVar[tuple[int, ...]] = (3, 5)
    least: ClassVar[int] = 1
