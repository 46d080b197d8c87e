"""A photograph as a user sends it: within limits, or a message that says what is wrong."""

import dataclasses
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from fcn_jax.data.images import ImageOptions
from fcn_jax.data.readers import image_size, read_image
from fcn_jax.inference.memory import any_size

MEGABYTE = 2**20
"""Bytes, as gradio counts them in its own messages."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """How large a photograph may be.

    Attributes:
        megabytes: of the file, see `MEGABYTE`, above 0.
        megapixels: of the image, in 1e6 pixels, above 0.

    Raises:
        ValueError: a number is not above 0.
    """

    megabytes: float | int = 25
    megapixels: float | int = 16

    def __post_init__(self) -> None:
        for name, found in dataclasses.asdict(self).items():
            if not 0 < found < float("inf"):
                raise ValueError(f"--max-{name}: expected a number above 0, found {found}")


def read_photograph(
    path: Path, name: str, limits: Limits, options: ImageOptions
) -> UInt8[np.ndarray, "h w 3"]:
    """Reads a photograph as `predict` does: upright, gray as RGB, colours as stored under alpha.

    Args:
        path: where the file lies.
        name: what its user calls it, for messages.
        limits: how large it may be.
        options: what the file does not say of its pixels.

    Returns:
        uint8 (h, w, 3), 0..255, RGB.

    Raises:
        ValueError: it is larger than the limits, is damaged, or is no image.
    """
    if (size := path.stat().st_size) > limits.megabytes * MEGABYTE:
        raise ValueError(
            f"{name}: the file has {size / MEGABYTE:.1f} MB, and at most {limits.megabytes:g} "
            "MB are taken. Save it smaller, or as a JPEG."
        )
    content = path.read_bytes()
    with any_size():
        rows, columns = image_size(content, name)
        if rows * columns > limits.megapixels * 1e6:
            raise ValueError(
                f"{name}: {columns}x{rows} pixels are {rows * columns / 1e6:.3g} megapixels, and "
                f"at most {limits.megapixels:g} are taken. Save it smaller."
            )
        return read_image(content, name, options=options)
