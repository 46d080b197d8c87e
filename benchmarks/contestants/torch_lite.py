"""An FCN on EfficientNet-Lite0 in PyTorch; the numbers of channels are read from the weights.

Source: efficientnet-lite-pytorch 0.1.0, `model.py`; padding and upsampling are those of fcn_jax.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
import torch.nn.functional as F  # noqa: N812  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]

BLOCKS = 16
STRIDED = ("stem", "block1.depthwise", "block3.depthwise", "block5.depthwise", "block11.depthwise")
SKIPS = {10: "score_stage5", 4: "score_stage3", 2: "score_stage2"}
"""The score layers of the blocks that are scored too, deepest first."""


class FCN(nn.Module):
    """Scores at strides 32, 16, 8 and 4; layers are named as in the weights."""

    def __init__(self, weights: Mapping[str, np.ndarray]):
        super().__init__()
        for name, kernel in weights.items():
            layer = name.removesuffix(".weight")
            if kernel.ndim == 4:
                bias = f"{layer}.bias" in weights
                self._add(layer, convolution(kernel, layer in STRIDED, bias))
            elif f"{layer}.running_mean" in weights:
                self._add(layer, nn.BatchNorm2d(len(kernel), eps=1e-3, momentum=0.01))
        state = {name: torch.tensor(array) for name, array in weights.items()}
        wrong = self.load_state_dict(state, strict=False)
        assert not wrong.unexpected_keys
        assert all(name.endswith("num_batches_tracked") for name in wrong.missing_keys)

    def _add(self, name: str, layer: nn.Module) -> None:
        block, _, rest = name.partition(".")
        if rest and not hasattr(self, block):
            self.add_module(block, nn.Module())
        (getattr(self, block) if rest else self).add_module(rest or block, layer)

    def forward(self, x: Any) -> Any:
        """Scores (b, k, h, w) of images (b, 3, h, w)."""
        h, w = x.shape[2:]
        x, maps = F.relu6(normalised(self, "stem", x), inplace=True), {}
        for i in range(BLOCKS):
            block, skip = self.get_submodule(f"block{i}"), x
            if hasattr(block, "expand"):
                x = F.relu6(normalised(block, "expand", x), inplace=True)
            x = F.relu6(normalised(block, "depthwise", x), inplace=True)
            x = normalised(block, "project", x)
            maps[i] = x = x + skip if x.shape == skip.shape else x
        x = self.get_submodule("score_fr")(x)
        for i, name in SKIPS.items():
            skip = self.get_submodule(name)(maps[i])
            x = upsampled(x, 2)[:, :, : skip.shape[2], : skip.shape[3]] + skip
        return upsampled(x, 4)[:, :, :h, :w]


def convolution(kernel: np.ndarray, strided: bool, bias: bool) -> nn.Module:
    """A convolution of this kernel; a strided one pads as TensorFlow at even sizes."""
    out, per_group, k, _ = kernel.shape
    groups = out if per_group == 1 else 1
    stride, padding = (2, 0) if strided else (1, k // 2)
    layer = nn.Conv2d(per_group * groups, out, k, stride, padding, groups=groups, bias=bias)
    return layer


def normalised(block: Any, name: str, x: Any) -> Any:
    """A convolution and its batch norm."""
    layer = block.get_submodule(name)
    if layer.stride[0] == 2:
        low, high = (layer.kernel_size[0] - 2) // 2, layer.kernel_size[0] // 2 + 1
        x = F.pad(x, (low, high, low, high))
    return block.get_submodule(f"{name}_bn")(layer(x))


def upsampled(x: Any, factor: int) -> Any:
    """Linear between the cells; beyond the outermost, their values."""
    # Not F.pad's "replicate": in channels_last, torch.compile 2.14 fails at its gradient.
    x = torch.cat([x[:, :, :1], x, x[:, :, -1:]], 2)
    x = torch.cat([x[..., :1], x, x[..., -1:]], 3)
    size = [(n - 1) * factor + 1 for n in x.shape[2:]]
    return F.interpolate(x, size, mode="bilinear", align_corners=True)[..., 1:-1, 1:-1]
