"""Image files read and written some rows at a time, so that none needs to fit into memory."""

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
from fcn_jax.inference.large_files.parts import WholeOnly


def read_strips(
    path: Path | str,
) -> tuple[tuple[int, int], Iterator[UInt8[np.ndarray, "r w 3"]]]:
    """Opens an image file to be read from the top down, once.

    In memory is one block of rows: of a PNG about 4 MB; of a TIFF one row of its tiles or one of
    its strips. Other formats, interlaced PNGs, TIFFs with a plane per channel, and images that EXIF
    turns upright are read whole, up to the size at which Pillow warns of a decompression bomb.

    Args:
        path: a file of any format that Pillow reads.

    Returns:
        Rows and columns of the image, and its blocks: uint8 (r, w, 3), 0..255, RGB, with the pixels
        that `folder.read_rgb` gives.

    Raises:
        ValueError: if the image is too large for its format, or damaged; the latter may come when
            its block is reached.
        OSError: if the file is missing or no image.
    """
    path = Path(path)
    with path.open("rb") as file:
        magic = file.read(len(png.MAGIC))
    try:
        if magic == png.MAGIC:
            return png.png_blocks(path)
        if magic[:4] in tiff.MAGICS:
            return tiff.tiff_blocks(path)
        reason = "its format is not read by strips"
    except WholeOnly as error:
        reason = str(error)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            image = read_rgb(path)
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise ValueError(
                f"{path}: {reason}, so it can only be read whole; expected at most "
                f"{Image.MAX_IMAGE_PIXELS:,} pixels for that, found more. Save it upright as a "
                "PNG that is not interlaced, or as a TIFF in tiles."
            ) from error
    return image.shape[:2], iter([image])


def rolling(
    blocks: Iterator[UInt8[np.ndarray, "r w 3"]],
) -> Callable[[int, int], UInt8[np.ndarray, "s w 3"]]:
    """Rows `start` to `stop` of an image that is read once, from the top down.

    Rows above the last `start` are forgotten: neither `start` nor `stop` may ever decrease, and
    `stop` is at most the image's rows.
    """
    held, first = next(blocks), 0

    def rows(start: int, stop: int) -> np.ndarray:
        nonlocal held, first
        parts, end = [held[start - first :]], first + len(held)
        while end < stop:
            parts.append(next(blocks))
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
        strips: uint8 (r, w) indices where there is a palette, else uint8 (r, w, 3) RGB; any number
            of rows at a time.
        palette: colours by index, uint8 (256, 3) RGB.

    Returns:
        `path`.

    Raises:
        ValueError: if `path` is no `.png`: other formats do not keep indices.

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
        with draft.open("wb") as file:
            file.write(
                png.MAGIC + png.header_chunk(*size, depth=8, colour=2 if palette is None else 3)
            )
            if palette is not None:
                file.write(png.chunk(b"PLTE", palette.tobytes()))
            for strip in strips:
                assert strip.shape[1] == size[1], (strip.shape, size)
                rows += len(strip)
                lines = strip.reshape(len(strip), -1)
                unfiltered = np.pad(lines, ((0, 0), (1, 0)))  # filter type 0 before every row
                file.write(png.chunk(b"IDAT", packer.compress(unfiltered.tobytes())))
            assert rows == size[0], (rows, size)
            file.write(png.chunk(b"IDAT", packer.flush()) + png.chunk(b"IEND", b""))

    return write_atomically(path, write)
