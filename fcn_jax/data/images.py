"""From the pixels that a file stores to RGB: one rule for training, evaluation and prediction.

`fcn_jax.data.readers.read_image` is the reader. docs/images.md has the rule as a table.
"""

from __future__ import annotations

import dataclasses
import io
import struct
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image

from fcn_jax.data.errors import DataError

# From the stored pixels to the upright ones, by the orientation tag. Source: EXIF 2.32, tag 274.
_TURNS = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}
_COLOURS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")  # modes of 8 bits
OpenFile = io.BytesIO | io.BufferedReader
_USED = 8  # images of 16 bits that use less than one part in so many are refused


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """What an image file does not say of its pixels.

    Attributes:
      max_value: The stored number that is white in images of 16 bits, 1 to 65535. None: 65535, and
        images that use less than an eighth of that are refused.
      bands: Which bands of the file are red, green and blue, counted from 1; or the one that is
        gray. (): the first three, and images with more are refused.

    Raises:
      DataError: A number is out of range.
    """

    max_value: int | None = None
    bands: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.max_value is not None and not 1 <= self.max_value <= 65535:
            raise DataError(f"max_value: expected 1 to 65535, found {self.max_value}.")
        if len(self.bands) not in (0, 1, 3) or min(self.bands, default=1) < 1:
            raise DataError(f"bands: expected one or three numbers from 1 on, found {self.bands}.")


AS_STORED = ImageOptions()


class Pixels(NamedTuple):
    """Pixels as a file stores them.

    Attributes:
      values: uint8 or uint16 rows, columns, bands: gray, RGB, or all bands of the file.
      alpha: The band that is alpha, from 0; None if none is.
      clear: bool rows, columns: the pixels of a colour that the file declares transparent.
      white: The number that is white; unused in uint8.
      inverted: Whether 0 is white instead.
    """

    values: np.ndarray
    alpha: int | None = None
    clear: np.ndarray | None = None
    white: int = 65535
    inverted: bool = False


def parse_bands(text: str) -> tuple[int, ...]:
    """The bands that the option `--bands 1,2,3` names.

    Raises:
      DataError: The text is something else.
    """
    parts = text.split(",") if text else []
    if not all(part.strip().isdecimal() for part in parts):
        raise DataError(f"--bands: expected one or three numbers, such as 4,3,2; found {text!r}.")
    return ImageOptions(bands=tuple(map(int, parts))).bands


def stored_pixels(image: Image.Image, file: OpenFile, where: str) -> Pixels:
    """The pixels of an open image, as they lie in its file.

    Args:
      image: What `PIL.Image.open(file)` gave, not decoded yet.
      file: The same file, which may be read again.
      where: Its name in messages.

    Raises:
      DataError: The pixels are neither gray nor colours of 8 or 16 bits.
    """
    tiles: Any = getattr(image, "tile", None) or [("", None, 0, "")]
    codec, _, offset, raw = tiles[0]
    clear = image.info.get("transparency")
    if codec == "zip" and str(raw).endswith(";16B") and image.mode != "I;16":
        values = _sixteen_bits(image, str(raw), file)
        alpha = {2: 1, 4: 3}.get(values.shape[-1])
        same = None if clear is None else (values == np.asarray(clear, np.uint16)).all(-1)
        return Pixels(values, alpha, same)
    if codec == "ppm" and image.mode == "RGB" and raw[1] > 255:
        file.seek(offset)
        size = image.height, image.width, 3
        values = np.frombuffer(file.read(2 * image.height * image.width * 3), ">u2").reshape(size)
        return Pixels(values.astype(np.uint16), white=raw[1])
    if raw in ("L;2", "L;4") and clear is not None:  # Pillow stretches the pixels, not this number
        image.info["transparency"] = clear * (85 if raw == "L;2" else 17)
    image.load()
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        values = np.asarray(image).astype(np.uint16)[..., None]
        white = 4095 if "I;12" in str(raw) else 65535
        return Pixels(values, None, None if clear is None else values[..., 0] == clear, white)
    if image.mode not in _COLOURS:
        raise DataError(
            f"{where}: expected pixels of 8 or 16 bits, gray or colours, found Pillow mode "
            f"{image.mode!r}. Scale the numbers to 0..255 and save the image again."
        )
    if image.has_transparency_data:
        alpha = None if _lacks_alpha(image, file) else 3
        return Pixels(np.asarray(image.convert("RGBA")), alpha)
    return Pixels(np.asarray(image if image.mode == "RGB" else image.convert("RGB")))


def _sixteen_bits(image: Image.Image, raw: str, file: OpenFile) -> np.ndarray:
    """The colours of a PNG of 16 bits, uint16 (h, w, 2 to 4), of which Pillow keeps the high bytes.

    Gray and alpha are decoded as four bytes a pixel; other colours twice, the second time as if
    their low bytes were the high ones.
    """
    file.seek(0)
    with Image.open(file) as again:
        if raw == "LA;16B":
            again._mode, raw = "RGBA", "RGBA"
            again.tile = [tile._replace(args=raw) for tile in again.tile]
            high, low = np.asarray(again)[..., ::2], np.asarray(again)[..., 1::2]
        else:
            again.tile = [tile._replace(args=raw[:-1] + "L") for tile in again.tile]
            high, low = np.asarray(image), np.asarray(again)
    return high.astype(np.uint16) << 8 | low


def _lacks_alpha(image: Image.Image, file: OpenFile) -> bool:
    """Whether what Pillow takes for alpha is a fourth band: a JPEG 2000 names its alpha."""
    if image.format != "JPEG2000":
        return False
    file.seek(0)
    return b"cdef" not in file.read(4096)


def as_rgb(
    pixels: Pixels, options: ImageOptions, where: str, largest: int | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """Stored pixels as RGB, 0 to 255.

    Args:
      pixels: The stored pixels, or some rows of them.
      options: What the file does not say.
      where: Its name in messages.
      largest: The largest number of the whole image, where `pixels` are some rows (see `largest`).

    Raises:
      DataError: The file leaves open which bands are colours, or which number is white.
    """
    values = _chosen(pixels, options, where)
    if values.dtype == np.uint16:
        largest = int(values.max(initial=0)) if largest is None else largest
        white = _white(largest, pixels.white, options, where)
        values = np.rint(np.arange(white + 1) * (255 / white)).astype(np.uint8)[values]
    values = ~values if pixels.inverted else values
    return values if values.shape[-1] == 3 else np.repeat(values, 3, axis=-1)


def largest(pixels: Pixels, options: ImageOptions, where: str) -> int:
    """The largest stored number of the bands that become colours."""
    return int(_chosen(pixels, options, where).max(initial=0))


def hidden(pixels: Pixels) -> np.ndarray | None:
    """Bool (h, w): where alpha is 0; None where the file declares no alpha."""
    return pixels.clear if pixels.alpha is None else pixels.values[..., pixels.alpha] == 0


def _chosen(pixels: Pixels, options: ImageOptions, where: str) -> np.ndarray:
    """The bands that become colours, (h, w, 1 or 3)."""
    count, alpha = pixels.values.shape[-1], pixels.alpha
    if options.bands:
        names = ",".join(map(str, options.bands))
        if count - (alpha is not None) == 1 and max(options.bands) <= 3:  # gray: all three alike
            return pixels.values[..., :1]
        if max(options.bands) > count:
            raise DataError(f"{where}: has {count} bands, and not those of --bands {names}.")
        return pixels.values[..., [band - 1 for band in options.bands]]
    colours = [band for band in range(count) if band != alpha]
    if len(colours) not in (1, 3):
        remedy = "1" if len(colours) == 2 else "1,2,3"
        beside = "" if alpha is None else f" beside alpha (band {alpha + 1})"
        raise DataError(
            f"{where}: has {len(colours)} bands{beside}, and does not say which are red, green and "
            f"blue. Choose them: --bands {remedy}"
        )
    return pixels.values if len(colours) == count else pixels.values[..., colours]


def _white(largest: int, white: int, options: ImageOptions, where: str) -> int:
    """The number that is white."""
    if largest > (most := options.max_value or white):
        raise DataError(
            f"{where}: expected numbers up to {most}, which is white; the largest is {largest}. "
            f"Give the largest number that can occur: --max-value {2 ** largest.bit_length() - 1}"
        )
    if options.max_value is not None:
        return options.max_value
    if largest * _USED < white:
        bits = max(largest.bit_length(), 1)
        raise DataError(
            f"{where}: white is {white}, and the largest is {largest}: these look like {bits} bits "
            f"stored in 16. If so, give --max-value {2**bits - 1}; or --max-value {white} if the "
            "image is as dark as that."
        )
    return white


def orientation(image: Image.Image) -> int:
    """The orientation tag of an open image, 1 to 8; 1 where there is none, or it cannot be read."""
    try:
        # Not `image.getexif()`, which decodes a PNG to look for metadata behind the pixels.
        tag = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    except (OSError, SyntaxError, ValueError, LookupError, TypeError, struct.error):
        return 1  # damaged metadata turn nothing
    return tag if tag in _TURNS else 1


def turned(array: np.ndarray, orientation: int) -> np.ndarray:
    """Rows, columns, ... as they are seen, from those as they are stored."""
    return _TURNS[orientation](array) if orientation in _TURNS else array


def swaps(orientation: int) -> bool:
    """Whether rows become columns."""
    return orientation in (5, 6, 7, 8)


def check_indexed(image: Image.Image, path: str) -> None:
    """Refuses a label that does not store class indices exactly.

    Raises:
      DataError: It holds colours, or other numbers than those of 8 bits.
    """
    if image.mode in ("RGB", "RGBA", "CMYK", "YCbCr", "LA"):
        raise DataError(
            f"{path}: expected class indices (palette or gray PNG), found colours (Pillow mode "
            f"{image.mode!r}). Convert it once: start from np.full((h, w), 255, np.uint8), set "
            "index[(rgb == colour).all(-1)] = k for the colour of each class k, and save it with "
            "PIL.Image.fromarray(index).save('label.png')."
        )
    if image.mode not in ("P", "L"):
        raise DataError(
            f"{path}: expected 8-bit class indices (Pillow mode P or L), found {image.mode!r}. "
            "Save the indices as PIL.Image.fromarray(index.astype(np.uint8)).save('label.png')."
        )
    if image.format == "JPEG":
        raise DataError(f"{path}: found a JPEG, which changes class indices. Use a PNG.")
    # Pillow stretches gray PNGs of 2 or 4 bits to 0..255, which would change the indices.
    stored = [tile[3] for tile in getattr(image, "tile", ())]
    if image.mode == "L" and stored and stored[0] in ("L;2", "L;4"):
        raise DataError(
            f"{path}: expected 8 bits per pixel, found a gray PNG with {stored[0][-1]}. Save it "
            "again as an 8-bit PNG."
        )
