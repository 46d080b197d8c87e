"""Lite reduced ASPP: MobileNetV3's decoder.

Source: Howard et al., "Searching for MobileNetV3", 2019. Details are those of torchvision 0.29.1
`models/segmentation/lraspp.py`.
"""

import flax.linen as nn
import jax

from fcn_jax.nets.decoders.pyramid import Maps, at_stride, deepest
from fcn_jax.nn.background import stacked, whole
from fcn_jax.nn.blocks import ConvBlock
from fcn_jax.nn.layers import Conv
from fcn_jax.nn.pooling import global_mean
from fcn_jax.nn.stretching import Align, Stretch


class LRASPP(nn.Module):
    """The deepest map, times a factor from its mean, stretched onto a finer map beside it.

    Gives the map `lraspp` at the finer map's stride. The mean makes the receptive field the whole
    image.

    Attributes:
        features: channels of the deepest map's branch.
        low: name of the finer map; the deepest one at stride 8 by default.
        align: how the deepest map is stretched; torchvision uses `EDGES`.

    Differs: torchvision adds the scores of both maps; here the maps are concatenated, and one 1x1
    convolution scores them, which is the same. The paper pools over windows of 49x49 cells, as
    mmsegmentation does; torchvision takes the mean of the whole map.
    """

    features: int = 128
    low: str = ""
    align: Align = Align.GRID

    @nn.compact
    def __call__(self, maps: Maps, *, train: bool) -> Maps:
        """The order along the channels: the finer map, the deepest."""
        high = whole(deepest(maps))
        low = deepest(maps, self.low) if self.low else at_stride(maps, 8)
        x = ConvBlock(self.features, 1, name="high")(high, train=train)
        mean = Conv(self.features, use_bias=False, name="factor")(global_mean(high))
        x = x.replace(values=x.values * jax.nn.sigmoid(mean.values))
        x = Stretch(self.align, name="stretch")(x, low)
        return {"lraspp": stacked([whole(low), x])}
