"""The one place that reads images, labels and lists; its errors name the file.

Only Pillow decodes images: it keeps palette indices, which several other readers turn into colours
or gray levels. Nothing here reads pickles.
"""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image

# What Pillow raises on files that are cut off or are not images.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)
_BROKEN_MAT = (*_BROKEN, TypeError, IndexError, KeyError, zlib.error)
_RGB_MODES = ("RGB", "RGBA", "L", "LA", "P", "CMYK", "YCbCr")


class DataError(ValueError):
    """A data set is missing, incomplete or not as expected; the message names the file."""


def few(items: Iterable[object], most: int = 10) -> str:
    """The first few of `items`, separated by commas, for a message; "..." for the others."""
    texts = [str(item) for item in items]
    return ", ".join(texts[:most]) + (", ..." if texts[most:] else "")


def read_image(file: Path | str | bytes, where: str = "") -> UInt8[np.ndarray, "h w 3"]:
    """Reads a photograph.

    Args:
      file: A JPEG, PNG or other 8-bit image: its path, or its content. Gray images are repeated
        over the three channels, an alpha channel is dropped. An orientation tag is ignored, since
        labels are drawn on the pixels as stored.
      where: Its name in messages, if not its path.

    Returns:
      uint8 rows, columns, RGB; 0 to 255.

    Raises:
      DataError: The file is missing, cut off, not an image, or has more than 8 bits per channel.
    """
    with _opened(file, where) as (image, where):
        if image.mode not in _RGB_MODES:
            raise DataError(
                f"{where}: expected an 8-bit colour or gray image, found Pillow mode "
                f"{image.mode!r}. Convert it to 8 bits per channel."
            )
        return np.asarray(image.convert("RGB"))


def image_size(file: Path | str | bytes, where: str = "") -> tuple[int, int]:
    """Rows and columns of an image (see `read_image`), from its header alone.

    Raises:
      DataError: The file is missing or not an image.
    """
    with _opened(file, where) as (image, _):
        return image.height, image.width


def read_depth(path: Path | str) -> UInt16[np.ndarray, "h w 1"]:
    """Reads a depth image.

    Args:
      path: A 16-bit gray PNG (Pillow mode I;16 or I).

    Returns:
      uint16 rows, columns, 1: the stored numbers. In NYUDv2 they are millimetres, 0 = missing.

    Raises:
      DataError: The file is missing, cut off, or not of 16 bits.
    """
    with _opened(path) as (image, where):
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
    with _opened(file, where) as (image, where):
        _check_indexed(image, where)
        return np.asarray(image)


def _check_indexed(image: Image.Image, path: str) -> None:
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


@contextlib.contextmanager
def _opened(file: Path | str | bytes, where: str = "") -> Iterator[tuple[Image.Image, str]]:
    """An open image and its name in messages; errors while it is open become a `DataError`."""
    where = where or str(file)
    with _readable(where, "an image", _BROKEN):
        with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as image:
            yield image, where


@contextlib.contextmanager
def _readable(where: Path | str, kind: str, broken: tuple[type[Exception], ...]) -> Iterator[None]:
    """Turns the errors of missing and damaged files into a `DataError`."""
    try:
        yield
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{where}: no such file. Is the data set complete?") from None
    except broken as error:
        raise DataError(
            f"{where}: cannot be read as {kind} ({error}). It may be cut off or damaged; "
            "copy, download or prepare it again."
        ) from error


def read_mat(path: Path | str, key: str) -> np.ndarray:
    """Reads one array of a MATLAB file (format 7 or older).

    Args:
      path: The `.mat` file.
      key: The variable, with struct fields after dots: `"S"`, `"GTcls.Segmentation"`.

    Returns:
      The array as stored.

    Raises:
      DataError: The file is missing or damaged, or has no such key.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    name, *fields = key.split(".")
    with _readable(path, "a MATLAB file", (*_BROKEN_MAT, MatReadError)), open(path, "rb") as file:
        try:
            contents = loadmat(file, variable_names=[name])
        except NotImplementedError:
            raise DataError(
                f"{path}: is in MATLAB's 7.3 format. Save it again with save(..., '-v7')."
            ) from None
    found = contents.get(name)
    for field in fields:
        names = getattr(getattr(found, "dtype", None), "names", None) or ()
        found = found[0, 0][field] if found is not None and field in names else None
    if not isinstance(found, np.ndarray):
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


def read_list(path: Path) -> tuple[str, ...]:
    """Reads a split: one id per line; blank lines are skipped.

    Raises:
      DataError: The list is missing (the message names the lists beside it), empty, or names an id
        twice.
    """
    try:
        ids = tuple(line.strip() for line in path.read_text().splitlines() if line.strip())
    except FileNotFoundError:
        beside = sorted(p.name for p in path.parent.glob("*.txt"))
        raise DataError(
            f"{path}: no such list. Lists in that folder: {', '.join(beside) or 'none'}."
        ) from None
    if not ids:
        raise DataError(f"{path}: the list is empty; expected one id per line.")
    if len(set(ids)) != len(ids):
        twice = sorted({i for i in ids if ids.count(i) > 1})
        raise DataError(f"{path}: names {few(twice)} more than once; name each id once.")
    return ids


def find_folder(root: Path, candidates: Sequence[str], *, marker: str, layout: str) -> Path:
    """The first of `root / candidate` that holds `marker`.

    Args:
      root: The data folder the user named.
      candidates: Folders below it, best first; "." is the root itself.
      marker: A file or folder whose presence identifies the right one.
      layout: What the right one looks like, for the error message.

    Raises:
      DataError: None of them holds it; says where it looked and what it looked for.
    """
    for candidate in candidates:
        if (root / candidate / marker).exists():
            return root / candidate
    looked = "\n".join(f"  {root / candidate}" for candidate in candidates)
    missing = "" if root.is_dir() else f" ({root} is not a folder)"
    raise DataError(
        f"{root}: no {marker} found{missing}. Looked in\n{looked}\nExpected layout: {layout}"
    )
