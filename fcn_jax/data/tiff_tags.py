"""What the tags of a TIFF say of its samples, and small files with the same tags."""

import io
import threading
import warnings
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from PIL import ExifTags
from PIL import TiffImagePlugin as tag
from PIL.TiffImagePlugin import ImageFileDirectory_v2 as Tags

from fcn_jax.data.images import OpenFile, orientation
from fcn_jax.data.small_files import damaged, open_small_file

MAGICS = (b"II*\0", b"MM\0*", b"II+\0")  # little and big endian; the last is BigTIFF
WHITE_IS_0, BLACK_IS_0, RGB, YCBCR = 0, 1, 2, 6  # photometrics
RAW, OLD_JPEG, JPEG = 1, 6, 7  # compressions
GRAY: Mapping[int, int] = MappingProxyType(
    {tag.BITSPERSAMPLE: 8, tag.PHOTOMETRIC_INTERPRETATION: BLACK_IS_0}
)
_METADATA = (int(ExifTags.Base.Orientation), tag.XMP)  # tags that may turn the image
_ALPHA = (1, 2)  # extra samples, by which colours are multiplied or not
_SHORT, _LONG = 3, 4  # types of values
_ONE_AT_A_TIME = threading.Lock()  # filters of warnings belong to all threads

# Tags of a segment's columns and rows, and of the segments' offsets and lengths in bytes.
TILES = (tag.TILEWIDTH, tag.TILELENGTH, tag.TILEOFFSETS, tag.TILEBYTECOUNTS)
_STRIPS = (tag.IMAGEWIDTH, tag.ROWSPERSTRIP, tag.STRIPOFFSETS, tag.STRIPBYTECOUNTS)


class Samples(NamedTuple):
    """How the samples of a file lie whose bands are read one by one.

    Attributes:
      bands: How many there are.
      alpha: The one that is alpha, from 0; None if none is.
      planes: Whether each is stored by itself.
      differences: Whether segments store the differences of neighbouring pixels.
      inverted: Whether 0 is white.
      joined: Whether the bands of a pixel are compressed together, as JPEG does.
    """

    bands: int
    alpha: int | None
    planes: bool
    differences: bool
    inverted: bool
    joined: bool


def read_tags(file: OpenFile, where: str) -> Tags:
    """The tags of the first image of a TIFF; `.next` is the offset of the second, or 0.

    Raises:
      DataError: It is damaged.
    """
    file.seek(0)
    start = file.read(16)
    tags = Tags(start if start[:4] == MAGICS[2] else start[:8])
    file.seek(tags.next)
    with _ONE_AT_A_TIME, warnings.catch_warnings(action="ignore", category=UserWarning):
        tags.load(file)  # warns of missing tags
    columns, _, *places = parts_of(tags)
    if missing := {tag.IMAGEWIDTH, tag.IMAGELENGTH, columns, *places} - set(tags):
        raise damaged(where, f"no tags {sorted(missing)}")
    return tags


def orientation_of(tags: Tags, where: str) -> int:
    """The orientation tag, 1 to 8, which may be a part of other metadata."""
    with open_small_file(small_file(tags, 1, 1, b"", _METADATA, GRAY)) as image:
        return orientation(image)


def size_of(tags: Tags) -> tuple[int, int]:
    """Rows and columns as stored, not turned."""
    return tags[tag.IMAGELENGTH], tags[tag.IMAGEWIDTH]


def has_alpha(tags: Tags) -> bool:
    """Whether a band is declared as alpha."""
    return any(kind in _ALPHA for kind in tags.get(tag.EXTRASAMPLES, ()))


def samples_of(tags: Tags) -> Samples | None:
    """How to read the bands of a file; None where Pillow reads all of them, and all bits."""
    n = tags.get(tag.SAMPLESPERPIXEL, 1)
    bits = tags.get(tag.BITSPERSAMPLE, (1,))
    photometric = tags.get(tag.PHOTOMETRIC_INTERPRETATION, WHITE_IS_0)
    compression = tags.get(tag.COMPRESSION, RAW)
    planes = tags.get(tag.PLANAR_CONFIGURATION, 1) != 1 and n > 1
    if (
        set(bits) not in ({8}, {16})
        or set(tags.get(tag.SAMPLEFORMAT, (1,))) != {1}
        or photometric not in (WHITE_IS_0, BLACK_IS_0, RGB)
        or tags.get(tag.FILLORDER, 1) != 1
        or (compression == OLD_JPEG)
    ):
        return None
    if set(bits) == {8} and not planes and (n == 1 or (n == 3 and photometric == RGB)):
        return None
    extra = tags.get(tag.EXTRASAMPLES, ())
    alphas = [n - len(extra) + i for i, kind in enumerate(extra) if kind in _ALPHA]
    return Samples(
        bands=n,
        alpha=alphas[0] if alphas else None,
        planes=planes,
        differences=tags.get(tag.PREDICTOR, 1) == 2 and compression not in (RAW, JPEG),
        inverted=photometric == WHITE_IS_0,
        joined=compression == JPEG and not planes,
    )


def parts_of(tags: Tags) -> tuple[int, int, int, int]:
    """The tags of a segment's columns and rows, and of the segments' offsets and lengths."""
    return TILES if tag.TILEOFFSETS in tags else _STRIPS


def small_file(
    tags: Tags,
    rows: int,
    columns: int,
    data: bytes,
    copied: tuple[int, ...],
    given: Mapping[int, int] = MappingProxyType({}),
) -> bytes:
    """A TIFF of one strip with these stored pixels, tags of the file to be copied, and others."""
    small = Tags(prefix=tags.prefix)
    for number in copied:
        if number in tags:
            small.tagtype[number] = tags.tagtype[number]
            small[number] = tags[number]
    for number, value in given.items():
        small.tagtype[number] = _SHORT
        small[number] = value
    small.tagtype[tag.STRIPOFFSETS] = _LONG
    small[tag.IMAGEWIDTH], small[tag.IMAGELENGTH], small[tag.ROWSPERSTRIP] = columns, rows, rows
    small[tag.STRIPOFFSETS], small[tag.STRIPBYTECOUNTS] = 0, len(data)  # 0: where `save` ends
    file = io.BytesIO()
    small.save(file)
    return file.getvalue() + data
