"""VGG16, convolutionalised.

Source: shelhamer/fcn.berkeleyvision.org voc-fcn32s/net.py; Simonyan and Zisserman, 2015.
"""

from typing import ClassVar

import flax.linen as nn

from fcn_jax.feature_map import FeatureMap
from fcn_jax.layers import BatchNorm, Conv, Dropout, MaxPool, relu
from fcn_jax.trunks.ending import Ending

# Output channels of the convolutions before each of the five pools, at width 1.
STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class VGG16(nn.Module):
    """Thirteen 3x3 convolutions, five pools, and the fully connected layers as convolutions.

    Maps: `conv1_1` … `pool5` (stride 32), `fc6`, `fc7`; `pool3` is 1/8, `pool4` 1/16.

    Attributes:
        aligned: no padded ring: conv1_1 pads by 1 and fc6 by 3. About half the computation of
            the papers' geometry, and a different function near the borders of the image.
        width: factor on every number of channels, for narrow copies.
        batch_norm: normalise before each ReLU, for training from scratch.
        dropout: rate after fc6 and fc7.
    """

    aligned: bool = False
    width: float = 1.0
    batch_norm: bool = False
    dropout: float = 0.5

    classifier: ClassVar[Ending] = Ending("fc8")

    @property
    def ring(self) -> int:
        """Zero cells around the image: with conv1_1's own padding, the papers' 100."""
        return 0 if self.aligned else 99

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool) -> dict[str, FeatureMap]:
        """Raises ValueError where the image is too small for fc6 (without a ring, 193 px)."""
        maps: dict[str, FeatureMap] = {}

        def conv(name: str, features: int, kernel: int, padding: int) -> None:
            nonlocal x
            features = max(round(features * self.width), 1)
            x = Conv(features, kernel, padding=padding, relu=not self.batch_norm, name=name)(x)
            if self.batch_norm:
                x = relu(BatchNorm(name=f"{name}_bn")(x, train=train))
            maps[name] = x

        for stage, channels in enumerate(STAGES, 1):
            for i, features in enumerate(channels, 1):
                conv(f"conv{stage}_{i}", features, 3, 1)
            x = MaxPool(2, 2, name=f"pool{stage}")(x)  # 1 / 2**stage
            maps[f"pool{stage}"] = x
        for name, kernel, padding in (("fc6", 7, 3 if self.aligned else 0), ("fc7", 1, 0)):
            conv(name, 4096, kernel, padding)
            x = Dropout(self.dropout, name=name.replace("fc", "drop"))(x, train=train)
            maps[name] = x
        return maps
