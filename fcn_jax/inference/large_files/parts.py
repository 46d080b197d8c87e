"""What PNG and TIFF files that are read by parts share: each part is a small file of its own."""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image

from fcn_jax.inference.folder import rgb_pixels

Blocks = tuple[tuple[int, int], Iterator[UInt8[np.ndarray, "r w 3"]]]
"""Rows and columns of an image, and its rows from the top down, some at a time, RGB."""


class WholeOnly(ValueError):
    """The file is of a kind that is not read by parts; the message says of which."""


def damaged(path: Path, what: str) -> ValueError:
    """The error to raise for a file whose content is not what its format says."""
    return ValueError(f"{path}: the file is damaged or cut short: {what}. Copy it again.")


@contextlib.contextmanager
def opened(part: bytes, path: Path) -> Iterator[Image.Image]:
    """Opens a part of the file `path`; raises ValueError where Pillow cannot make sense of it."""
    try:
        with Image.open(io.BytesIO(part)) as image:
            yield image
    except (OSError, SyntaxError) as error:
        raise damaged(path, str(error)) from error


def check_upright(part: bytes, path: Path) -> None:
    """Raises WholeOnly if the metadata in `part` say that the image is to be turned."""
    with opened(part, path) as image:
        if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
            raise WholeOnly("an image that its metadata turn upright is not read by strips")


def as_rgb(part: bytes, path: Path) -> UInt8[np.ndarray, "r w 3"]:
    """The pixels of a part of the file `path`, converted as `folder.read_rgb` does.

    Raises:
        ValueError: if the part is damaged, or its pixels are of 32 bits.
    """
    with opened(part, path) as image:
        image.load()
        return rgb_pixels(image, path)
