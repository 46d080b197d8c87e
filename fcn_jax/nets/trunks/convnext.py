"""ConvNeXt, as torchvision has it.

Source: Liu et al., "A ConvNet for the 2020s", 2022; pytorch/vision 0.29.1
torchvision/models/convnext.py.

Names: `stem` and `stem_norm` are torchvision's `features.0.0` and `features.0.1`. Block i of stage
s, `stageS_I`, is `features.{2 s - 1}.I`; its parts `depthwise`, `norm`, `fc1` and `fc2` are
`block.0`, `.2`, `.3` and `.5` there, and `layer_scale/scale` is `layer_scale`. `downS_norm` and
`downS`, before stage s, are `features.{2 s - 2}.0` and `.1`.
"""

from typing import ClassVar

import flax.linen as nn

from fcn_jax.nets.trunks.ending import Ending
from fcn_jax.nn.activations import gelu
from fcn_jax.nn.feature_map import FeatureMap
from fcn_jax.nn.layers import Conv
from fcn_jax.nn.normalization import LayerNorm, LayerScale
from fcn_jax.nn.savings import current


class ConvNeXt(nn.Module):
    """Blocks of a 7x7 depthwise and two 1x1 convolutions, in four stages. By default ConvNeXt-Tiny.

    Others: Small has depths (3, 3, 27, 3); Base has these, and dims (128, 256, 512, 1024).

    Maps: `stage1` (1/4), `stage2` (1/8), `stage3` (1/16), `stage4` (1/32). An image of n pixels has
    floor(n / 4), floor(n / 8) … cells: rows and columns that are left over do not count, and an
    image needs 32 of each. An FCN covers the last pixels of every image, of one pixel too, with
    `ring=16`, which is the least.

    Attributes:
        depths: blocks of each stage.
        dims: channels of each stage.
        ring: zero cells around the image. The published nets have none.
        drop_path: share of images in which the last block is left out in a training step; it rises
            linearly from 0 at the first block. Needs the random stream `dropout`. Source:
            `convnext_tiny` of convnext.py; Small has 0.4, Base 0.5.
        width: factor on every number of channels, for narrow copies.
    """

    depths: tuple[int, int, int, int] = (3, 3, 9, 3)
    dims: tuple[int, int, int, int] = (96, 192, 384, 768)
    ring: int = 0
    drop_path: float = 0.1
    width: float = 1.0

    rematerialises: ClassVar[bool] = True  # keeps the inputs of the blocks

    @property
    def classifier(self) -> Ending:
        """The mean over the crop of 224 pixels, normalised, and a fully connected layer."""
        return Ending("fc", window=7, pooled=_Normalised)

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool) -> dict[str, FeatureMap]:
        """Raises ValueError where the image, with the ring, has fewer than 32 rows or columns."""
        block = nn.remat(Block, static_argnums=(2,)) if current().rematerialise else Block
        maps: dict[str, FeatureMap] = {}
        number, last = 0, max(sum(self.depths) - 1, 1)
        for stage, (depth, dim) in enumerate(zip(self.depths, self.dims, strict=True), 1):
            dim = max(round(dim * self.width), 1)
            if stage == 1:
                x = Conv(dim, 4, 4, name="stem")(x)  # 1/4
                x = LayerNorm(name="stem_norm")(x)
            else:
                x = LayerNorm(name=f"down{stage}_norm")(x)
                x = Conv(dim, 2, 2, name=f"down{stage}")(x)  # 1/8, 1/16, 1/32
            for i in range(depth):
                drop = self.drop_path * number / last
                x, number = block(drop, name=f"stage{stage}_{i}")(x, train), number + 1
            x = maps[f"stage{stage}"] = x.replace(name=f"stage{stage}")
        return maps


class Block(nn.Module):
    """x + scale · fc2(gelu(fc1(norm(depthwise(x))))).

    Attributes:
        drop: share of images that keep only x, in training.
    """

    drop: float

    @nn.compact
    def __call__(self, x: FeatureMap, train: bool) -> FeatureMap:
        """The same cells and channels."""
        c = x.channels
        y = Conv(c, 7, padding=3, groups=c, name="depthwise")(x)
        y = LayerNorm(name="norm")(y)
        y = gelu(Conv(4 * c, name="fc1")(y))
        y = LayerScale(name="layer_scale")(Conv(c, name="fc2")(y))
        drop = nn.Dropout(self.drop, (1, 2, 3), deterministic=not train, name="drop")
        return y.replace(values=x.values + drop(y.values), name=self.name or "")


class _Normalised(nn.Module):
    """The classifier's layer between the mean and the last one."""

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool) -> FeatureMap:
        return LayerNorm(name="norm")(x)
