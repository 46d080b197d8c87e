"""What a label file holds, whatever it is: nothing is refused that can be read."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer
from PIL import Image

from fcn_jax.damage import BoundedFile, reading
from fcn_jax.data.errors import DataError, legible
from fcn_jax.data.images import orientation, turned

_REMEDY = "It may be cut off or damaged; copy or export it again."
_STRETCHED = {"L;2": 85, "L;4": 17}  # what Pillow multiplies gray PNGs of 2 and 4 bits by


class Raw(NamedTuple):
    """A label as its file stores it.

    Attributes:
      values: Whole numbers (rows, columns): the stored ones, or 65536 R + 256 G + B of a colour.
      kind: The file in words, such as "PNG, 8-bit palette".
      colours: Whether the values are colours.
      lossy: Whether the file's format changes values (JPEG).
      remark: What is unusual: "alpha", "gray colours", "bands", "fractions"; or "".
      orientation: The orientation tag, 1 to 8; the values are upright already.
      palette: Red, green and blue of each value, if it has a palette; else empty.
    """

    values: Integer[np.ndarray, "h w"]
    kind: str
    colours: bool = False
    lossy: bool = False
    remark: str = ""
    orientation: int = 1
    palette: bytes = b""


def read_raw(path: Path) -> Raw:
    """Reads a label file of any kind.

    Raises:
      DataError: It is empty, damaged or not an image; the message names it.
    """
    if path.is_file() and path.stat().st_size == 0:
        raise DataError(f"{legible(path)}: the file is empty.")
    if path.suffix.lower() == ".npy":
        with reading(legible(path), "a label", _REMEDY, DataError):
            array = np.load(path, allow_pickle=False)
        _check_numbers(array, legible(path))
    with reading(legible(path), "a label", _REMEDY, DataError):
        if path.suffix.lower() == ".npy":
            return _of_array(array, "NumPy array")
        with BoundedFile(path) as file, Image.open(file) as image:
            found = _of_image(image)
            return found._replace(values=turned(found.values, found.orientation))


def _of_image(image: Image.Image) -> Raw:
    kind, mode, tag = image.format or "image", image.mode, orientation(image)
    stored = [str(tile[3]) for tile in getattr(image, "tile", ())]
    lossy = kind in ("JPEG", "MPO")
    if mode in ("RGB", "RGBA", "CMYK", "YCbCr", "LA", "PA"):
        array = np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))
        return _of_colours(array, f"{kind}, {mode}")._replace(lossy=lossy, orientation=tag)
    array = np.asarray(image)
    if mode == "L" and stored and stored[0] in _STRETCHED:
        array = array // np.uint8(_STRETCHED[stored[0]])
    what = {"P": "8-bit palette", "L": "8-bit gray", "1": "1 bit"}.get(mode, "")
    what = what or (f"{array.dtype.itemsize * 8}-bit" if array.dtype.kind in "iu" else mode)
    found = _of_array(array, kind)
    palette = bytes(image.getpalette() or ()) if mode == "P" else b""
    return found._replace(kind=f"{kind}, {what}", lossy=lossy, orientation=tag, palette=palette)


def _of_colours(array: np.ndarray, kind: str) -> Raw:
    """Colours (rows, columns, 3 or 4) of 8 bits."""
    rgb = array[..., :3].astype(np.int32)
    same = rgb.min((0, 1)) == rgb.max((0, 1))
    if array.shape[-1] == 4 and same.all() and np.ptp(array[..., 3]) > 0:
        return Raw(array[..., 3], kind, remark="alpha")
    if (rgb[..., :1] == rgb).all():
        return Raw(array[..., 0], kind, remark="gray colours")
    return Raw(rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2], kind, colours=True)


def _check_numbers(array: np.ndarray, where: str) -> None:
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"{where}: expected an array of whole numbers, found one of {array.dtype}. Save the "
            "classes as integers."
        )
    if array.dtype == np.uint64 and array.max(initial=0) > np.iinfo(np.int64).max:
        raise DataError(
            f"{where}: found {array.max()}, and numbers of labels end at 2**63 - 1. If it stands "
            "for -1, save the array with astype('int64') and give --ignore -1"
        )


def _of_array(array: np.ndarray, kind: str) -> Raw:
    array = np.squeeze(array) if array.ndim > 2 else array
    kind = f"{kind}, {array.dtype}"
    if (
        array.ndim == 3
        and array.shape[-1] in (3, 4)
        and array.dtype == np.uint8
        and array.max() > 1
    ):
        return _of_colours(array, kind)
    if array.ndim == 3:
        last = array.shape[0] > array.shape[-1]  # channels last, or first
        bands = array if last else np.moveaxis(array, 0, -1)
        kind = f"{kind}, {bands.shape[-1]} bands"
        return Raw(bands.argmax(-1).astype(np.int32), kind, remark="bands")
    if array.ndim != 2:
        raise DataError(f"expected rows and columns, found an array of shape {array.shape}")
    if array.dtype.kind == "b":
        return Raw(array.astype(np.uint8), kind)
    if array.dtype.kind == "f":
        if not np.isfinite(array).all() or (array != np.rint(array)).any():
            known = np.nan_to_num(array.astype(np.float64), posinf=0, neginf=0)
            scale = 255 / max(np.abs(known).max(), 1e-9)
            return Raw((known * scale).astype(np.int32), kind, remark="fractions")
        return Raw(array.astype(np.int64), kind, remark="whole fractions")
    return Raw(array, kind)
