"""Reads and writes image files in strips, so that the image need not fit into memory."""

import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from fcn_jax.atomic import write_atomically
from fcn_jax.inference.folder import read_rgb
from fcn_jax.inference.large_files import png, tiff
from fcn_jax.inference.large_files.decoding import NotInStrips, SizeAndStrips

Rows = Callable[[int, int], UInt8[np.ndarray, "r w 3"]]
"""Gives the rows from `start` to before `stop` of an image, RGB."""


def read_strips(path: Path | str) -> SizeAndStrips:
    """Opens an image file to be read once, from the top down.

    One strip is in memory: of a PNG or an uncompressed TIFF about 4 MB, of other TIFFs one row of
    tiles or one stored strip. Other formats, interlaced PNGs, TIFFs with a plane for each channel,
    and images that EXIF turns are read whole, up to the size at which Pillow warns of a
    decompression bomb.

    Args:
        path: a file of any format that Pillow reads.

    Returns:
        Rows and columns of the image, and its strips: uint8 (r, w, 3), 0..255, RGB, with the pixels
        that `folder.read_rgb` gives.

    Raises:
        ValueError: if the image is too large for its format, or damaged; also from the iterator.
        OSError: if the file is missing or not an image.
    """
    path = Path(path)
    with path.open("rb") as file:
        magic = file.read(len(png.MAGIC))
    try:
        if magic == png.MAGIC:
            return png.png_strips(path)
        if magic[:4] in tiff.MAGICS:
            return tiff.tiff_strips(path)
        reason = "its format cannot be read strip by strip"
    except NotInStrips as error:
        reason = str(error)
    try:
        with warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning):
            image = read_rgb(path)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{path}: {reason}, so it can only be read whole; expected at most "
            f"{Image.MAX_IMAGE_PIXELS:,} pixels for that, found more. Save it upright as a PNG "
            "that is not interlaced, or as a TIFF in tiles."
        ) from error
    return image.shape[:2], iter([image])


def row_window(strips: Iterator[UInt8[np.ndarray, "r w 3"]]) -> Rows:
    """The rows of an image whose strips are read once, from the top down.

    Rows above the last `start` are forgotten: `start` and `stop` must not decrease from call to
    call, and `stop` is at most the image's rows.
    """
    held, first = next(strips), 0  # the rows in memory, and the first one's number

    def rows(start: int, stop: int) -> np.ndarray:
        nonlocal held, first
        parts, end = [held[start - first :]], first + len(held)
        while end < stop:
            parts.append(next(strips))
            end += len(parts[-1])
        held, first = np.concatenate(parts), start
        return held[: stop - start]

    return rows


def write_strips(
    path: Path | str,
    size: tuple[int, int],
    strips: Iterable[np.ndarray],
    palette: UInt8[np.ndarray, "256 3"] | None = None,
) -> Path:
    """Writes a PNG from the top down, atomically.

    Args:
        path: the file, `.png`.
        size: rows and columns of the image.
        strips: uint8 (r, w) indices if there is a palette, else uint8 (r, w, 3) RGB; any r.
        palette: colours by index, uint8 (256, 3) RGB.

    Returns:
        `path`.

    Raises:
        ValueError: if `path` does not end in `.png`: other formats do not keep indices.

    Source: PNG (W3C, third edition), sections 5 and 11.2.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(
            f"{path}: expected .png, found {path.suffix!r}: only a palette PNG keeps class "
            "indices. Name it .png."
        )

    def write(draft: Path) -> None:
        packer, rows = zlib.compressobj(), 0
        colour = 2 if palette is None else 3
        with draft.open("wb") as file:
            file.write(png.MAGIC + png.header_chunk(*size, depth=8, colour=colour))
            if palette is not None:
                file.write(png.chunk(b"PLTE", palette.tobytes()))
            for strip in strips:
                assert strip.shape[1] == size[1], (strip.shape, size)
                rows += len(strip)
                lines = np.pad(strip.reshape(len(strip), -1), png.FILTER_0)
                file.write(png.chunk(b"IDAT", packer.compress(lines.tobytes())))
            assert rows == size[0], (rows, size)
            file.write(png.chunk(b"IDAT", packer.flush()) + png.chunk(b"IEND", b""))

    return write_atomically(path, write)
