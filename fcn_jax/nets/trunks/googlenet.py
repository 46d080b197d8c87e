"""GoogLeNet with its last branch only, convolutionalised: Caffe's edition and torchvision's.

Source: Szegedy et al., 2015, in the edition of BVLC/caffe models/bvlc_googlenet/deploy.prototxt;
FCN papers, section 4.1: only the last loss's branch is kept, without the final average pool. For
torchvision's edition: pytorch/vision torchvision/models/googlenet.py.
"""

from typing import ClassVar

import flax.linen as nn

from fcn_jax.nets.trunks.ending import Ending
from fcn_jax.nn.feature_map import FeatureMap
from fcn_jax.nn.layers import LRN, Conv, Dropout, MaxPool, concat
from fcn_jax.nn.savings import current

# Per block: 1x1 | 3x3 reduce, 3x3 | 5x5 reduce, 5x5 | pool projection. A pool follows 3b and 4e.
BLOCKS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


class Convs(nn.Module):
    """Consecutive convolutions; Caffe calls them `block/layer`.

    Attributes:
        layers: name, channels, kernel and stride of each.
    """

    layers: tuple[tuple[str, int, int, int], ...]

    @nn.compact
    def __call__(self, x: FeatureMap) -> FeatureMap:
        """The result of the last convolution."""
        for name, features, kernel, stride in self.layers:
            conv = Conv(features, kernel, stride, padding=kernel // 2, relu=True, name=name)
            x = conv(x)
        return x


class Inception(nn.Module):
    """Four parallel branches on one grid; the layers have Caffe's names.

    Attributes:
        widths: channels, in the order of `BLOCKS`.
        large: kernel of the branch called 5x5.
    """

    widths: tuple[int, ...]
    large: int = 5

    @nn.compact
    def __call__(self, x: FeatureMap) -> FeatureMap:
        """The branches' channels, concatenated."""

        def conv(x: FeatureMap, name: str, features: int, kernel: int = 1) -> FeatureMap:
            return Conv(features, kernel, padding=kernel // 2, relu=True, name=name)(x)

        one, reduce3, three, reduce5, five, projection = self.widths
        pooled = MaxPool(3, 1, 1, name="pool")(x)
        branches = [
            conv(x, "1x1", one),
            conv(conv(x, "3x3_reduce", reduce3), "3x3", three, 3),
            conv(conv(x, "5x5_reduce", reduce5), "5x5", five, self.large),
            conv(pooled, "pool_proj", projection),
        ]
        return concat(branches).replace(name=self.name or "")


class GoogLeNet(nn.Module):
    """Nine inception modules between ceil-mode 3x3 pools.

    Maps: `conv1` (1/2), `pool1`, `conv2` (1/4), `pool2`, `inception_3b` (1/8), `pool3` …
    `inception_4e` (1/16), `pool4` … `inception_5b` (1/32).

    The papers state neither padding nor upsampling kernel. With conv1's own padding of 3, a kernel
    of 63 aligns the scores with the pixels (with 64 they lie between them), and the crop offset is
    the padding less 2. A padding of 35 or more covers every image size; ours is 100 in all, as in
    the papers' other nets.

    Attributes:
        aligned: use the smallest ring that covers every image size.
        width: factor on every number of channels, for narrow copies.
        dropout: rate after the last module; the papers' nets keep it, the place is BVLC's.
    """

    aligned: bool = False
    width: float = 1.0
    dropout: float = 0.4

    classifier: ClassVar[Ending] = Ending("loss3_classifier", window=7)
    follows_borders: ClassVar[bool] = True
    rematerialises: ClassVar[bool] = True  # keeps the inputs of the inception modules
    normalised: ClassVar[bool] = True  # after pool1 and conv2
    large: ClassVar[int] = 5  # kernel of the branch called 5x5
    pool4: ClassVar[int] = 3  # kernel of pool4

    @property
    def ring(self) -> int:
        """Zero cells around the image, in addition to the 3 with which conv1 pads."""
        return 32 if self.aligned else 97

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool) -> dict[str, FeatureMap]:
        """Raises ValueError where the image is too small."""
        maps: dict[str, FeatureMap] = {}

        def scaled(features: int) -> int:
            return max(round(features * self.width), 1)

        stem = ("7x7_s2", scaled(64), 7, 2)
        x = maps["conv1"] = Convs((stem,), name="conv1")(x)  # 1/2
        x = maps["pool1"] = MaxPool(3, 2, name="pool1")(x)  # 1/4
        x = LRN(name="norm1")(x) if self.normalised else x
        layers = ("3x3_reduce", scaled(64), 1, 1), ("3x3", scaled(192), 3, 1)
        x = maps["conv2"] = Convs(layers, name="conv2")(x)
        x = LRN(name="norm2")(x) if self.normalised else x
        x = maps["pool2"] = MaxPool(3, 2, name="pool2")(x)  # 1/8
        inception = nn.remat(Inception) if current().rematerialise else Inception
        for block, widths in BLOCKS.items():
            name = f"inception_{block}"
            x = maps[name] = inception(tuple(map(scaled, widths)), self.large, name=name)(x)
            if block in ("3b", "4e"):
                pool, kernel = ("pool3", 3) if block == "3b" else ("pool4", self.pool4)
                x = maps[pool] = MaxPool(kernel, 2, name=pool)(x)  # 1/16, 1/32
        maps["inception_5b"] = Dropout(self.dropout, name="drop5b")(x, train=train)
        return maps


class TorchvisionGoogLeNet(GoogLeNet):
    """torchvision's edition, for its weights: 3x3 kernels where Caffe's are 5x5, 2x2 in pool4.

    Its batch normalisation, folded into the convolutions, replaces the local response
    normalisation. The layers keep Caffe's names, also `5x5`.
    """

    normalised: ClassVar[bool] = False
    large: ClassVar[int] = 3
    pool4: ClassVar[int] = 2
