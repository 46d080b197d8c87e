"""The nets in PyTorch, as wkentaro/pytorch-fcn writes them.

The geometry is explicit (padding 100, ceil-mode pools, crop offsets); only the numbers of channels
are read from the weights. The upsampling kernels are dense and fixed, as in pytorch-fcn.

Source: wkentaro/pytorch-fcn torchfcn/models/fcn8s.py.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
import torch.nn.functional as F  # noqa: N812  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]

STAGES = (2, 2, 3, 3, 3)
INCEPTIONS = ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")


class FCN(nn.Module):
    """Makes layers whose sizes are those of the weights; a subclass connects them."""

    def __init__(self, weights: Mapping[str, np.ndarray]):
        super().__init__()
        self._weights = weights
        self.build()
        self.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})
        del self._weights

    def build(self) -> None:
        """Makes the layers, named as in the weights."""
        raise NotImplementedError

    def conv(self, name: str, stride: int = 1, padding: int = 0, groups: int = 1) -> nn.Conv2d:
        """A convolution with bias."""
        out, per_group, kernel, _ = self._weights[f"{name}.weight"].shape
        return nn.Conv2d(per_group * groups, out, kernel, stride, padding, groups=groups)

    def layer(self, name: str) -> Any:
        """A layer by its name."""
        return self.get_submodule(name)

    def convs(self, block: str, paddings: Mapping[str, int]) -> nn.ModuleDict:
        """The convolutions of a block, by name and padding."""
        return nn.ModuleDict(
            {name: self.conv(f"{block}.{name}", padding=p) for name, p in paddings.items()}
        )

    def up(self, name: str, factor: int) -> nn.ConvTranspose2d:
        """A fixed upsampling."""
        classes, _, kernel, _ = self._weights[f"{name}.weight"].shape
        layer = nn.ConvTranspose2d(classes, classes, kernel, factor, bias=False)
        return layer.requires_grad_(False)


class VGG16(FCN):
    """FCN-8s."""

    def build(self) -> None:
        """Makes the layers, named as in the weights."""
        for stage, convs in enumerate(STAGES, 1):
            for i in range(1, convs + 1):
                padding = 100 if stage == i == 1 else 1
                self.add_module(f"conv{stage}_{i}", self.conv(f"conv{stage}_{i}", padding=padding))
        for name in ("fc6", "fc7", "score_fr", "score_pool4", "score_pool3"):
            self.add_module(name, self.conv(name))
        self.upscore2 = self.up("upscore2", 2)
        self.upscore_pool4 = self.up("upscore_pool4", 2)
        self.upscore8 = self.up("upscore8", 8)

    def forward(self, x: Any) -> Any:
        """Scores (b, k, h, w) of images (b, 3, h, w)."""
        h, w = x.shape[2:]
        pools = []
        for stage, convs in enumerate(STAGES, 1):
            for i in range(1, convs + 1):
                x = F.relu(self.layer(f"conv{stage}_{i}")(x), inplace=True)
            x = F.max_pool2d(x, 2, 2, ceil_mode=True)
            pools.append(x)
        x = F.relu(self.layer("fc6")(x), inplace=True)
        x = F.relu(self.layer("fc7")(x), inplace=True)
        x = self.upscore2(self.layer("score_fr")(x))
        pool4 = self.layer("score_pool4")(pools[3])
        pool3 = self.layer("score_pool3")(pools[2])
        x = self.upscore_pool4(x + cropped(pool4, 5, *x.shape[2:]))
        x = self.upscore8(x + cropped(pool3, 9, *x.shape[2:]))
        return cropped(x, 31, h, w)


class SqueezeNet(FCN):
    """One stream: the deepest map, scored and upsampled by 16."""

    def build(self) -> None:
        """Makes the layers, named as in the weights."""
        self.conv1 = self.conv("conv1", 2, 100)
        paddings = {"squeeze1x1": 0, "expand1x1": 0, "expand3x3": 1}
        for i in range(2, 10):
            self.add_module(f"fire{i}", self.convs(f"fire{i}", paddings))
        self.score_fr, self.upscore = self.conv("score_fr"), self.up("upscore", 16)

    def forward(self, x: Any) -> Any:
        """Scores (b, k, h, w) of images (b, 3, h, w)."""
        h, w = x.shape[2:]
        x = pool3x3(F.relu(self.conv1(x), inplace=True))
        for i in range(2, 10):
            fire = self.layer(f"fire{i}")
            x = F.relu(fire["squeeze1x1"](x), inplace=True)
            x = torch.cat([fire["expand1x1"](x), fire["expand3x3"](x)], 1)
            x = F.relu(x, inplace=True)
            x = pool3x3(x) if i in (4, 8) else x
        return cropped(self.upscore(self.score_fr(x)), OFFSETS["squeezenet"], h, w)


class AlexNet(FCN):
    """FCN-32s on Caffe's AlexNet: pooling before normalisation, two groups."""

    def build(self) -> None:
        """Makes the layers, named as in the weights."""
        self.conv1 = self.conv("conv1", 4, 100)
        self.conv2 = self.conv("conv2", padding=2, groups=2)
        self.conv3 = self.conv("conv3", padding=1)
        self.conv4 = self.conv("conv4", padding=1, groups=2)
        self.conv5 = self.conv("conv5", padding=1, groups=2)
        self.fc6, self.fc7, self.score_fr = map(self.conv, ("fc6", "fc7", "score_fr"))
        self.upscore = self.up("upscore", 32)
        self.norm = nn.LocalResponseNorm(5, 1e-4, 0.75, 1.0)

    def forward(self, x: Any) -> Any:
        """Scores (b, k, h, w) of images (b, 3, h, w)."""
        h, w = x.shape[2:]
        x = self.norm(pool3x3(F.relu(self.conv1(x), inplace=True)))
        x = self.norm(pool3x3(F.relu(self.conv2(x), inplace=True)))
        for layer in (self.conv3, self.conv4, self.conv5):
            x = F.relu(layer(x), inplace=True)
        x = pool3x3(x)
        for layer in (self.fc6, self.fc7):
            x = F.relu(layer(x), inplace=True)
        return cropped(self.upscore(self.score_fr(x)), OFFSETS["alexnet"], h, w)


class GoogLeNet(FCN):
    """FCN-32s on GoogLeNet."""

    def build(self) -> None:
        """Makes the layers, named as in the weights."""
        self.conv1 = nn.ModuleDict({"7x7_s2": self.conv("conv1.7x7_s2", 2, 100)})
        self.conv2 = self.convs("conv2", {"3x3_reduce": 0, "3x3": 1})
        paddings = {"1x1": 0, "3x3_reduce": 0, "3x3": 1, "5x5_reduce": 0, "5x5": 2, "pool_proj": 0}
        for name in INCEPTIONS:
            self.add_module(f"inception_{name}", self.convs(f"inception_{name}", paddings))
        self.score_fr, self.upscore = self.conv("score_fr"), self.up("upscore", 32)
        self.norm = nn.LocalResponseNorm(5, 1e-4, 0.75, 1.0)

    def forward(self, x: Any) -> Any:
        """Scores (b, k, h, w) of images (b, 3, h, w)."""
        h, w = x.shape[2:]
        x = self.norm(pool3x3(F.relu(self.conv1["7x7_s2"](x), inplace=True)))
        for layer in self.conv2.values():
            x = F.relu(layer(x), inplace=True)
        x = pool3x3(self.norm(x))
        for name in INCEPTIONS:
            x = inception(self.layer(f"inception_{name}"), x)
            x = pool3x3(x) if name in ("3b", "4e") else x
        return cropped(self.upscore(self.score_fr(x)), OFFSETS["googlenet"], h, w)


def inception(layers: Any, x: Any) -> Any:
    """Four branches, concatenated along the channels."""
    three, five = F.relu(layers["3x3_reduce"](x)), F.relu(layers["5x5_reduce"](x))
    pooled = F.max_pool2d(x, 3, 1, 1)
    branches = layers["1x1"](x), layers["3x3"](three), layers["5x5"](five)
    return F.relu(torch.cat([*branches, layers["pool_proj"](pooled)], 1), inplace=True)


def pool3x3(x: Any) -> Any:
    return F.max_pool2d(x, 3, 2, ceil_mode=True)


def cropped(x: Any, offset: int, h: int, w: int) -> Any:
    return x[:, :, offset : offset + h, offset : offset + w]


NETS = {"vgg16": VGG16, "squeezenet": SqueezeNet, "alexnet": AlexNet, "googlenet": GoogLeNet}
OFFSETS = {"squeezenet": 98, "alexnet": 18, "googlenet": 98}
"""Crop offsets at a padding of 100."""
