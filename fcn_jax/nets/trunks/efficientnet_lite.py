"""EfficientNet-Lite 0 to 4: small, accurate classifiers without squeeze-and-excitation.

Source: tensorflow/tpu models/official/efficientnet/lite; Tan and Le, "EfficientNet", 2019. The same
nets in PyTorch: efficientnet-lite-pytorch 0.1.0, called the reference here.
"""

import math
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn

from fcn_jax.arithmetic import ceil_div
from fcn_jax.nets.trunks.ending import Ending
from fcn_jax.nn.activations import relu6
from fcn_jax.nn.feature_map import FeatureMap
from fcn_jax.nn.layers import BatchNorm, Conv
from fcn_jax.nn.savings import current


class Stage(NamedTuple):
    """Blocks of one width. Source: efficientnet_lite_builder.py, `_DEFAULT_BLOCKS_ARGS`."""

    repeats: int
    kernel: int
    stride: int  # of the first block
    expand: int  # channels of the depthwise convolution, over the input's
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
STEM, HEAD = 32, 1280  # channels of every version; source: `fix_head_stem`, the same file

# Factors on channels and on repeats, and the crop's rows and columns, of each version.
# Source: efficientnet_lite_builder.py, `efficientnet_lite_params`.
VERSIONS = ((1.0, 1.0, 224), (1.0, 1.1, 240), (1.1, 1.2, 260), (1.2, 1.4, 280), (1.4, 1.8, 300))


def scaled(channels: int, factor: float) -> int:
    """The multiple of 8 next to `channels * factor`, and not more than a tenth below it.

    Source: tensorflow/tpu models/official/efficientnet/efficientnet_model.py, `round_filters`.
    """
    wanted = channels * factor
    nearest = max(int(wanted + 4) // 8 * 8, 8)
    return nearest if nearest >= 0.9 * wanted else nearest + 8


class EfficientNetLite(nn.Module):
    """A stem, and 16 to 30 blocks around depthwise convolutions.

    Maps: `stem` and `stage1` (1/2), `stage2` (1/4), `stage3` (1/8), `stage4` and `stage5` (1/16),
    `stage6` and `stage7` (1/32). The classifier's last 1x1 convolution is not a part of the trunk.

    Padding. TensorFlow pads a strided layer by an amount that depends on whether the map has an odd
    or even number of cells, so that cell 0 would lie elsewhere in each image. Here the padding is
    fixed, as in the reference: the cells before the first are those of the version's own crop size
    (224 for Lite0). All images then have one grid, and cell 0 of Lite0's map of stride s lies at
    pixel s - 1.
    Differs: after the last cell the padding is always large enough for ceil(n / 2) cells, as in
    TensorFlow; the reference drops the last one of some odd maps. Both agree on the crop size, and
    for Lite0 on all multiples of 32. So an image may have any size, down to one pixel.

    Attributes:
        version: 0 to 4.
        drop_connect: share of images in which the last block is left out in a training step; it
            falls linearly to 0 at the first block. Needs the random stream `dropout`. Source:
            efficientnet_lite_builder.py.
        width: factor on the channels of every version's blocks, for narrow copies.
    """

    version: int = 0
    drop_connect: float = 0.2
    width: float = 1.0

    rematerialises: ClassVar[bool] = True  # keeps the inputs of the blocks

    def __post_init__(self):
        if self.version not in range(len(VERSIONS)):
            raise ValueError(
                f"EfficientNetLite: version must be 0 to {len(VERSIONS) - 1}, got {self.version!r}"
            )
        super().__post_init__()

    @property
    def crop(self) -> int:
        """Rows and columns of the image that the classifier was made for."""
        return VERSIONS[self.version][2]

    @property
    def classifier(self) -> Ending:
        """1280 channels, their mean over the crop, and a fully connected layer."""
        return Ending("fc", head=Head, window=ceil_div(self.crop, 32))

    @property
    def repeats(self) -> tuple[int, ...]:
        """Blocks of each stage; those of the first and the last are never scaled."""
        depth = VERSIONS[self.version][1]
        inner = (math.ceil(depth * stage.repeats) for stage in STAGES[1:-1])
        return STAGES[0].repeats, *inner, STAGES[-1].repeats

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool) -> dict[str, FeatureMap]:
        """The maps; images may be of any size."""
        width, _, side = VERSIONS[self.version]
        block = nn.remat(Block, static_argnums=(2,)) if current().rematerialise else Block
        geometry = {"kernel": 3, "stride": 2, "padding": _padding(3, side)}
        x = relu6(_normalised(x, "stem", STEM, train, **geometry))
        maps, number, side = {"stem": x}, 0, ceil_div(side, 2)
        for i, (stage, repeats) in enumerate(zip(STAGES, self.repeats, strict=True), 1):
            for stride in (stage.stride, *(1,) * (repeats - 1)):
                x = block(
                    features=scaled(stage.channels, width * self.width),
                    kernel=stage.kernel,
                    stride=stride,
                    padding=_padding(stage.kernel, side) if stride == 2 else stage.kernel // 2,
                    expand=stage.expand,
                    drop=self.drop_connect * number / sum(self.repeats),
                    name=f"block{number}",
                )(x, train)
                number, side = number + 1, ceil_div(side, stride)
            maps[f"stage{i}"] = x
        return maps


class Block(nn.Module):
    """A 1x1 convolution that widens, a depthwise one, a 1x1 one that narrows; linear at its end."""

    features: int
    kernel: int
    stride: int
    padding: int | tuple[int, int]
    expand: int
    drop: float

    @nn.compact
    def __call__(self, x: FeatureMap, train: bool) -> FeatureMap:
        """`features` channels; the input is added where it has the same shape."""
        skip, wide = x, x.channels * self.expand
        if self.expand > 1:
            x = relu6(_normalised(x, "expand", wide, train))
        geometry = {"kernel": self.kernel, "stride": self.stride, "padding": self.padding}
        x = relu6(_normalised(x, "depthwise", wide, train, groups=wide, **geometry))
        x = _normalised(x, "project", self.features, train)
        if self.stride == 1 and skip.channels == self.features:
            drop = nn.Dropout(self.drop, (1, 2, 3), deterministic=not train, name="drop")
            x = x.replace(values=drop(x.values) + skip.values)
        return x.replace(name=self.name or "")


class Head(nn.Module):
    """The classifier's last convolution."""

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool) -> FeatureMap:
        """1280 channels, on the same grid."""
        return relu6(_normalised(x, "conv", HEAD, train))


def _normalised(x: FeatureMap, name: str, features: int, train: bool, **more: Any) -> FeatureMap:
    """A convolution without bias, and its batch normalisation.

    Source: momentum and epsilon of efficientnet_lite_builder.py; TensorFlow's running variance is
    the unbiased one.
    """
    x = Conv(features, use_bias=False, name=name, **more)(x)
    return BatchNorm(0.99, 1e-3, unbiased=True, name=f"{name}_bn")(x, train=train)


def _padding(kernel: int, cells: int) -> tuple[int, int]:
    """Cells before and after, at stride 2: TensorFlow's before the first of `cells` cells."""
    low = max(2 * (ceil_div(cells, 2) - 1) + kernel - cells, 0) // 2
    return low, kernel - 1 - low
