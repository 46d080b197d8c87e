"""TIFF files, some rows at a time (see `decoding`). Segments are the file's own strips or tiles."""

import io
import math
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image
from PIL import TiffImagePlugin as tag
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from fcn_jax.arithmetic import ceil_div
from fcn_jax.inference.large_files import decoding
from fcn_jax.inference.large_files.decoding import NotInStrips, damaged

MAGICS = (b"II*\0", b"MM\0*", b"II+\0")  # little and big endian; the last is BigTIFF

# Tags of a segment's columns and rows, and of the segments' offsets and lengths in bytes.
_TILES = (tag.TILEWIDTH, tag.TILELENGTH, tag.TILEOFFSETS, tag.TILEBYTECOUNTS)
_STRIPS = (tag.IMAGEWIDTH, tag.ROWSPERSTRIP, tag.STRIPOFFSETS, tag.STRIPBYTECOUNTS)
# Tags that say how pixels are stored: bits, compression, photometric, fill order, samples,
# predictor, colour map, inks, extra samples, sample format, JPEG tables, YCbCr.
_FORMAT = (258, 259, 262, 266, 277, 317, 320, 332, 338, 339, 347, 529, 530, 531, 532)
_METADATA = (int(ExifTags.Base.Orientation), tag.XMP)  # tags that may turn the image
_RAW, _OLD_JPEG, _YCBCR, _LONG = 1, 6, 6, 4  # two compressions, a photometric, a type of values

_Band = tuple[int, list[tuple[int, int]]]
"""Stored rows, and where they lie: offset and length in bytes of each part, from left to right."""


def tiff_strips(path: Path) -> decoding.SizeAndStrips:
    """Rows and columns of a TIFF, and its strips, RGB (see `strips.read_strips`).

    Raises:
        NotInStrips: if its channels lie in planes, it is a JPEG of the old style, its metadata turn
            it, or a compressed segment is as large as the images that Pillow warns of.
        ValueError: if it is damaged, or Pillow does not know its kind of pixels.

    Source: TIFF 6.0, sections 3, 8 and 15, with the numbers of the tags.
    """
    with path.open("rb") as file:
        start = file.read(16)
        tags = ImageFileDirectory_v2(start if start[:4] == MAGICS[2] else start[:8])
        file.seek(tags.next)
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # of missing tags
            tags.load(file)
    columns_tag, _, *places_tags = _TILES if tag.TILEOFFSETS in tags else _STRIPS
    if missing := {tag.IMAGEWIDTH, tag.IMAGELENGTH, columns_tag, *places_tags} - set(tags):
        raise damaged(path, f"no tags {sorted(missing)}")
    if tags.get(tag.PLANAR_CONFIGURATION, 1) != 1:
        raise NotInStrips("a TIFF whose channels lie in planes cannot be read strip by strip")
    if tags.get(tag.COMPRESSION) == _OLD_JPEG:
        raise NotInStrips("a TIFF in JPEG of the old style cannot be read strip by strip")
    decoding.check_upright(_small_file(tags, 1, 1, b"", (*_FORMAT, *_METADATA)), path)
    height, width = tags[tag.IMAGELENGTH], tags[tag.IMAGEWIDTH]
    bands = _bands(tags, path)

    def strips() -> Iterator[np.ndarray]:
        left = height
        with path.open("rb") as file:
            for rows, places in bands:
                parts = []
                for offset, length in places:
                    file.seek(offset)
                    small = _small_file(tags, rows, tags[columns_tag], file.read(length), _FORMAT)
                    parts.append(decoding.decode_rgb(small, path))
                yield np.concatenate(parts, 1)[:left, :width]  # tiles may exceed the image
                left -= rows

    return (height, width), strips()


def _bands(tags: ImageFileDirectory_v2, path: Path) -> list[_Band]:
    """The bands of an image, from the top down; raises as `tiff_strips` does."""
    tiled = tag.TILEOFFSETS in tags
    columns_tag, rows_tag, offsets_tag, lengths_tag = _TILES if tiled else _STRIPS
    height, width, columns = tags[tag.IMAGELENGTH], tags[tag.IMAGEWIDTH], tags[columns_tag]
    rows = tags.get(rows_tag, height) if tiled else min(tags.get(rows_tag, height), height)
    if min(height, width, rows, columns) < 1:
        raise damaged(path, f"{height}x{width} pixels in parts of {rows}x{columns}")
    places = list(zip(tags[offsets_tag], tags[lengths_tag], strict=False))
    across, down = ceil_div(width, columns), ceil_div(height, rows)
    if len(places) < across * down:
        raise damaged(path, f"{across * down} strips or tiles expected, {len(places)} found")
    bands = [
        (rows if tiled else min(rows, height - i * rows), places[i * across : (i + 1) * across])
        for i in range(down)
    ]
    raw = tags.get(tag.COMPRESSION, _RAW) == _RAW
    # Uncompressed YCbCr may hold fewer colours than pixels, and has no lines to cut between.
    if not tiled and raw and tags.get(tag.PHOTOMETRIC_INTERPRETATION) != _YCBCR:
        return _split(bands, tags)
    if columns * rows > (Image.MAX_IMAGE_PIXELS or math.inf):
        raise NotInStrips(
            f"a TIFF in compressed strips or tiles of {rows} rows cannot be read strip by strip"
        )
    return bands


def _split(bands: list[_Band], tags: ImageFileDirectory_v2) -> list[_Band]:
    """Cuts bands of uncompressed lines into bands of about `STRIP_BYTES`."""
    width, samples = tags[tag.IMAGEWIDTH], tags.get(tag.SAMPLESPERPIXEL, 1)
    bits = tags.get(tag.BITSPERSAMPLE, (1,))
    line = ceil_div(width * (sum(bits) if len(bits) == samples else bits[0] * samples), 8)
    most = max(decoding.STRIP_BYTES // max(line, 3 * width), 1)
    split = []
    for rows, [(offset, _)] in bands:
        for top in range(0, rows, most):
            lines = min(most, rows - top)
            split.append((lines, [(offset + top * line, lines * line)]))
    return split


def _small_file(
    tags: ImageFileDirectory_v2, rows: int, columns: int, data: bytes, copied: tuple[int, ...]
) -> bytes:
    """A TIFF of one strip with these stored pixels, and those of the file's tags to be copied."""
    small = ImageFileDirectory_v2(prefix=tags.prefix)
    for number in copied:
        if number in tags:
            small.tagtype[number] = tags.tagtype[number]
            small[number] = tags[number]
    small.tagtype[tag.STRIPOFFSETS] = _LONG
    small[tag.IMAGEWIDTH], small[tag.IMAGELENGTH], small[tag.ROWSPERSTRIP] = columns, rows, rows
    small[tag.STRIPOFFSETS], small[tag.STRIPBYTECOUNTS] = 0, len(data)  # 0: where `save` ends
    file = io.BytesIO()
    small.save(file)
    return file.getvalue() + data
