"""AlexNet in Caffe's edition (CaffeNet: each pool before its normalisation), convolutionalised.

Source: shelhamer/fcn.berkeleyvision.org voc-fcn-alexnet/net.py; Krizhevsky et al., 2012.
"""

from typing import ClassVar

import flax.linen as nn

from fcn_jax.feature_map import FeatureMap
from fcn_jax.layers import LRN, Conv, Dropout, MaxPool
from fcn_jax.trunks.ending import Ending


class AlexNet(nn.Module):
    """Five convolutions, three ceil-mode 3x3 pools, and the fully connected layers.

    Maps: `conv1`, `pool1` (1/8), `conv2`, `pool2` (1/16), `conv3` … `conv5`, `pool5` (1/32), `fc6`,
    `fc7`.

    Attributes:
        width: factor on every number of channels, for narrow copies.
        dropout: rate after fc6 and fc7.
    """

    width: float = 1.0
    dropout: float = 0.5

    classifier: ClassVar[Ending] = Ending("fc8")
    ring: ClassVar[int] = 100  # conv1 itself does not pad

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool) -> dict[str, FeatureMap]:
        """Raises ValueError where the image is too small for fc6 (without a ring, 195 px)."""

        def conv(x: FeatureMap, name: str, features: int, kernel: int, **fields) -> FeatureMap:
            features = max(2 * round(features * self.width / 2), 2)  # two groups
            return Conv(features, kernel, relu=True, name=name, **fields)(x)

        maps = {"conv1": conv(x, "conv1", 96, 11, stride=4)}  # 1/4
        x = maps["pool1"] = MaxPool(3, 2, name="pool1")(maps["conv1"])  # 1/8
        x = maps["conv2"] = conv(LRN(name="norm1")(x), "conv2", 256, 5, padding=2, groups=2)
        x = maps["pool2"] = MaxPool(3, 2, name="pool2")(x)  # 1/16
        x = maps["conv3"] = conv(LRN(name="norm2")(x), "conv3", 384, 3, padding=1)
        x = maps["conv4"] = conv(x, "conv4", 384, 3, padding=1, groups=2)
        x = maps["conv5"] = conv(x, "conv5", 256, 3, padding=1, groups=2)
        x = maps["pool5"] = MaxPool(3, 2, name="pool5")(x)  # 1/32
        for name, kernel in (("fc6", 6), ("fc7", 1)):
            x = conv(x, name, 4096, kernel)
            x = maps[name] = Dropout(self.dropout, name=name.replace("fc", "drop"))(x, train=train)
        return maps
