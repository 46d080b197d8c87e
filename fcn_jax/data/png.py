"""PNG files: a few rows at a time (see `small_files`), and what follows their pixels."""

import io
import math
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from fcn_jax.arithmetic import ceil_div
from fcn_jax.damage import BoundedFile
from fcn_jax.data.images import OpenFile, Pixels
from fcn_jax.data.small_files import (
    NotInStrips,
    check_upright,
    damaged,
    open_small_file,
    small_pixels,
)

MAGIC = b"\x89PNG\r\n\x1a\n"
MAX_DEFLATE = 1032  # times the stored bytes. Source: zlib's technical details
FILTER_0 = ((0, 0), (1, 0))  # to pad unfiltered lines: their filter type, 0, comes first
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_FORMAT = (b"IHDR", b"PLTE", b"tRNS")  # chunks that say how pixels are stored
_METADATA = (b"PLTE", b"eXIf", b"tEXt", b"iTXt", b"zTXt")  # chunks that may hold an orientation


def check_can_hold(file: OpenFile, where: str) -> None:
    """Refuses a PNG with more pixels than its bytes can unpack to; leaves other files alone.

    Raises:
        DataError: Pillow would allocate those pixels, and take the missing ones for black.
    """
    file.seek(0)
    start, size = file.read(26), file.seek(0, io.SEEK_END)
    file.seek(0)
    if start.startswith(MAGIC) and len(start) == 26:
        width, height, depth, colour = struct.unpack(">IIBB", start[16:])
        pixels = height * ceil_div(width * depth * _CHANNELS.get(colour, 1), 8)
        if pixels > MAX_DEFLATE * size:
            raise damaged(where, f"{height}x{width} pixels in {size} bytes")


def orientation_follows(file: OpenFile) -> bool:
    """Whether metadata that may turn the image come after its pixels, where Pillow reads them last.

    Source: PNG (W3C, third edition), sections 5.6 and 11.3; ExifTool for "Raw profile type".
    """
    behind = False
    for kind, _ in _starts(file):
        if behind and kind == b"eXIf":
            return True
        if behind and kind in _METADATA:
            if file.read(16).startswith((b"XML:com.adobe.xm", b"Raw profile type")):
                return True
        behind |= kind == b"IDAT"
    return False


def png_strips(
    path: Path, strip_bytes: int
) -> tuple[tuple[int, int], Callable[[], Iterator[Pixels]]]:
    """Rows and columns of a PNG, and what reads its stored pixels from the top down.

    Args:
        path: The file.
        strip_bytes: Bytes of the rows that are read at a time, stored or as RGB.

    Raises:
        NotInStrips: It is interlaced, its metadata turn it, or one of its rows is as large as the
            images that Pillow warns of.
        DataError: It is damaged; also from the iterator.

    Source: PNG (W3C, third edition), sections 5, 9.2 and 11.2.
    """
    with BoundedFile(path) as file:
        check_can_hold(file, str(path))
        chunks = list(_chunks(file, str(path), _FORMAT + _METADATA))
    if not chunks or chunks[0][0] != b"IHDR" or len(chunks[0][1]) != 13:
        raise damaged(str(path), "no header")
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[0][1])
    if colour not in _CHANNELS or not width * height:
        raise damaged(str(path), f"colour type {colour}, {height}x{width} pixels")
    if interlaced:
        raise NotInStrips("an interlaced PNG")
    if width > (Image.MAX_IMAGE_PIXELS or math.inf):
        raise NotInStrips(f"a PNG of {width} pixels in a row")
    pixel_bits = depth * _CHANNELS[colour]
    line = ceil_div(width * pixel_bits, 8)  # bytes

    def small_file(lines: np.ndarray, columns: int, kinds: tuple[bytes, ...]) -> bytes:
        header = header_chunk(len(lines), columns, depth, colour)
        copied = b"".join(chunk(kind, data) for kind, data in chunks[1:] if kind in kinds)
        return MAGIC + header + copied + _last_chunks(np.pad(lines, FILTER_0))

    one_pixel = np.zeros((1, ceil_div(pixel_bits, 8)), np.uint8)
    check_upright(small_file(one_pixel, 1, _METADATA))

    def strips() -> Iterator[Pixels]:
        done, above = 0, np.zeros(line, np.uint8)
        rows = max(strip_bytes // max(line, 3 * width), 1)
        for data in _inflated(path, rows * (1 + line)):
            found = min(len(data) // (1 + line), height - done)
            if found:
                filtered = np.frombuffer(data, np.uint8, found * (1 + line)).reshape(found, -1)
                lines = _unfiltered(filtered, above, max(pixel_bits // 8, 1))
                done, above = done + len(lines), lines[-1]
                yield small_pixels(small_file(lines, width, _FORMAT), str(path))
        if done < height:
            raise damaged(str(path), f"{height} rows expected, {done} found")

    return (height, width), strips


def header_chunk(rows: int, columns: int, depth: int, colour: int) -> bytes:
    """The header chunk of a PNG that is not interlaced."""
    return chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, depth, colour, 0, 0, 0))


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG: length, kind, data, checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _last_chunks(lines: np.ndarray) -> bytes:
    """The last chunks of a PNG: its lines, which begin with their filter type, not compressed."""
    return chunk(b"IDAT", zlib.compress(lines.tobytes(), 0)) + chunk(b"IEND", b"")


def _starts(file: OpenFile) -> Iterator[tuple[bytes, int]]:
    """Kind and length of the chunks of a PNG; the file stands at the data of each."""
    file.seek(len(MAGIC))
    while len(start := file.read(8)) == 8 and start[4:] != b"IEND":
        length, kind = struct.unpack(">I4s", start)
        after = file.tell() + length + 4
        yield kind, length
        file.seek(after)


def _chunks(file: OpenFile, where: str, kinds: tuple[bytes, ...]) -> Iterator[tuple[bytes, bytes]]:
    """Kind and data of those chunks of a PNG that are of one of the kinds."""
    for kind, length in _starts(file):
        if kind in kinds:
            data, checksum = file.read(length), file.read(4)
            if checksum != struct.pack(">I", zlib.crc32(kind + data)):
                raise damaged(where, f"checksum of a chunk {kind.decode()}")
            yield kind, data


def _inflated(path: Path, size: int) -> Iterator[bytes]:
    """The decompressed data of a PNG, `size` bytes at a time; the last may be fewer or more."""
    inflater, held = zlib.decompressobj(), bytearray()
    with BoundedFile(path) as file:
        for _, data in _chunks(file, str(path), (b"IDAT",)):
            while data:
                held += inflater.decompress(data, size - len(held))
                data = inflater.unconsumed_tail
                if len(held) == size:
                    yield bytes(held)
                    held.clear()
    held += inflater.flush()
    yield bytes(held)


def _unfiltered(filtered: np.ndarray, above: np.ndarray, step: int) -> np.ndarray:
    """Undoes the filters of some lines of a PNG.

    A filter stores a byte as the difference from a prediction, which depends on the byte `step`
    before it and on those above the two; `step` is the bytes of a pixel, at least 1. So the bytes
    0, step, 2 * step, ... of all lines depend on each other only. They are filtered like an 8-bit
    gray image, whose step is 1, and Pillow undoes that in C. The `step` gray images go into one
    PNG, on top of each other; each starts with its bytes of the line above, which are not filtered.

    `filtered` is uint8 (r, 1 + n), filter type and bytes of each line; `above`, uint8 (n,), the
    line before them, and the result, uint8 (r, n), are not filtered.
    """
    rows, columns = len(filtered), len(above) // step
    gray = np.zeros((step, rows + 1, 1 + columns), np.uint8)
    gray[:, 0, 1:] = above.reshape(columns, step).T
    gray[:, 1:, 0] = filtered[:, 0]
    gray[:, 1:, 1:] = filtered[:, 1:].reshape(rows, columns, step).transpose(2, 0, 1)
    header = header_chunk(step * (rows + 1), columns, depth=8, colour=0)
    small = MAGIC + header + _last_chunks(gray.reshape(-1, 1 + columns))
    with open_small_file(small) as image:
        pixels = np.asarray(image).reshape(step, rows + 1, columns)
    return pixels[:, 1:].transpose(1, 2, 0).reshape(rows, -1)
