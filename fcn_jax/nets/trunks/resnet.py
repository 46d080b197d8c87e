"""ResNet 18, 34, 50 and 101, as torchvision has them.

Source: He et al., "Deep Residual Learning for Image Recognition", 2016; pytorch/vision 0.29.1
torchvision/models/resnet.py ("version 1.5": a bottleneck's stride is that of its 3x3 convolution).

Names: a module's path is torchvision's, with `_` before a number. So `layer1_0/conv1/kernel` is
`layer1.0.conv1.weight`, `layer1_0/downsample_1/norm/scale` is `layer1.0.downsample.1.weight`, and
`bn1/norm/mean` is `bn1.running_mean`.
"""

from typing import Any, ClassVar

import flax.linen as nn

from fcn_jax.nets.trunks.ending import Ending
from fcn_jax.nn.feature_map import FeatureMap
from fcn_jax.nn.layers import BatchNorm, Conv, MaxPool, relu
from fcn_jax.nn.savings import current

# Blocks of the four stages, by depth.
STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
CHANNELS = (64, 128, 256, 512)  # of the 3x3 convolutions of each stage


class ResNet(nn.Module):
    """Residual blocks in four stages: two 3x3 convolutions each, from 50 layers on a bottleneck.

    Maps: `conv1` (1/2), `layer1` (1/4), `layer2` (1/8), `layer3` (1/16), `layer4` (1/32). Cell i of
    a map of stride s lies at pixel s i, and an image of n pixels has ceil(n / s) cells, so that an
    FCN covers any image without a padded ring.

    Attributes:
        depth: 18, 34, 50 or 101.
        output_stride: pixels between cells of the deepest maps: 32, 16, 8 or 4. Stages that would
            go beyond it have stride 1 and twice the dilation of the stage before. Weights and
            receptive fields stay the same: the net computes more cells, and those that it had have
            the values that they had.
        dilate_first_block: give that dilation to the first 3x3 convolution of such a stage too, as
            segmentation_models.pytorch does, at the cost of other receptive fields. Otherwise the
            one that lost its stride keeps the dilation of the stage before (torchvision).
        width: factor on every number of channels, for narrow copies.

    Differs: torchvision refuses an output stride below 32 for ResNet 18 and 34.
    """

    depth: int = 50
    output_stride: int = 32
    dilate_first_block: bool = False
    width: float = 1.0

    rematerialises: ClassVar[bool] = True  # keeps the inputs of the blocks

    def __post_init__(self):
        for name, known in (("depth", (*STAGES,)), ("output_stride", (32, 16, 8, 4))):
            if (value := getattr(self, name)) not in known:
                raise ValueError(f"ResNet: {name} must be one of {known}, got {value!r}")
        super().__post_init__()

    @property
    def classifier(self) -> Ending:
        """The mean over the crop of 224 pixels, and a fully connected layer."""
        return Ending("fc", window=224 // self.output_stride)

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool) -> dict[str, FeatureMap]:
        """The maps; images may be of any size."""
        block = nn.remat(Block, static_argnums=(2,)) if current().rematerialise else Block
        channels = [max(round(c * self.width), 1) for c in CHANNELS]
        geometry = {"kernel": 7, "stride": 2, "padding": 3}
        x = relu(normalised(x, "conv1", "bn1", channels[0], train, **geometry))
        maps = {"conv1": x.replace(name="conv1")}
        x = MaxPool(3, 2, 1, ceil_mode=False, name="maxpool")(x)
        total, dilation = 4, 1
        for stage, (repeats, features) in enumerate(zip(STAGES[self.depth], channels, strict=True)):
            stride, before = (1 if stage == 0 else 2), dilation
            if total * stride > self.output_stride:
                stride, dilation = 1, 2 * dilation
            for i in range(repeats):
                x = block(
                    features=features,
                    stride=stride if i == 0 else 1,
                    dilation=dilation,
                    first_dilation=dilation if i or self.dilate_first_block else before,
                    bottleneck=self.depth >= 50,
                    projected=i == 0 and (stage > 0 or self.depth >= 50),
                    name=f"layer{stage + 1}_{i}",
                )(x, train)
            total *= stride
            x = maps[f"layer{stage + 1}"] = x.replace(name=f"layer{stage + 1}")
        return maps


class Block(nn.Module):
    """Two or three convolutions beside a shortcut.

    Attributes:
        features: channels of the 3x3 convolutions.
        stride: of the first 3x3 convolution, and of the shortcut.
        dilation: of the 3x3 convolutions but the first.
        first_dilation: of the first 3x3 convolution.
        bottleneck: a 3x3 convolution between 1x1 ones, the last of which has 4 times as many
            channels; otherwise two 3x3 ones.
        projected: whether the shortcut is a 1x1 convolution, rather than the input itself.
    """

    features: int
    stride: int
    dilation: int
    first_dilation: int
    bottleneck: bool
    projected: bool

    @nn.compact
    def __call__(self, x: FeatureMap, train: bool) -> FeatureMap:
        """The sum of both, after a ReLU."""
        c, shortcut = self.features, x
        out = 4 * c if self.bottleneck else c
        d, e = self.dilation, self.first_dilation
        first = {"kernel": 3, "stride": self.stride, "dilation": e, "padding": e}
        if self.bottleneck:
            x = relu(normalised(x, "conv1", "bn1", c, train))
            x = relu(normalised(x, "conv2", "bn2", c, train, **first))
            x = normalised(x, "conv3", "bn3", out, train)
        else:
            x = relu(normalised(x, "conv1", "bn1", c, train, **first))
            x = normalised(x, "conv2", "bn2", c, train, kernel=3, dilation=d, padding=d)
        if self.projected:
            names = "downsample_0", "downsample_1"
            shortcut = normalised(shortcut, *names, out, train, stride=self.stride)
        return relu(x.replace(values=x.values + shortcut.values)).replace(name=self.name or "")


def normalised(
    x: FeatureMap, conv: str, norm: str, features: int, train: bool, **geometry: Any
) -> FeatureMap:
    """A convolution without bias, and its batch normalisation with torch's settings."""
    x = Conv(features, use_bias=False, name=conv, **geometry)(x)
    return BatchNorm(unbiased=True, name=norm)(x, train=train)
