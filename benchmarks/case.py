"""The computation of all contestants: one net, one batch, one set of random weights."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

TRUNKS = ("vgg16", "squeezenet", "alexnet", "googlenet", "efficientnet_lite0")
CLASSES = 21
MOMENTUM = 0.99  # Source: TPAMI 2017, section 4.2, heavy learning
MEAN = np.array([104.00699, 116.66877, 122.67892], np.float32)
"""BGR. Source: shelhamer/fcn.berkeleyvision.org voc_layers.py."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """What one contestant computes, and where.

    Attributes:
        trunk: `vgg16` (FCN-8s), `alexnet`, `googlenet` (FCN-32s), `squeezenet` (one stream of
            stride 16) or `efficientnet_lite0` (skips of stride 16, 8 and 4).
        size: rows and columns of every image.
        batch: images.
        train: whether to run a train step instead of the forward pass.
        dtype: `fp32` or `bf16`, of the computation; the parameters of a train step are float32.
        options: of the contestant, such as `nhwc`.
        device: `cpu` or `gpu`.
        threads: number of processors to use.
        width: factor on the channels, for tests.
    """

    trunk: str = "vgg16"
    size: tuple[int, int] = (375, 500)
    batch: int = 1
    train: bool = False
    dtype: str = "fp32"
    options: tuple[str, ...] = ()
    device: str = "cpu"
    threads: int = 2
    width: float = 1.0

    @property
    def learning_rate(self) -> float:
        """Small enough for the loss of every net to fall, large enough to see the fall."""
        rows, columns = self.size
        if self.trunk == "efficientnet_lite0":  # its features are normalised
            return 2e-3 / (self.batch * rows * columns)
        return 1e-7 / (self.width * self.batch * rows * columns)

    def to_json(self) -> str:
        """For `from_json`, in another process."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Case":
        """The case that `to_json` wrote."""
        fields = json.loads(text)
        fields |= {name: tuple(fields[name]) for name in ("size", "options")}
        return cls(**fields)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """A contestant, ready to run.

    Attributes:
        run: starts one iteration; its output stays on the device.
        wait: returns when this output is computed.
        result: the scores in this output, or the loss before the update of a train step.
        device_peak: peak memory of the accelerator in bytes; None on the host.
        channels_first: whether the scores are (b, k, h, w).
    """

    run: Callable[[], Any]
    wait: Callable[[Any], None]
    result: Callable[[Any], np.ndarray]
    device_peak: Callable[[], int] | None = None
    channels_first: bool = False


def read(folder: Path) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Reads the files of `prepare`.

    Returns:
        Weights by PyTorch's names, float32 (out, in, rows, columns); images, float32 (b, h, w, 3),
        BGR minus the mean; labels, uint8 (b, h, w), 255 = ignored.
    """
    with safe_open(folder / "weights.safetensors", framework="numpy") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}
    images = np.load(folder / "images.npy", allow_pickle=False)[..., ::-1] - MEAN
    return weights, images, np.load(folder / "labels.npy", allow_pickle=False)
