"""TIFF files by their stored samples: any number of bands, 16 bits, a few rows at a time.

Pillow opens only some kinds of TIFF, leaves bands out or takes one for alpha, and keeps 8 of 16
bits of colours. So the segments of a file, its own strips or tiles, are each wrapped in a small
file (see `small_files`). Where bands lie side by side, it is gray and as many times as wide.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from PIL import TiffImagePlugin as tag

from fcn_jax.arithmetic import ceil_div
from fcn_jax.damage import BoundedFile
from fcn_jax.data.images import OpenFile, Pixels
from fcn_jax.data.small_files import (
    NotInStrips,
    damaged,
    open_small_file,
    small_pixels,
)
from fcn_jax.data.tiff_tags import (
    BLACK_IS_0,
    GRAY,
    OLD_JPEG,
    RAW,
    RGB,
    TILES,
    YCBCR,
    Samples,
    Tags,
    orientation_of,
    parts_of,
    read_tags,
    samples_of,
    size_of,
    small_file,
)

# Tags that say how pixels are stored: bits, compression, photometric, fill order, samples,
# predictor, colour map, inks, extra samples, sample format, JPEG tables, YCbCr.
_FORMAT = (258, 259, 262, 266, 277, 317, 320, 332, 338, 339, 347, 529, 530, 531, 532)
_COMPRESSION = (tag.COMPRESSION, tag.JPEGTABLES)

_Place = tuple[int, int]
"""Offset and length of a segment in bytes."""
_Band = tuple[int, list[list[_Place]]]
"""Stored rows: how many, and where, by plane and column."""


def tiff_strips(
    path: Path, strip_bytes: int
) -> tuple[tuple[int, int], Callable[[], Iterator[Pixels]]]:
    """Rows and columns of a TIFF, and what reads its stored pixels from the top down.

    Args:
      path: The file.
      strip_bytes: Uncompressed strips are cut into parts of about so many bytes.

    Raises:
      NotInStrips: Its metadata turn it, it is a JPEG of the old style, its planes are of a kind
        that only Pillow reads, or a compressed segment is as large as the images that Pillow warns
        of.
      DataError: It is damaged, or Pillow does not know its kind of pixels; also from the iterator.

    Source: TIFF 6.0, sections 3, 8, 14 and 15, with the numbers of the tags.
    """
    where = str(path)
    with BoundedFile(path) as file:
        tags = read_tags(file, where)
    if orientation_of(tags, where) != 1:
        raise NotInStrips("an image that its metadata turn")
    if samples_of(tags) is None and tags.get(tag.PLANAR_CONFIGURATION, 1) != 1:
        raise NotInStrips("a TIFF whose channels lie in planes")
    if tags.get(tag.COMPRESSION) == OLD_JPEG:
        raise NotInStrips("a TIFF in JPEG of the old style")
    _bands(tags, where, strip_bytes)

    def strips() -> Iterator[Pixels]:
        with BoundedFile(path) as file:
            yield from read_strips(file, tags, where, strip_bytes)

    return size_of(tags), strips


def check_complete(file: OpenFile, where: str) -> None:
    """Refuses a TIFF without some of its strips or tiles, which Pillow takes for black.

    Raises:
      DataError: It is damaged.
    """
    _bands(read_tags(file, where), where, None)
    file.seek(0)


def read_strips(
    file: OpenFile, tags: Tags, where: str, strip_bytes: int | None
) -> Iterator[Pixels]:
    """The stored pixels of an open TIFF from the top down, not turned (see `tiff_strips`).

    `strip_bytes` is None where the whole image is read into memory anyway.
    """
    samples, columns = samples_of(tags), tags[parts_of(tags)[0]]
    left, width = tags[tag.IMAGELENGTH], tags[tag.IMAGEWIDTH]
    for rows, planes in _bands(tags, where, strip_bytes):
        size = rows, columns
        layers = [
            _joined([_segment(file, tags, samples, size, place, where) for place in places], axis=1)
            for places in planes
        ]
        whole = _joined(layers, axis=2)
        yield whole._replace(values=whole.values[:left, :width])  # tiles may exceed the image
        left -= rows


def _joined(parts: list[Pixels], axis: int) -> Pixels:
    return parts[0]._replace(values=np.concatenate([part.values for part in parts], axis))


def _segment(
    file: OpenFile,
    tags: Tags,
    samples: Samples | None,
    size: tuple[int, int],
    place: _Place,
    where: str,
) -> Pixels:
    """The stored pixels of one segment; of one plane where bands are stored by themselves."""
    (rows, columns), (offset, length) = size, place
    file.seek(offset)
    data = file.read(length)
    if samples is None:
        return small_pixels(small_file(tags, rows, columns, data, _FORMAT), where)
    n = 1 if samples.planes else samples.bands
    if samples.joined and n > 1:  # Pillow decodes two or four bands if the last is called alpha
        kind = {tag.PHOTOMETRIC_INTERPRETATION: RGB if n > 2 else BLACK_IS_0}
        kind |= {tag.EXTRASAMPLES: 2} if n in (2, 4) else {}
        values = _decoded(small_file(tags, rows, columns, data, _FORMAT, kind))
    else:
        bits = tags[tag.BITSPERSAMPLE][0]
        gray = {**GRAY, tag.BITSPERSAMPLE: bits}
        small = small_file(tags, rows, columns * n, data, _COMPRESSION, gray)
        values = _decoded(small).reshape(rows, columns, n)
    if samples.differences:
        values = np.cumsum(values, axis=1, dtype=values.dtype)
    return Pixels(values, samples.alpha, inverted=samples.inverted)


def _decoded(small: bytes) -> np.ndarray:
    with open_small_file(small) as image:
        values = np.asarray(image)
    return values.astype(values.dtype.newbyteorder("="))


def _bands(tags: Tags, where: str, strip_bytes: int | None) -> Iterable[_Band]:
    """The stored rows of an image from the top down."""
    samples = samples_of(tags)
    columns_tag, rows_tag, offsets_tag, lengths_tag = parts_of(tags)
    tiled = rows_tag in TILES
    height, width, columns = tags[tag.IMAGELENGTH], tags[tag.IMAGEWIDTH], tags[columns_tag]
    rows = tags.get(rows_tag, height) if tiled else min(tags.get(rows_tag, height), height)
    if min(height, width, rows, columns) < 1:
        raise damaged(where, f"{height}x{width} pixels in parts of {rows}x{columns}")
    places = list(zip(tags[offsets_tag], tags[lengths_tag], strict=False))
    across, down = ceil_div(width, columns), ceil_div(height, rows)
    planes = samples.bands if samples and samples.planes else 1
    if len(places) < planes * across * down:
        raise damaged(
            where, f"{planes * across * down} strips or tiles expected, {len(places)} found"
        )

    def row(i: int) -> list[list[_Place]]:
        starts = ((plane * down + i) * across for plane in range(planes))
        return [places[start : start + across] for start in starts]

    bands = [(rows if tiled else min(rows, height - i * rows), row(i)) for i in range(down)]
    if strip_bytes is None:
        return bands
    raw = tags.get(tag.COMPRESSION, RAW) == RAW
    # Uncompressed YCbCr may hold fewer colours than pixels, and has no lines to cut between.
    if not tiled and raw and tags.get(tag.PHOTOMETRIC_INTERPRETATION) != YCBCR:
        return _split(bands, tags, planes, strip_bytes)
    most, pixels = Image.MAX_IMAGE_PIXELS or math.inf, rows * (samples.bands if samples else 1)
    if columns * pixels > most or across * columns * pixels > 4 * most:
        raise NotInStrips(f"a TIFF in compressed strips or tiles of {rows} rows")
    return bands


def _split(
    bands: list[_Band],
    tags: Tags,
    planes: int,
    strip_bytes: int,
) -> Iterator[_Band]:
    """Cuts bands of uncompressed lines into bands of about `strip_bytes`."""
    width, samples = tags[tag.IMAGEWIDTH], tags.get(tag.SAMPLESPERPIXEL, 1)
    bits = tags.get(tag.BITSPERSAMPLE, (1,))
    line = ceil_div(width * (sum(bits) if len(bits) == samples else bits[0] * samples), 8 * planes)
    most = max(strip_bytes // max(line * planes, 3 * width), 1)
    for rows, parts in bands:
        for top in range(0, rows, most):
            lines = min(most, rows - top)
            places = [[(offset + top * line, lines * line)] for [(offset, _)] in parts]
            yield lines, places
