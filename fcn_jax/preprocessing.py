"""From stored images to a net's input, on the device."""

import dataclasses
import math
import numbers
from collections.abc import Iterable, Mapping
from typing import Any

import jax.numpy as jnp
from flax.core import FrozenDict
from jaxtyping import Array, Float, UInt8, UInt16


def _can_scale(mean: Iterable[Any], std: Iterable[Any]) -> bool:
    """Whether all are finite numbers, and no divisor is 0 or negative."""
    finite = all(isinstance(v, numbers.Real) and math.isfinite(v) for v in (*mean, *std))
    return finite and all(divisor > 0 for divisor in std)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """The input of a net's first layer: `(pixel - mean) / std`, pixels 0..255.

    Outside an image's true size the net itself puts zeros, which is the mean colour.

    Attributes:
        channels: order of the channels: "BGR" or "RGB"; "HHA" for disparity, height and angle,
            whose stored order stays.
        mean: per channel, in this order, 0..255.
        std: per channel, in this order.
    """

    channels: str
    mean: tuple[float, ...]
    std: tuple[float, ...] = (1.0, 1.0, 1.0)

    def __post_init__(self):
        known = self.channels in ("RGB", "BGR", "HHA") and len(self.mean) == len(self.std) == 3
        if not known or not _can_scale(self.mean, self.std):
            raise ValueError(
                "preprocessing needs channels 'RGB', 'BGR' or 'HHA', and for each of them a finite "
                f"mean and a standard deviation above 0; found {self}. Correct it where it is made."
            )

    def __call__(
        self, images: UInt8[Array, "b h w 3"], sizes: Any = None
    ) -> Float[Array, "b h w 3"]:
        """Float32 input from uint8 RGB images; `sizes` are not used here, but by the net."""
        if self.channels == "BGR":
            images = images[..., ::-1]
        mean, std = (jnp.asarray(v, jnp.float32) for v in (self.mean, self.std))
        return (images.astype(jnp.float32) - mean) / std


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogDepth:
    """Depth for the reference's early fusion: `(ln(millimetres) - mean) / std`.

    Attributes:
        mean: mean of the logarithm over NYUDv2's training images.
        std: divisor; 1 in the reference, where depth then counts little beside colours in 0..255.

    Source: shelhamer/fcn.berkeleyvision.org nyud_layers.py.
    Differs: a missing depth (0) gives 0, the mean; the reference's logarithm of it is infinite.
    """

    mean: float = 7.844
    std: float = 1.0

    def __post_init__(self):
        if not _can_scale([self.mean], [self.std]):
            raise ValueError(
                f"preprocessing of depth needs a finite mean and a divisor above 0; found {self}. "
                "Correct it where it is made."
            )

    def __call__(
        self, images: UInt16[Array, "b h w 1"], sizes: Any = None
    ) -> Float[Array, "b h w 1"]:
        """Float32 input from uint16 millimetres, 0 = missing."""
        depth = images.astype(jnp.float32)
        logarithm = jnp.log(jnp.maximum(depth, 1))
        return jnp.where(depth > 0, (logarithm - self.mean) / self.std, 0)


@dataclasses.dataclass(frozen=True)
class ByInput:
    """The preprocessing of each input of a net that takes several.

    Attributes:
        inputs: a `Preprocessing` or `LogDepth` by the input's name.
    """

    inputs: Mapping[str, Any]

    def __post_init__(self):
        object.__setattr__(self, "inputs", FrozenDict(self.inputs))  # hashable

    def __call__(
        self, images: Mapping[str, Any], sizes: Any = None
    ) -> dict[str, Float[Array, "b h w _"]]:
        """Float32 inputs by name.

        Raises:
            ValueError: the images have other names than `inputs`.
        """
        if set(images) != set(self.inputs):
            raise ValueError(
                f"the net takes the inputs {', '.join(self.inputs)}; the data set gives "
                f"{', '.join(images)}. Choose the data set's `inputs` accordingly"
            )
        return {name: apply(images[name], sizes) for name, apply in self.inputs.items()}


AnyPreprocessing = Preprocessing | LogDepth | ByInput


def from_description(described: Mapping[str, Any]) -> AnyPreprocessing:
    """The preprocessing from its description in a run's `recipe.json`."""
    name = described["class"].rpartition(".")[2]  # with its module since version 0.2
    if name == "ByInput":
        return ByInput({k: from_description(v) for k, v in described["inputs"].items()})
    if name == "LogDepth":
        return LogDepth(mean=described["mean"], std=described["std"])
    mean, std = tuple(described["mean"]), tuple(described["std"])
    return Preprocessing(channels=described["channels"], mean=mean, std=std)


CAFFE = Preprocessing(channels="BGR", mean=(104.00699, 116.66877, 122.67892))
"""What the reference nets take. Source: shelhamer/fcn.berkeleyvision.org voc_layers.py."""

NYUD_COLOR = Preprocessing(channels="BGR", mean=(116.190, 97.203, 92.318))
NYUD_HHA = Preprocessing(channels="HHA", mean=(132.431, 94.076, 118.477))
"""Means over NYUDv2. Source: shelhamer/fcn.berkeleyvision.org nyud_layers.py."""

SIFT_FLOW = Preprocessing(channels="BGR", mean=(114.578, 115.294, 108.353))
"""Source: shelhamer/fcn.berkeleyvision.org siftflow_layers.py."""
