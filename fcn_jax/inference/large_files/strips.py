"""Reads and writes image files in strips, so that the image need not fit into memory."""

import contextlib
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from fcn_jax.atomic import draft, naming
from fcn_jax.damage import reading
from fcn_jax.data import png, tiff, tiff_tags
from fcn_jax.data.errors import DataError
from fcn_jax.data.images import AS_STORED, ImageOptions, Pixels, as_rgb, largest
from fcn_jax.data.readers import check_file, image_size, read_depth, read_image
from fcn_jax.data.small_files import NotInStrips
from fcn_jax.inference.memory import any_size, check_decodable

STRIP_BYTES = 1 << 22  # of pixels, stored or as RGB; a strip has no more, or else one row

SizeAndStrips = tuple[tuple[int, int], Iterator[UInt8[np.ndarray, "r w 3"]]]
"""Rows and columns of an image, and its strips from the top down, RGB."""
Rows = Callable[[int, int], UInt8[np.ndarray, "r w 3"]]
"""Gives the rows from `start` to before `stop` of an image, RGB."""


def read_strips(path: Path | str, options: ImageOptions = AS_STORED) -> SizeAndStrips:
    """Opens an image file to be read once, from the top down.

    One strip is in memory: of a PNG or an uncompressed TIFF about 4 MB, of other TIFFs one row of
    tiles or one stored strip. Other formats, interlaced PNGs, TIFFs in JPEG of the old style, and
    images that their metadata turn are read whole, if memory allows. Images of 16 bits are read
    twice, first for their largest number, unless `options` say which is white.

    Args:
        path: a file of any kind that `read_image` reads.
        options: what the file does not say of its pixels.

    Returns:
        Rows and columns of the image, and its strips: uint8 (r, w, 3), 0..255, RGB, with the pixels
        that `fcn_jax.data.readers.read_image` gives.

    Raises:
        DataError: if the image is missing, damaged, too large for its kind, or leaves open what its
            pixels mean; also from the iterator.
    """
    path = Path(path)
    found = _stored_strips(path)
    if isinstance(found, NotInStrips):
        with _whole(path, found):
            image = read_image(path, options=options)
        return image.shape[:2], iter([image])
    size, stored = found
    return size, _as_rgb(stored, options, str(path))


def _stored_strips(
    path: Path,
) -> NotInStrips | tuple[tuple[int, int], Callable[[], Iterator[Pixels]]]:
    """Rows and columns, and what reads the strips of stored pixels; or why there is nothing."""
    check_file(path)
    with _reading(path):
        with path.open("rb") as file:
            magic = file.read(len(png.MAGIC))
        try:
            if magic == png.MAGIC:
                size, strips = png.png_strips(path, STRIP_BYTES)
            elif magic[:4] in tiff_tags.MAGICS:
                size, strips = tiff.tiff_strips(path, STRIP_BYTES)
            else:
                return NotInStrips("an image of this kind")
        except NotInStrips as reason:
            return reason

    def named() -> Iterator[Pixels]:
        with _reading(path):
            yield from strips()

    return size, named


def _reading(path: Path) -> contextlib.AbstractContextManager[None]:
    return reading(path, "an image", "It may be damaged or cut short: copy it again.", DataError)


def _as_rgb(
    stored: Callable[[], Iterator[Pixels]], options: ImageOptions, where: str
) -> Iterator[UInt8[np.ndarray, "r w 3"]]:
    most = None
    for pixels in stored():
        if most is None and pixels.values.dtype == np.uint16 and options.max_value is None:
            most = max(largest(others, options, where) for others in stored())
        yield as_rgb(pixels, options, where, most)


@contextlib.contextmanager
def _whole(path: Path, reason: NotInStrips) -> Iterator[None]:
    """A context to read an image whole, if memory allows."""
    with any_size():
        check_decodable(path, image_size(path), f"{reason} cannot be read strip by strip")
        yield


def read_depth_strips(path: Path | str) -> tuple[tuple[int, int], Iterator[np.ndarray]]:
    """As `read_strips`, of a depth image: strips uint16 (r, w, 1), as `readers.read_depth`.

    Raises:
        DataError: as `read_strips`, or the image is not of 16 bits and one band.
    """
    path = Path(path)
    found = _stored_strips(path)
    if isinstance(found, NotInStrips):
        with _whole(path, found):
            image = read_depth(path)
        return image.shape[:2], iter([image])
    size, stored = found

    def depth(values: np.ndarray) -> np.ndarray:
        if values.dtype != np.uint16 or values.shape[-1] != 1:
            kind = f"{8 * values.itemsize} bits and {values.shape[-1]} bands"
            raise DataError(f"{path}: expected depth as a 16-bit gray image, found {kind}.")
        return values

    return size, (depth(pixels.values) for pixels in stored())


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
        held, first = parts[0] if len(parts) == 1 else np.concatenate(parts), start
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
    """
    with png_rows(path, size, palette) as write:
        for strip in strips:
            write(strip)
    return Path(path)


@contextlib.contextmanager
def png_rows(
    path: Path | str,
    size: tuple[int, int],
    palette: UInt8[np.ndarray, "256 3"] | None = None,
    *,
    sixteen_bits: bool = False,
) -> Iterator[Callable[[np.ndarray], None]]:
    """A context that gives a function, which adds a strip to a PNG; arguments as `write_strips`.

    With `sixteen_bits`, strips are uint16 (r, w), gray.

    Source: PNG (W3C, third edition), sections 5, 9.2 and 11.2.
    """
    check_png(path)
    packer, rows = zlib.compressobj(), 0
    with draft(path) as part, part.open("wb") as file:

        def write(strip: np.ndarray) -> None:
            nonlocal rows
            assert strip.shape[1] == size[1], (strip.shape, size)
            rows += len(strip)
            stored = np.ascontiguousarray(strip.astype(">u2") if sixteen_bits else strip)
            stored = stored.view(np.uint8).reshape(len(strip), -1)
            lines = np.pad(stored, png.FILTER_0)
            if palette is None:  # filter 1: neighbouring colours differ little
                step = 2 if sixteen_bits else 3
                lines[:, 0] = 1
                lines[:, 1 + step :] = stored[:, step:] - stored[:, :-step]
            with naming(Path(path)):
                file.write(png.chunk(b"IDAT", packer.compress(lines.tobytes())))

        colour, depth = 2 if palette is None else 3, 8
        if sixteen_bits:
            colour, depth = 0, 16
        file.write(png.MAGIC + png.header_chunk(*size, depth=depth, colour=colour))
        if palette is not None:
            file.write(png.chunk(b"PLTE", palette.tobytes()))
        yield write
        assert rows == size[0], (rows, size)
        file.write(png.chunk(b"IDAT", packer.flush()) + png.chunk(b"IEND", b""))


def check_png(path: Path | str) -> None:
    """Raises ValueError if the name of a file to write does not end in `.png`."""
    if Path(path).suffix.lower() != ".png":
        raise ValueError(
            f"{path}: expected .png, found {Path(path).suffix!r}: only a palette PNG keeps class "
            "indices. Name it .png."
        )
