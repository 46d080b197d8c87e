"""FCN's skips as a decoder: maps of a few strides, each by a 1x1 convolution, added.

Source: Long, Shelhamer and Darrell, CVPR 2015. There the 1x1 convolutions give class scores
(`fcn_jax.FCN`); here they give channels, which heads share.
"""

import flax.linen as nn

from fcn_jax.nets.decoders.pyramid import Maps, at_stride, deepest
from fcn_jax.nets.fcn import upsampling_kernel
from fcn_jax.nn.layers import Conv, Sum
from fcn_jax.nn.upsampling import NormalizedUpsampling, Upsampling


class Skips(nn.Module):
    """The deepest map, upsampled by its grid onto finer maps and added to them.

    Gives the map `fused` at the last of the strides. It lies where its grid says: nothing is
    stretched, and the receptive field is that of the trunk.

    Attributes:
        strides: of the finer maps, from the coarsest.
        features: channels of the sum.
        upsampling: layer between the maps.
    """

    strides: tuple[int, ...] = (16, 8)
    features: int = 64
    upsampling: type[Upsampling] = NormalizedUpsampling

    @nn.compact
    def __call__(self, maps: Maps, *, train: bool) -> Maps:
        """Raises ValueError where the trunk has no map at one of the strides."""
        x = Conv(self.features, name="project_deepest")(deepest(maps))
        for stride in self.strides:
            if stride >= x.grid.stride:
                continue
            skip = Conv(self.features, name=f"project_{stride}")(at_stride(maps, stride))
            factor, kernel = upsampling_kernel(x, skip)
            x = self.upsampling(factor, kernel, name=f"up_{stride}")(x)
            x = Sum(name=f"fuse_{stride}")(x, skip)
        return {"fused": x}
