"""From uint8 images to a net's input, on the device."""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """What a net's first layer expects: `(pixel - mean) / std`, pixels 0..255.

    Outside an image's true size the net itself puts zeros, which is the mean colour.

    Attributes:
        channels: order of the channels, "BGR" or "RGB".
        mean: per channel, in this order, 0..255.
        std: per channel, in this order.
    """

    channels: str
    mean: tuple[float, ...]
    std: tuple[float, ...] = (1.0, 1.0, 1.0)

    def __post_init__(self):
        if self.channels not in ("RGB", "BGR") or len(self.mean) != 3 or len(self.std) != 3:
            raise ValueError(
                "preprocessing needs channels 'RGB' or 'BGR', and a mean and a standard deviation "
                f"of each; found {self}. Correct it where it is made."
            )

    def __call__(
        self, images: UInt8[Array, "b h w 3"], sizes: Any = None
    ) -> Float[Array, "b h w 3"]:
        """Float32 input from uint8 RGB images; `sizes` change nothing, the net sees to them."""
        if self.channels == "BGR":
            images = images[..., ::-1]
        mean, std = (jnp.asarray(v, jnp.float32) for v in (self.mean, self.std))
        return (images.astype(jnp.float32) - mean) / std


CAFFE = Preprocessing(channels="BGR", mean=(104.00699, 116.66877, 122.67892))
"""What the reference nets take. Source: shelhamer/fcn.berkeleyvision.org voc_layers.py."""
