"""U-Net's decoder.

Source: Ronneberger et al., "U-Net", 2015. Details are those of segmentation_models.pytorch 0.6.0
`decoders/unet`: cells are repeated instead of upsampled by a learned kernel, convolutions are
padded, and batch norm follows each.
"""

import flax.linen as nn

from fcn_jax.nets.decoders.pyramid import Maps, by_stride
from fcn_jax.nn.background import stacked
from fcn_jax.nn.blocks import ConvBlock
from fcn_jax.nn.stretching import Repeat, over


class UNet(nn.Module):
    """From the deepest map to the image: repeat, concatenate the finer map, convolve twice.

    Gives the map `decoded`, with a cell on every pixel of the image.

    Attributes:
        features: output channels of the blocks, from the coarsest; the last is at the image's own
            size, where there is no map to concatenate. A trunk with fewer strides than the first
            blocks need uses the last ones of these.
    """

    features: tuple[int, ...] = (256, 128, 64, 32, 16)

    @nn.compact
    def __call__(self, maps: Maps, *, train: bool) -> Maps:
        """The trunk's strides must be powers of 2; `maps["image"]` is the image."""
        pyramid = list(by_stride(maps).values())[::-1]  # coarsest first; the image last
        x = pyramid[0]
        features = self.features[-(len(pyramid) - 1) :]
        for i, (finer, width) in enumerate(zip(pyramid[1:], features, strict=True)):
            x = Repeat(name=f"repeat{i}")(x, finer)
            if finer.name != "image":
                x = stacked([x, over(finer, x)])
            for j in (1, 2):
                x = ConvBlock(width, name=f"block{i}_conv{j}")(x, train=train)
        return {"decoded": x}
