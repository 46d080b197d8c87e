"""What all contestants compute: one net, one batch, one set of random weights."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

TRUNKS = ("vgg16", "squeezenet", "alexnet", "googlenet")
CLASSES = 21
MOMENTUM = 0.99  # Source: TPAMI section 4.2, the heavy learning
MEAN = np.array([104.00699, 116.66877, 122.67892], np.float32)
"""BGR. Source: shelhamer/fcn.berkeleyvision.org voc_layers.py."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """What one contestant computes, and where.

    Attributes:
        trunk: `vgg16` (FCN-8s), `alexnet`, `googlenet` (FCN-32s) or `squeezenet` (one stream of
            stride 16).
        size: rows and columns of every image.
        batch: images.
        train: an update of all parameters rather than the scores.
        dtype: `fp32` or `bf16`, of the computation; parameters of an update are float32.
        options: what else the contestant is told, such as `nhwc`.
        device: `cpu` or `gpu`.
        threads: processors that it may use.
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
        """Small enough that the first losses of every net fall, large enough that one sees it."""
        rows, columns = self.size
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
        run: dispatches one iteration; what it returns stays on the device.
        wait: returns when everything that led to `out` is done.
        result: scores, or the loss of a train step before its update.
        device_peak: bytes of the accelerator's memory used at most; None on the host.
        channels_first: whether the scores are (b, k, h, w).
    """

    run: Callable[[], Any]
    wait: Callable[[Any], None]
    result: Callable[[Any], np.ndarray]
    device_peak: Callable[[], int] | None = None
    channels_first: bool = False


def read(folder: Path) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """What `prepare` wrote.

    Returns:
        Weights by PyTorch's names, float32 (out, in, rows, columns); images, float32 (b, h, w, 3),
        BGR less the mean; labels, uint8 (b, h, w), 255 = ignored.
    """
    with safe_open(folder / "weights.safetensors", framework="numpy") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}
    images = np.load(folder / "images.npy", allow_pickle=False)[..., ::-1] - MEAN
    return weights, images, np.load(folder / "labels.npy", allow_pickle=False)
