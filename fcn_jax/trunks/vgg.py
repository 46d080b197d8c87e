"""VGG16, convolutionalised.

Source: shelhamer/fcn.berkeleyvision.org voc-fcn32s/net.py; Simonyan and Zisserman, 2015.
"""

from collections.abc import Iterator
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
        first: name of the first convolution; another one where it takes other inputs than colour,
            so that it is not taken for the classifier's (`conv1_1_bgrd` of the reference).
        last: the deepest map, for nets that score an earlier one (`pool5`, `pool4`, `pool3`: TPAMI
            2017, table 3); what comes after it is not there.
    """

    aligned: bool = False
    width: float = 1.0
    batch_norm: bool = False
    dropout: float = 0.5
    first: str = "conv1_1"
    last: str = "fc7"

    classifier: ClassVar[Ending] = Ending("fc8")
    follows_borders: ClassVar[bool] = True

    @property
    def ring(self) -> int:
        """Zero cells around the image: with conv1_1's own padding, the papers' 100."""
        return 0 if self.aligned else 99

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool) -> dict[str, FeatureMap]:
        """Raises ValueError where the image is too small for fc6 (without a ring, 193 px)."""
        maps: dict[str, FeatureMap] = {}
        for name, features, kernel, padding in self._layers():
            if name.startswith("pool"):
                x = MaxPool(2, 2, name=name)(x)  # 1/2, 1/4, 1/8, 1/16, 1/32
            else:
                relus = not self.batch_norm
                x = Conv(features, kernel, padding=padding, relu=relus, name=name)(x)
                if self.batch_norm:
                    x = relu(BatchNorm(name=f"{name}_bn")(x, train=train))
            if name.startswith("fc"):
                x = Dropout(self.dropout, name=name.replace("fc", "drop"))(x, train=train)
            maps[name] = x
            if name == self.last:
                return maps
        raise ValueError(f"VGG16 has no layer {self.last!r} to end at; it has {', '.join(maps)}")

    def _layers(self) -> Iterator[tuple[str, int, int, int]]:
        """Name, channels, kernel and padding of each convolution; pools have none of these."""

        def scaled(features: int) -> int:
            return max(round(features * self.width), 1)

        for stage, channels in enumerate(STAGES, 1):
            for i, features in enumerate(channels, 1):
                name = self.first if stage == i == 1 else f"conv{stage}_{i}"
                yield name, scaled(features), 3, 1
            yield f"pool{stage}", 0, 0, 0
        yield "fc6", scaled(4096), 7, 3 if self.aligned else 0
        yield "fc7", scaled(4096), 1, 0
