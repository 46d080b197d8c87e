"""Reads label files: the whole numbers or colours that they store, never changed by a decoder."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from fcn_jax.damage import BoundedFile, reading
from fcn_jax.data.errors import DataError, legible
from fcn_jax.data.images import orientation, turned
from fcn_jax.data.label_values import AS_STORED, LabelValues
from fcn_jax.data.readers import check_file, opened_image
from fcn_jax.data.walk import image_endings

_REMEDY = "It may be cut off or damaged; copy it again."
_FEW_BITS = {"L;2": 85, "L;4": 17}  # what Pillow multiplies gray levels of 2 and 4 bits by


def label_endings() -> frozenset[str]:
    """Endings of label files, in lower case: those of images, and `.npy`."""
    return image_endings() | {".npy"}


def read_label(
    file: Path | str | bytes, values: LabelValues = AS_STORED, where: str = ""
) -> UInt8[np.ndarray, "h w"]:
    """The classes of a label file.

    Args:
      file: See `read_stored`.
      values: The class of each stored value or colour.
      where: The file's name in messages, if not its path.

    Returns:
      uint8 rows, columns: the class, 255 = ignored.

    Raises:
      DataError: As `read_stored`, or a value has no class.
    """
    where = where or ("bytes" if isinstance(file, bytes) else legible(file))
    return values.classes(read_stored(file, where, colours=values.by_colour), where)


def read_stored(file: Path | str | bytes, where: str = "", *, colours: bool = False) -> np.ndarray:
    """What a label file stores, upright as its orientation tag says.

    Args:
      file: A PNG, BMP, TIFF, GIF or another image that keeps numbers exactly, of 1 to 32 bits, gray
        or with a palette, or in 8-bit colours; or an `.npy`. Its path, or an image's content.
      where: Its name in messages, if not its path.
      colours: Whether to give the colours of a palette, and not its indices.

    Returns:
      Whole numbers, rows, columns: gray levels, palette indices, 0 and 1 of one bit. Or uint8 rows,
      columns, RGB, if the file holds colours or they are asked for.

    Raises:
      DataError: The file is missing or damaged, or does not keep numbers exactly.
    """
    where = where or ("bytes" if isinstance(file, bytes) else legible(file))
    if not isinstance(file, bytes) and Path(file).suffix.lower() == ".npy":
        return _checked(_array(file, where), where)
    with opened_image(file, where) as (image, where):
        stored = _pixels(image, where, colours)
        return np.ascontiguousarray(turned(_checked(stored, where), orientation(image)))


def _array(path: Path | str, where: str) -> np.ndarray:
    """The array of an `.npy` file, (h, w) or (h, w, 3)."""
    check_file(path)
    with reading(where, "an array", _REMEDY, DataError), BoundedFile(path) as file:
        array = np.load(io.BytesIO(file.read()), allow_pickle=False)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    colours = array.ndim == 3 and array.shape[2] == 3 and array.dtype == np.uint8
    if not (array.ndim == 2 or colours) or array.size == 0:
        raise DataError(
            f"{where}: expected an array (rows, columns) of whole numbers, or uint8 (rows, "
            f"columns, 3) of colours; found {array.dtype} {array.shape}."
        )
    return array


def _pixels(image: Image.Image, where: str, colours: bool) -> np.ndarray:
    """The pixels of an open image as they are stored."""
    _check_exact(image, where)
    raw = str(_raw(image))
    if image.mode in ("LA", "PA", "RGBA"):
        if image.getchannel("A").getextrema() != (255, 255):
            raise DataError(
                f"{where}: a label with pixels that are transparent, which say no class. Save it "
                "without alpha."
            )
        image = image.convert({"LA": "L", "PA": "RGB", "RGBA": "RGB"}[image.mode])
    if colours and image.mode == "P":
        return np.asarray(image.convert("RGB"))
    if image.mode in ("RGB", "P", "I", "F") or image.mode.startswith("I;16"):
        return np.asarray(image)
    if image.mode in ("1", "L"):
        gray = np.asarray(image)
        return gray // np.uint8(_FEW_BITS[raw[:3]]) if raw[:3] in _FEW_BITS else gray
    raise DataError(
        f"{where}: expected a label of values, or of colours, found Pillow mode {image.mode!r}. "
        "Save it as a PNG."
    )


def _check_exact(image: Image.Image, where: str) -> None:
    """Refuses a file that does not keep its numbers, or holds several labels."""
    if image.format in ("JPEG", "MPO") or image.info.get("compression") == "jpeg":
        raise DataError(
            f"{where}: found a JPEG, which changes the values of a label. Save the labels as PNGs, "
            "from what the JPEGs were made of."
        )
    if getattr(image, "n_frames", 1) > 1:
        raise DataError(
            f"{where}: holds several frames or pages, expected one label. Save the one to use."
        )
    if ";16" in str(_raw(image)) and not image.mode.startswith("I"):
        raise DataError(
            f"{where}: holds colours of 16 bits, of which labels are not read. Save it with 8 bits."
        )


def _raw(image: Image.Image) -> Any:
    """How the pixels lie in the file, in Pillow's words."""
    tiles: Any = getattr(image, "tile", None) or [("", None, 0, "")]
    raw = tiles[0][3]
    return raw[0] if isinstance(raw, tuple) and raw else raw


def _checked(stored: np.ndarray, where: str) -> np.ndarray:
    """Whole numbers; refuses others."""
    if stored.dtype == np.bool_:
        return stored.astype(np.uint8)
    if stored.dtype.kind in "iu":
        return stored.astype(stored.dtype.newbyteorder("="), copy=False)
    whole = None
    if stored.dtype.kind == "f":
        with contextlib.suppress(ValueError), np.errstate(invalid="ignore"):
            whole = stored.astype(np.int64)
    if whole is None or not np.array_equal(whole, stored):
        raise DataError(
            f"{where}: expected whole numbers, found {stored.dtype} values such as "
            f"{stored.ravel()[0]}. Save the classes as integers."
        )
    return whole
