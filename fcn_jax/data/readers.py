"""The one place that opens images, labels and arrays; its errors name the file.

Only Pillow decodes images: it keeps palette indices, which several other readers turn into colours
or gray levels. Nothing here reads pickles.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image, UnidentifiedImageError

from fcn_jax.damage import BoundedFile, reading
from fcn_jax.data import tiff, tiff_tags
from fcn_jax.data.errors import DataError, few, legible
from fcn_jax.data.images import (
    AS_STORED,
    ImageOptions,
    OpenFile,
    Pixels,
    as_rgb,
    check_indexed,
    hidden,
    orientation,
    stored_pixels,
    swaps,
    turned,
)
from fcn_jax.data.mat import read_variable
from fcn_jax.data.png import check_can_hold, orientation_follows

_REMEDY = "It may be cut off or damaged; copy, download or prepare it again."


class Header(NamedTuple):
    """What an image file says before its pixels.

    Attributes:
      size: Rows and columns of the upright image.
      alpha: Whether it declares pixels that are transparent.
      several: Whether it holds several frames or pages, of which the first is read.
    """

    size: tuple[int, int]
    alpha: bool
    several: bool


def read_image(
    file: Path | str | bytes,
    where: str = "",
    *,
    options: ImageOptions = AS_STORED,
    alpha: bool = False,
) -> UInt8[np.ndarray, "h w _"]:
    """Reads a photograph, upright as its orientation tag says (docs/images.md).

    Args:
      file: An image of any kind that Pillow reads, or a TIFF of any bands: its path, or its
        content. Gray is repeated over the three channels; 16 bits are scaled; of several frames,
        the first is read.
      where: Its name in messages, if not its path.
      options: What the file does not say of its pixels.
      alpha: Whether to give a fourth channel where the file declares alpha: 0 or 255. The colours
        of transparent pixels are as stored in any case.

    Returns:
      uint8 rows, columns, RGB (and alpha); 0 to 255.

    Raises:
      DataError: The file is missing, cut off or not an image, or leaves open which of its bands are
        colours, or which number is white.
    """
    with _opened(file, where) as (stream, where):
        pixels, turn = _read_pixels(stream, where)
        rgb, clear = as_rgb(pixels, options, where), hidden(pixels)
        if alpha and clear is not None:
            rgb = np.dstack([rgb, np.where(clear, np.uint8(0), np.uint8(255))])
        return np.ascontiguousarray(turned(rgb, turn))


def _read_pixels(stream: OpenFile, where: str) -> tuple[Pixels, int]:
    """The pixels as stored, and the orientation tag that still holds for them."""
    if _is_tiff(stream):
        tags = tiff_tags.read_tags(stream, where)
        if samples := tiff_tags.samples_of(tags):
            rows, columns = tiff_tags.size_of(tags)
            if rows * columns * samples.bands > 8 * (Image.MAX_IMAGE_PIXELS or math.inf):
                raise Image.DecompressionBombError(f"{rows}x{columns}, {samples.bands} bands")
            parts = list(tiff.read_strips(stream, tags, where, strip_bytes=None))
            values = np.concatenate([part.values for part in parts])
            return parts[0]._replace(values=values), tiff_tags.orientation_of(tags, where)
        stream.seek(0)
    with Image.open(stream) as image:
        return stored_pixels(image, stream, where), orientation(image)


def read_header(file: Path | str | bytes, where: str = "") -> Header:
    """Reads what an image file says before its pixels.

    Raises:
      DataError: The file is missing or not an image.
    """
    with _opened(file, where) as (stream, where):
        if _is_tiff(stream):
            tags = tiff_tags.read_tags(stream, where)
            size, turn = tiff_tags.size_of(tags), tiff_tags.orientation_of(tags, where)
            alpha, several = tiff_tags.has_alpha(tags), tags.next != 0
        else:
            with Image.open(stream) as image:
                if image.format == "PNG" and orientation_follows(stream):
                    image.load()
                size, turn = (image.height, image.width), orientation(image)
                alpha, several = image.has_transparency_data, getattr(image, "is_animated", False)
        rows, columns = size[::-1] if swaps(turn) else size
        return Header((rows, columns), alpha, several)


def image_size(file: Path | str | bytes, where: str = "") -> tuple[int, int]:
    """Rows and columns of an image (see `read_image`), from its header alone.

    Raises:
      DataError: The file is missing or not an image.
    """
    return read_header(file, where).size


def _is_tiff(stream: OpenFile) -> bool:
    magic = stream.read(4)
    stream.seek(0)
    return magic in tiff_tags.MAGICS


def read_depth(path: Path | str) -> UInt16[np.ndarray, "h w 1"]:
    """Reads a depth image.

    Args:
      path: A 16-bit gray PNG (Pillow mode I;16 or I).

    Returns:
      uint16 rows, columns, 1: the stored numbers. In NYUDv2 they are millimetres, 0 = missing.

    Raises:
      DataError: The file is missing, cut off, or not of 16 bits.
    """
    with opened_image(path) as (image, where):
        if image.mode not in ("I;16", "I;16B", "I"):
            raise DataError(
                f"{where}: expected depth as a 16-bit gray PNG, found Pillow mode {image.mode!r}. "
                "Save it as PIL.Image.fromarray(depth.astype(np.uint16)).save('depth.png')."
            )
        stored = np.asarray(image)
        if stored.min() < 0 or stored.max() > 65535:
            raise DataError(
                f"{where}: expected depths of 0 to 65535, found {stored.min()} to {stored.max()}."
            )
        return stored.astype(np.uint16)[..., None]


def read_index_png(file: Path | str | bytes, where: str = "") -> UInt8[np.ndarray, "h w"]:
    """Reads a label image whose pixel values are the class indices.

    Args:
      file: An 8-bit palette or gray PNG (Pillow mode P or L): its path, or its content.
      where: Its name in messages, if not its path.

    Returns:
      uint8 rows, columns: the stored indices, never the palette's colours.

    Raises:
      DataError: The file is missing or cut off, holds colours instead of indices, or is stored in a
        way that does not keep indices exactly.
    """
    with opened_image(file, where) as (image, where):
        check_indexed(image, where)
        label = np.asarray(image)
        return np.ascontiguousarray(turned(label, orientation(image)))


@contextlib.contextmanager
def opened_image(file: Path | str | bytes, where: str = "") -> Iterator[tuple[Image.Image, str]]:
    """An open image and its name in messages; errors while it is open become a `DataError`."""
    with _opened(file, where) as (stream, where), Image.open(stream) as image:
        yield image, where


@contextlib.contextmanager
def _opened(file: Path | str | bytes, where: str = "") -> Iterator[tuple[OpenFile, str]]:
    """An open file and its name in messages; errors while it is open become a `DataError`."""
    where = where or ("bytes" if isinstance(file, bytes) else legible(file))
    if not isinstance(file, bytes):
        check_file(file)
    with reading(where, "an image", _REMEDY, DataError):
        try:
            with io.BytesIO(file) if isinstance(file, bytes) else BoundedFile(file) as stream:
                check_can_hold(stream, where)
                if _is_tiff(stream):
                    tiff.check_complete(stream, where)
                yield stream, where
        except UnidentifiedImageError:
            raise DataError(
                f"{where}: expected an image, found a file of no known kind, or one that is cut "
                "off. Copy it again, or convert it."
            ) from None
        except Image.DecompressionBombError as error:
            raise DataError(
                f"{where}: is too large to be read whole ({error}). `predict --tile` reads a PNG "
                "or TIFF of any size."
            ) from error


def check_file(path: Path | str) -> None:
    """Refuses anything but a file: reading a pipe would wait for ever.

    Raises:
      DataError: It is missing; or is a folder, a pipe, a socket or a device.
    """
    if not os.path.isfile(path):
        if os.path.exists(path):
            raise DataError(f"{legible(path)}: expected a file, found a folder, pipe or device.")
        raise DataError(f"{legible(path)}: there is no such file. Check the name.")


def read_mat(path: Path | str, key: str) -> np.ndarray:
    """Reads one array of a MATLAB file (formats 5 to 7).

    Args:
      path: The `.mat` file.
      key: The variable, with struct fields after dots: `"S"`, `"GTcls.Segmentation"`.

    Returns:
      The array as stored.

    Raises:
      DataError: The file is missing or damaged, or has no such key.
    """
    check_file(path)
    with reading(path, "a MATLAB file", _REMEDY, DataError):
        found = read_variable(path, key)
    if found is None:
        raise DataError(f"{path}: expected an array under the key {key!r}, found none there.")
    return found


def as_indices(values: np.ndarray, path: Path | str) -> UInt8[np.ndarray, "h w"]:
    """Casts a label array to uint8, refusing any value that would change.

    Raises:
      DataError: The array is not two-dimensional or holds values other than integers in 0..255.
    """
    if values.ndim != 2:
        raise DataError(f"{path}: expected labels (rows, columns), found shape {values.shape}.")
    with np.errstate(invalid="ignore"):  # NaN: caught by the comparison
        index = values.astype(np.uint8)
    if not np.array_equal(index, values):
        raise DataError(
            f"{path}: expected integer labels in 0..255, found {values.dtype} values from "
            f"{values.min()} to {values.max()}."
        )
    return index


def from_one(values: np.ndarray, path: Path | str, num_classes: int) -> UInt8[np.ndarray, "h w"]:
    """Maps labels stored as 1 to `num_classes`, 0 = void, to 0 to `num_classes` - 1, 255 = void.

    Raises:
      DataError: See `as_indices`; or a value is larger than `num_classes`.
    """
    stored = as_indices(values, path)
    if wrong := np.unique(stored[stored > num_classes]).tolist():
        raise DataError(
            f"{path}: expected labels 1 to {num_classes}, 0 = void; found {few(wrong)}. Store 0 "
            "in pixels of no class."
        )
    return stored - np.uint8(1)  # 0 becomes 255
