"""Pixels from the stored bytes of some rows: what `png` and `tiff` share.

They wrap these bytes in a small file of the same format, in memory, which Pillow decodes: colours,
bit depths, transparency and compression are Pillow's work.
"""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image

from fcn_jax.inference.folder import rgb_pixels

SizeAndStrips = tuple[tuple[int, int], Iterator[UInt8[np.ndarray, "r w 3"]]]
"""Rows and columns of an image, and its strips from the top down, RGB."""

STRIP_BYTES = 1 << 22  # of pixels, stored or as RGB; a strip has no more, or else one row


class NotInStrips(ValueError):
    """The file can be read, but not strip by strip; the message says why."""


def damaged(path: Path, what: str) -> ValueError:
    """The error to raise for a file whose content is not what its format demands."""
    return ValueError(f"{path}: the file is damaged or cut short: {what}. Copy it again.")


@contextlib.contextmanager
def open_small_file(small: bytes, path: Path) -> Iterator[Image.Image]:
    """Opens a small file made of `path`; raises ValueError where Pillow cannot decode it."""
    try:
        with Image.open(io.BytesIO(small)) as image:
            yield image
    except (OSError, SyntaxError) as error:
        raise damaged(path, str(error)) from error


def check_upright(small: bytes, path: Path) -> None:
    """Raises NotInStrips if the metadata in a small file made of `path` turn the image."""
    with open_small_file(small, path) as image:
        if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
            raise NotInStrips("an image that its metadata turn cannot be read strip by strip")


def decode_rgb(small: bytes, path: Path) -> UInt8[np.ndarray, "r w 3"]:
    """The pixels of a small file made of `path`, converted as `folder.read_rgb` does.

    Raises:
        ValueError: if the file is damaged, or its pixels have 32 bits.
    """
    with open_small_file(small, path) as image:
        image.load()
        return rgb_pixels(image, path)
