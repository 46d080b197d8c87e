"""TIFF files some rows at a time.

Only the tags are read here. Each strip or tile becomes a small TIFF of its own, which Pillow
decodes: colours, depths and compressions are its business.
"""

import io
import math
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from fcn_jax.inference.large_files.parts import Blocks, WholeOnly, as_rgb, check_upright, damaged

MAGICS = (b"II*\0", b"MM\0*", b"II+\0")  # little and big endian; the last is BigTIFF

_BLOCK = 1 << 22  # bytes of uncompressed pixels at a time, stored or as RGB
_ORIENTATION, _XMP = 274, 700
# Bits, compression, photometric, fill order, samples, predictor, colour map, inks, extra samples,
# sample format, JPEG tables, YCbCr: all that tells how the pixels of a strip are stored.
_PIXELS = (258, 259, 262, 266, 277, 317, 320, 332, 338, 339, 347, 529, 530, 531, 532)
_LONG = 4


def tiff_blocks(path: Path) -> Blocks:
    """Rows and columns of a TIFF, and its rows, RGB, some at a time (see `strips.read_strips`).

    Raises:
        WholeOnly: if its channels lie in planes, its metadata turn it upright, or a compressed
            strip is as large as the images that Pillow warns of.
        ValueError: if it is damaged, or Pillow does not know its kind of pixels.

    Source: TIFF 6.0, sections 3, 8 and 15, with the numbers of the tags.
    """
    with path.open("rb") as file:
        start = file.read(16)
        tags = ImageFileDirectory_v2(start if start[2] == 43 else start[:8])
        file.seek(tags.next)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of tags left out; missed below
            tags.load(file)
    tiled = 324 in tags
    columns, rows, offsets, sizes = (322, 323, 324, 325) if tiled else (256, 278, 273, 279)
    missing = {256, 257, columns, offsets, sizes} - set(tags)
    if missing:
        raise damaged(path, f"no tags {sorted(missing)}")
    height, width = tags[257], tags[256]
    if tags.get(284, 1) != 1:
        raise WholeOnly("a TIFF whose channels lie in planes is not read by strips")
    if tags.get(259) == 6:
        raise WholeOnly("a TIFF in JPEG of the old style is not read by strips")
    check_upright(_small(tags, 1, 1, b"", (*_PIXELS, _ORIENTATION, _XMP)), path)
    rows = tags.get(rows, height) if tiled else min(tags.get(rows, height), height)
    if min(height, width, rows, tags[columns]) < 1:
        raise damaged(path, f"{height}x{width} pixels in parts of {rows}x{tags[columns]}")
    places = list(zip(tags[offsets], tags[sizes], strict=False))
    across = -(-width // tags[columns])
    if len(places) < (expected := across * -(-height // rows)):
        raise damaged(path, f"{expected} strips or tiles expected, {len(places)} found")
    # Uncompressed YCbCr may hold fewer colours than pixels, and has no lines to cut between.
    if not tiled and tags.get(259, 1) == 1 and tags.get(262) != 6:
        bands = _lines(tags, rows, [offset for offset, _ in places])
    elif tags[columns] * rows > (Image.MAX_IMAGE_PIXELS or math.inf):
        raise WholeOnly(
            f"a TIFF in compressed strips or tiles of {rows} rows is not read by strips"
        )
    else:
        tops = range(0, height, rows)
        highs = (rows if tiled else min(rows, height - top) for top in tops)
        bands = zip(highs, (places[i * across :][:across] for i in range(len(tops))), strict=True)

    def blocks() -> Iterator[np.ndarray]:
        left = height
        with path.open("rb") as file:
            for high, row in bands:
                parts = []
                for offset, size in row:
                    file.seek(offset)
                    part = _small(tags, high, tags[columns], file.read(size), _PIXELS)
                    parts.append(as_rgb(part, path))
                yield np.concatenate(parts, 1)[:left, :width]
                left -= high

    return (height, width), blocks()


def _lines(
    tags: ImageFileDirectory_v2, rows: int, offsets: list[int]
) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Some lines of a strip at a time: how many, and their offset and bytes; not compressed."""
    bits, samples = tags.get(258, (1,)), tags.get(277, 1)
    line = -(-tags[256] * (sum(bits) if len(bits) == samples else bits[0] * samples) // 8)
    most = max(_BLOCK // max(line, 3 * tags[256]), 1)
    for number, offset in enumerate(offsets):
        high = min(rows, tags[257] - number * rows)
        for top in range(0, high, most):
            some = min(most, high - top)
            yield some, [(offset + top * line, some * line)]


def _small(
    tags: ImageFileDirectory_v2, rows: int, columns: int, data: bytes, kept: tuple[int, ...]
) -> bytes:
    """A TIFF of one strip, whose pixels are stored as those of the file with these tags."""
    small = ImageFileDirectory_v2(prefix=tags.prefix)
    for tag in kept:
        if tag in tags:
            small.tagtype[tag] = tags.tagtype[tag]
            small[tag] = tags[tag]
    small.tagtype[273] = _LONG
    small[256], small[257], small[278] = columns, rows, rows
    small[273], small[279] = 0, len(data)  # 0: behind the tags, where `save` ends
    file = io.BytesIO()
    small.save(file)
    file.write(data)
    return file.getvalue()
