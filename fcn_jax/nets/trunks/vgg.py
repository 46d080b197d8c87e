"""VGG16, convolutionalised.

Source: shelhamer/fcn.berkeleyvision.org voc-fcn32s/net.py; Simonyan and Zisserman, 2015.
"""

from typing import ClassVar

import flax.linen as nn

from fcn_jax.nets.trunks.ending import Ending
from fcn_jax.nn.feature_map import FeatureMap
from fcn_jax.nn.layers import BatchNorm, Conv, Dropout, MaxPool, relu
from fcn_jax.nn.savings import current

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
        first: name of the first convolution. Give it another name where it takes other inputs than
            colour, so that the classifier's weights are not loaded into it (`conv1_1_bgrd` of the
            reference).
        last: the deepest map, for nets that score an earlier one (`pool5`, `pool4`, `pool3`: TPAMI
            2017, table 3); the layers after it are left out.
    """

    aligned: bool = False
    width: float = 1.0
    batch_norm: bool = False
    dropout: float = 0.5
    first: str = "conv1_1"
    last: str = "fc7"

    classifier: ClassVar[Ending] = Ending("fc8")
    follows_borders: ClassVar[bool] = True
    rematerialises: ClassVar[bool] = True  # keeps the pools

    @property
    def ring(self) -> int:
        """Zero cells around the image: with conv1_1's own padding, the papers' 100."""
        return 0 if self.aligned else 99

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool) -> dict[str, FeatureMap]:
        """Raises ValueError where the image is too small for fc6 (without a ring, 193 px)."""
        maps: dict[str, FeatureMap] = {}
        run_stage = VGG16._stage
        if current().rematerialise:
            run_stage = nn.remat(run_stage, static_argnums=(2, 3))
        for stage in range(1, 6):
            maps |= run_stage(self, x, stage, train)
            if self.last in maps:
                return maps
            x = maps[f"pool{stage}"]  # 1/2, 1/4, 1/8, 1/16, 1/32
        for name, kernel, padding in (("fc6", 7, 3 if self.aligned else 0), ("fc7", 1, 0)):
            x = self._conv(x, name, 4096, kernel, padding, train)
            x = maps[name] = Dropout(self.dropout, name=name.replace("fc", "drop"))(x, train=train)
            if self.last == name:
                return maps
        raise ValueError(
            f"VGG16 has no layer {self.last!r} to end at; it has {', '.join(maps)}. Correct `last`."
        )

    def _stage(self, x: FeatureMap, stage: int, train: bool) -> dict[str, FeatureMap]:
        """The maps of a stage: its convolutions and its pool, up to `last`."""
        maps: dict[str, FeatureMap] = {}
        for i, features in enumerate(STAGES[stage - 1], 1):
            name = self.first if (stage, i) == (1, 1) else f"conv{stage}_{i}"
            x = maps[name] = self._conv(x, name, features, 3, 1, train)
            if name == self.last:
                return maps
        maps[f"pool{stage}"] = MaxPool(2, 2, name=f"pool{stage}")(x)
        return maps

    def _conv(
        self, x: FeatureMap, name: str, features: int, kernel: int, padding: int, train: bool
    ) -> FeatureMap:
        """A convolution and its ReLU, with batch norm between them where asked for."""
        features = max(round(features * self.width), 1)
        x = Conv(features, kernel, padding=padding, relu=not self.batch_norm, name=name)(x)
        return relu(BatchNorm(name=f"{name}_bn")(x, train=train)) if self.batch_norm else x
