"""PNG files some rows at a time.

Only what is around the pixels is read here. The rows become small files of their own, which Pillow
decodes: colours, depths and transparency are its business.
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fcn_jax.inference.large_files.parts import (
    Blocks,
    WholeOnly,
    as_rgb,
    check_upright,
    damaged,
    opened,
)

MAGIC = b"\x89PNG\r\n\x1a\n"

_BLOCK = 1 << 22  # bytes of pixels at a time, stored or as RGB
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of each colour type
_PIXELS = (b"IHDR", b"PLTE", b"tRNS")  # what tells how they are stored
_METADATA = (b"PLTE", b"eXIf", b"tEXt", b"iTXt", b"zTXt")  # what may tell which way is up


def png_blocks(path: Path) -> Blocks:
    """Rows and columns of a PNG, and its rows, RGB, a block at a time (see `strips.read_strips`).

    Raises:
        WholeOnly: if it is interlaced, or its metadata turn it upright.
        ValueError: if it is damaged.

    Source: PNG (W3C, third edition), sections 5, 9.2 and 11.2.
    """
    chunks = list(_chunks(path, _PIXELS + _METADATA))
    if not chunks or chunks[0][0] != b"IHDR" or len(chunks[0][1]) != 13:
        raise damaged(path, "no header")
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[0][1])
    if colour not in _CHANNELS or not width * height:
        raise damaged(path, f"colour type {colour}, {height}x{width} pixels")
    if interlaced:
        raise WholeOnly("a PNG that is interlaced is not read by strips")
    bits = depth * _CHANNELS[colour]
    line = -(-width * bits // 8)

    def small(columns: int, raw: np.ndarray, kinds: tuple[bytes, ...]) -> bytes:
        about = b"".join(chunk(kind, data) for kind, data in chunks[1:] if kind in kinds)
        header = header_chunk(len(raw), columns, depth, colour)
        return MAGIC + header + about + _ending(np.pad(raw, ((0, 0), (1, 0))))

    check_upright(small(1, np.zeros((1, -(-bits // 8)), np.uint8), _METADATA), path)

    def blocks() -> Iterator[np.ndarray]:
        done, above = 0, np.zeros(line, np.uint8)
        rows = max(_BLOCK // max(line, 3 * width), 1)
        for data in _inflated(path, rows * (line + 1)):
            lines = np.frombuffer(data, np.uint8, len(data) // (line + 1) * (line + 1))
            lines = lines.reshape(-1, line + 1)[: height - done]
            if len(lines):
                raw = _unfiltered(lines, above, max(bits // 8, 1), path)
                done, above = done + len(raw), raw[-1]
                yield as_rgb(small(width, raw, _PIXELS), path)
        if done < height:
            raise damaged(path, f"{height} rows expected, {done} found")

    return (height, width), blocks()


def header_chunk(rows: int, columns: int, depth: int, colour: int) -> bytes:
    """The header chunk of a PNG that is not interlaced."""
    return chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, depth, colour, 0, 0, 0))


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG: length, kind, data, check sum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _ending(lines: np.ndarray) -> bytes:
    """The last chunks of a PNG, whose lines begin with their filter type; not compressed."""
    return chunk(b"IDAT", zlib.compress(lines.tobytes(), 0)) + chunk(b"IEND", b"")


def _chunks(path: Path, kinds: tuple[bytes, ...]) -> Iterator[tuple[bytes, bytes]]:
    """Those chunks of a PNG that are of one of the kinds."""
    with path.open("rb") as file:
        file.seek(len(MAGIC))
        while len(start := file.read(8)) == 8 and start[4:] != b"IEND":
            length, kind = struct.unpack(">I4s", start)
            if kind not in kinds:
                file.seek(length + 4, 1)
                continue
            data, check = file.read(length), file.read(4)
            if check != struct.pack(">I", zlib.crc32(kind + data)):
                raise damaged(path, f"check sum of a chunk {kind.decode()}")
            yield kind, data


def _inflated(path: Path, size: int) -> Iterator[bytes]:
    """The compressed data of a PNG, `size` bytes at a time; the last may be fewer or more."""
    inflater, held = zlib.decompressobj(), bytearray()
    try:
        for _, data in _chunks(path, (b"IDAT",)):
            while data:
                held += inflater.decompress(data, size - len(held))
                data = inflater.unconsumed_tail
                if len(held) == size:
                    yield bytes(held)
                    held.clear()
        held += inflater.flush()
    except zlib.error as error:
        raise damaged(path, str(error)) from error
    yield bytes(held)


def _unfiltered(lines: np.ndarray, above: np.ndarray, step: int, path: Path) -> np.ndarray:
    """Undoes the filters of whole lines of a PNG.

    A filter predicts a byte from that `step` before it and those above the two. So bytes 0, step,
    2 * step, ... are the line of an 8-bit gray image of its own, which Pillow decodes. All of them
    make one image; the line above each comes first in it, and is not filtered.
    """
    rows, columns = len(lines), len(above) // step
    gray = np.zeros((step, rows + 1, columns + 1), np.uint8)
    gray[:, 1:, 0] = lines[:, 0]
    gray[:, 0, 1:] = above.reshape(columns, step).T
    gray[:, 1:, 1:] = lines[:, 1:].reshape(rows, columns, step).transpose(2, 0, 1)
    header = header_chunk(step * (rows + 1), columns, depth=8, colour=0)
    with opened(MAGIC + header + _ending(gray.reshape(-1, columns + 1)), path) as image:
        raw = np.asarray(image).reshape(step, rows + 1, columns)[:, 1:]
    return raw.transpose(1, 2, 0).reshape(rows, -1)
