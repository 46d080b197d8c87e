"""AlexNet, convolutionalised: Caffe's edition (CaffeNet) and torchvision's.

Source: shelhamer/fcn.berkeleyvision.org voc-fcn-alexnet/net.py; Krizhevsky et al., 2012. For
torchvision's: pytorch/vision torchvision/models/alexnet.py; Krizhevsky, 2014 (arXiv 1404.5997).
"""

from typing import ClassVar

import flax.linen as nn

from fcn_jax.nets.trunks.ending import Ending
from fcn_jax.nn.feature_map import FeatureMap
from fcn_jax.nn.layers import LRN, Conv, Dropout, MaxPool


class AlexNet(nn.Module):
    """Five convolutions, three ceil-mode 3x3 pools, and the fully connected layers.

    As in CaffeNet, each pool comes before its normalisation.

    Maps: `conv1`, `pool1` (1/8), `conv2`, `pool2` (1/16), `conv3` … `conv5`, `pool5` (1/32), `fc6`,
    `fc7`.

    Attributes:
        width: factor on every number of channels, for narrow copies.
        dropout: rate after fc6 and fc7.
    """

    width: float = 1.0
    dropout: float = 0.5

    classifier: ClassVar[Ending] = Ending("fc8")
    ring: ClassVar[int] = 100  # conv1 does not pad: the papers' 100 in all
    # Of the five convolutions.
    channels: ClassVar[tuple[int, ...]] = (96, 256, 384, 384, 256)
    groups: ClassVar[tuple[int, ...]] = (1, 2, 1, 2, 2)
    padding: ClassVar[tuple[int, ...]] = (0, 2, 1, 1, 1)
    normalised: ClassVar[bool] = True  # after pool1 and pool2

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool) -> dict[str, FeatureMap]:
        """Raises ValueError where the image is too small for fc6 (without a ring, 195 px)."""
        maps: dict[str, FeatureMap] = {}  # conv1 is 1/4

        def conv(x: FeatureMap, name: str, features: int, kernel: int, **fields) -> FeatureMap:
            features = max(2 * round(features * self.width / 2), 2)  # two groups
            return Conv(features, kernel, relu=True, name=name, **fields)(x)

        layers = zip((11, 5, 3, 3, 3), self.channels, self.groups, self.padding, strict=True)
        for i, (kernel, features, groups, padding) in enumerate(layers, 1):
            fields = {"stride": 4 if i == 1 else 1, "padding": padding, "groups": groups}
            x = maps[f"conv{i}"] = conv(x, f"conv{i}", features, kernel, **fields)
            if i in (1, 2, 5):
                x = maps[f"pool{i}"] = MaxPool(3, 2, name=f"pool{i}")(x)  # 1/8, 1/16, 1/32
            if self.normalised and i in (1, 2):
                x = LRN(name=f"norm{i}")(x)
        for name, kernel in (("fc6", 6), ("fc7", 1)):
            x = conv(x, name, 4096, kernel)
            x = maps[name] = Dropout(self.dropout, name=name.replace("fc", "drop"))(x, train=train)
        return maps


class TorchvisionAlexNet(AlexNet):
    """torchvision's edition, for its weights: no normalisation, no groups, fewer channels.

    conv1 pads by 2, and the ring is smaller by 2, so maps and grids are those of `AlexNet`.
    Differs: torchvision's pools round down, ours up as in Caffe; at its 224 pixels both agree.
    """

    ring: ClassVar[int] = 98
    channels: ClassVar[tuple[int, ...]] = (64, 192, 384, 256, 256)
    groups: ClassVar[tuple[int, ...]] = (1, 1, 1, 1, 1)
    padding: ClassVar[tuple[int, ...]] = (2, 2, 1, 1, 1)
    normalised: ClassVar[bool] = False
