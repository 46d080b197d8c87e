"""MobileNetV3-Large, as torchvision has it.

Source: Howard et al., "Searching for MobileNetV3", 2019; pytorch/vision 0.29.1
torchvision/models/mobilenetv3.py.

Names: `block4` is torchvision's `features.4`. Its parts `expand`, `depthwise`, `se` and `project`
are `block.0`, `block.1` and so on there; a block that lacks one counts on without it. The
convolution of a part is its `.0`, the batch norm its `.1`: `block4/expand_bn/norm/scale` is
`features.4.block.0.1.weight`. The first and the last block are one part.
"""

from typing import Any, ClassVar, NamedTuple

import flax.linen as nn

from fcn_jax.nets.trunks.efficientnet_lite import scaled
from fcn_jax.nets.trunks.ending import Ending
from fcn_jax.nn.activations import hard_swish
from fcn_jax.nn.feature_map import FeatureMap
from fcn_jax.nn.layers import BatchNorm, Conv, Dropout, SqueezeExcite, relu
from fcn_jax.nn.savings import current


class Shape(NamedTuple):
    """A block. Source: mobilenetv3.py, `_mobilenet_v3_conf`."""

    kernel: int
    wide: int  # channels of the depthwise convolution
    channels: int  # of the result
    excite: bool = False  # squeeze-and-excitation
    swish: bool = False  # hard-swish, otherwise ReLU
    stride: int = 1


BLOCKS = (
    Shape(3, 16, 16),
    Shape(3, 64, 24, stride=2),
    Shape(3, 72, 24),
    Shape(5, 72, 40, excite=True, stride=2),
    Shape(5, 120, 40, excite=True),
    Shape(5, 120, 40, excite=True),
    Shape(3, 240, 80, swish=True, stride=2),
    Shape(3, 200, 80, swish=True),
    Shape(3, 184, 80, swish=True),
    Shape(3, 184, 80, swish=True),
    Shape(3, 480, 112, excite=True, swish=True),
    Shape(3, 672, 112, excite=True, swish=True),
    Shape(5, 672, 160, excite=True, swish=True, stride=2),
    Shape(5, 960, 160, excite=True, swish=True),
    Shape(5, 960, 160, excite=True, swish=True),
)
HIDDEN = 1280  # channels of the classifier's first layer


class MobileNetV3(nn.Module):
    """A stem, 15 blocks around depthwise convolutions, and a 1x1 convolution.

    Maps: `block0` and `block1` (1/2), `block2` and `block3` (1/4), `block4` … `block6` (1/8),
    `block7` … `block12` (1/16), `block13` … `block16` (1/32), by torchvision's numbers. From
    `block4` on the receptive field is the whole image, because of squeeze-and-excitation. Cell i of
    a map of stride s lies at pixel s i, and an image of n pixels has ceil(n / s) cells.

    Attributes:
        output_stride: 32; or 16, where the blocks from `block13` on keep the stride of those
            before and have dilation 2 (torchvision's `dilated=True`, in its segmentation nets).
        width: factor on every number of channels, which are multiples of 8.
        epsilon: of the batch norms: 1e-3, or 1e-5 in timm's `mobilenetv3_large_100`.
    """

    output_stride: int = 32
    width: float = 1.0
    epsilon: float = 1e-3

    rematerialises: ClassVar[bool] = True  # keeps the inputs of the blocks

    def __post_init__(self):
        if (found := self.output_stride) not in (32, 16):
            raise ValueError(f"MobileNetV3: output_stride must be 32 or 16, got {found!r}")
        super().__post_init__()

    @property
    def classifier(self) -> Ending:
        """The mean over the crop of 224 pixels, then two fully connected layers."""
        return Ending("fc2", window=224 // self.output_stride, pooled=_Hidden)

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool) -> dict[str, FeatureMap]:
        """The maps; images may be of any size."""
        block = nn.remat(Block, static_argnums=(2,)) if current().rematerialise else Block
        stem = {"kernel": 3, "stride": 2, "padding": 1}
        e = self.epsilon
        x = hard_swish(_normalised(x, "block0", scaled(16, self.width), train, e, **stem))
        maps, total = {"block0": x.replace(name="block0")}, 2
        for i, shape in enumerate(BLOCKS, 1):
            total *= shape.stride
            dilation = 2 if total > self.output_stride else 1
            made = block(shape, dilation, self.width, e, name=f"block{i}")
            x = maps[f"block{i}"] = made(x, train)
        x = hard_swish(_normalised(x, "block16", 6 * x.channels, train, e))
        return {**maps, "block16": x.replace(name="block16")}


class Block(nn.Module):
    """A 1x1 convolution that widens, a depthwise one, a 1x1 one that narrows; linear at its end.

    Attributes:
        shape: the published block.
        dilation: of the depthwise convolution; above 1 it has stride 1.
        width: factor on the channels.
        epsilon: of the batch norms.
    """

    shape: Shape
    dilation: int
    width: float
    epsilon: float

    @nn.compact
    def __call__(self, x: FeatureMap, train: bool) -> FeatureMap:
        """The input is added where the published block keeps stride and channels."""
        s, d, e = self.shape, self.dilation, self.epsilon
        skip, wide, out = x, scaled(s.wide, self.width), scaled(s.channels, self.width)
        activation = hard_swish if s.swish else relu
        if wide != x.channels:
            x = activation(_normalised(x, "expand", wide, train, e))
        stride = s.stride if d == 1 else 1
        geometry = {"stride": stride, "dilation": d, "padding": s.kernel // 2 * d, "groups": wide}
        x = activation(_normalised(x, "depthwise", wide, train, e, kernel=s.kernel, **geometry))
        if s.excite:
            x = SqueezeExcite(scaled(wide // 4, 1.0), name="se")(x)
        x = _normalised(x, "project", out, train, e)
        if s.stride == 1 and skip.channels == out:
            x = x.replace(values=x.values + skip.values)
        return x.replace(name=self.name or "")


class _Hidden(nn.Module):
    """The classifier's layers between the mean and the last one."""

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool) -> FeatureMap:
        # The mean has 960 channels at width 1.
        x = hard_swish(Conv(scaled(HIDDEN, x.channels / 960), name="fc1")(x))
        return Dropout(0.2, name="drop")(x, train=train)


def _normalised(
    x: FeatureMap, name: str, features: int, train: bool, epsilon: float, **more: Any
) -> FeatureMap:
    """A convolution without bias, and its batch normalisation with the published momentum."""
    x = Conv(features, use_bias=False, name=name, **more)(x)
    return BatchNorm(0.99, epsilon, unbiased=True, name=f"{name}_bn")(x, train=train)
