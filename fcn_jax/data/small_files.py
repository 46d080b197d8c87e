"""Small files in memory, made of the stored bytes of some rows: what `png` and `tiff` share.

Pillow decodes them: colours, bit depths, transparency and compression are Pillow's work.
"""

import io

from PIL import Image

from fcn_jax.data.errors import DataError
from fcn_jax.data.images import Pixels, orientation, stored_pixels


class NotInStrips(ValueError):
    """The file can be read, but not strip by strip; the message says of what kind it is."""


def damaged(where: str, what: str) -> DataError:
    """The error to raise for a file whose content is not what its format demands."""
    return DataError(f"{where}: the file is damaged or cut short: {what}. Copy it again.")


def open_small_file(small: bytes) -> Image.Image:
    """Opens a small file."""
    return Image.open(io.BytesIO(small))


def check_upright(small: bytes) -> None:
    """Raises NotInStrips if the metadata in a small file turn the image."""
    with open_small_file(small) as image:
        if orientation(image) != 1:
            raise NotInStrips("an image that its metadata turn")


def small_pixels(small: bytes, where: str) -> Pixels:
    """The stored pixels of a small file made of the file `where`.

    Raises:
      DataError: Its pixels have 32 bits.
    """
    with open_small_file(small) as image:
        return stored_pixels(image, io.BytesIO(small), where)
