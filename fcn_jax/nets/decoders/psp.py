"""The pyramid pooling module.

Source: Zhao et al., "Pyramid Scene Parsing Network", 2017. Details are those of
segmentation_models.pytorch 0.6.0 `decoders/pspnet`.
"""

import flax.linen as nn

from fcn_jax.nets.decoders.pyramid import Maps, at_stride, deepest
from fcn_jax.nn.background import stacked
from fcn_jax.nn.blocks import ConvBlock
from fcn_jax.nn.layers import Dropout
from fcn_jax.nn.pooling import AdaptivePool
from fcn_jax.nn.stretching import Align, Stretch


class PSP(nn.Module):
    """Means over parts of the image, stretched back, beside the map itself.

    Gives the map `psp`. The means make the receptive field the whole image.

    Attributes:
        bins: parts along each axis.
        features: channels of the result.
        stride: of the map that is pooled; 0 for the deepest.
        dropout: rate after the projection, of whole channels.
        align: how the means are stretched; segmentation_models.pytorch uses `CORNERS`.

    Differs: mmsegmentation and the paper's own code put the map before the means.
    """

    bins: tuple[int, ...] = (1, 2, 3, 6)
    features: int = 512
    stride: int = 0
    dropout: float = 0.2
    align: Align = Align.EDGES

    @nn.compact
    def __call__(self, maps: Maps, *, train: bool) -> Maps:
        """The order along the channels: the bins, the map. One bin has a bias and no batch norm."""
        x = at_stride(maps, self.stride) if self.stride else deepest(maps)
        width = max(x.channels // len(self.bins), 1)
        parts = []
        for bins in self.bins:
            y = AdaptivePool(bins, name=f"pool{bins}")(x)
            y = ConvBlock(width, 1, norm=bins > 1, name=f"bins{bins}")(y, train=train)
            stretch = Stretch(self.align, name=f"stretch{bins}")
            parts.append(stretch(y, x, pooled=True))
        y = ConvBlock(self.features, 1, name="project")(stacked([*parts, x]), train=train)
        return {"psp": Dropout(self.dropout, whole_channels=True, name="dropout")(y, train=train)}
