"""VGG16, convolutionalised.

Source: shelhamer/fcn.berkeleyvision.org voc-fcn32s/net.py; Simonyan and Zisserman, 2015.
"""

from collections.abc import Iterator
from typing import ClassVar, NamedTuple

import flax.linen as nn

from fcn_jax.nets.trunks.ending import Ending
from fcn_jax.nn.feature_map import FeatureMap
from fcn_jax.nn.layers import BatchNorm, Conv, Dropout, MaxPool, relu
from fcn_jax.nn.savings import current

# Output channels of the convolutions before each of the five pools, at width 1.
STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class Layer(NamedTuple):
    """Name, channels, kernel and padding of a convolution; those of a pool are 0."""

    name: str
    features: int
    kernel: int
    padding: int


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
    rematerialises: ClassVar[bool] = True  # keeps the pools

    @property
    def ring(self) -> int:
        """Zero cells around the image: with conv1_1's own padding, the papers' 100."""
        return 0 if self.aligned else 99

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool) -> dict[str, FeatureMap]:
        """Raises ValueError where the image is too small for fc6 (without a ring, 193 px)."""

        def run(trunk: "VGG16", x: FeatureMap, layers: list[Layer]) -> dict[str, FeatureMap]:
            return trunk._run(x, layers, train)

        maps: dict[str, FeatureMap] = {}
        for layers in self._stages():
            again = current().rematerialise and layers[-1].kernel == 0
            stage = nn.remat(run, static_argnums=(2,)) if again else run
            maps |= stage(self, x, layers)
            x = maps[next(reversed(maps))]
        return maps

    def _run(self, x: FeatureMap, layers: list[Layer], train: bool) -> dict[str, FeatureMap]:
        """The maps of some layers, one after the other."""
        maps: dict[str, FeatureMap] = {}
        for name, features, kernel, padding in layers:
            if not kernel:
                x = MaxPool(2, 2, name=name)(x)  # 1/2, 1/4, 1/8, 1/16, 1/32
            else:
                relus = not self.batch_norm
                x = Conv(features, kernel, padding=padding, relu=relus, name=name)(x)
                if self.batch_norm:
                    x = relu(BatchNorm(name=f"{name}_bn")(x, train=train))
            if name.startswith("fc"):
                x = Dropout(self.dropout, name=name.replace("fc", "drop"))(x, train=train)
            maps[name] = x
        return maps

    def _stages(self) -> Iterator[list[Layer]]:
        """The layers up to `last`: five times convolutions and a pool, then fc6 and fc7."""

        def scaled(features: int) -> int:
            return max(round(features * self.width), 1)

        stages = []
        for stage, channels in enumerate(STAGES, 1):
            names = [f"conv{stage}_{i}" for i in range(1, len(channels) + 1)]
            if stage == 1:
                names[0] = self.first
            convs = [Layer(n, scaled(c), 3, 1) for n, c in zip(names, channels, strict=True)]
            stages.append([*convs, Layer(f"pool{stage}", 0, 0, 0)])
        fc6 = Layer("fc6", scaled(4096), 7, 3 if self.aligned else 0)
        stages.append([fc6, Layer("fc7", scaled(4096), 1, 0)])
        for stage in stages:
            names = [layer.name for layer in stage]
            if self.last in names:
                yield stage[: names.index(self.last) + 1]
                return
            yield stage
        names = ", ".join(layer.name for stage in stages for layer in stage)
        raise ValueError(f"VGG16 has no layer {self.last!r} to end at; it has {names}")
