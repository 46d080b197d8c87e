"""Looks at one image and its label, and keeps what the whole data set is judged by."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64, Integer, UInt8
from PIL import Image

from fcn_jax.check.edges import fit, image_edges, label_edges
from fcn_jax.check.raw import Raw, read_raw
from fcn_jax.data.errors import DataError
from fcn_jax.data.images import orientation
from fcn_jax.data.label_files import label_endings
from fcn_jax.labels import IGNORE

THUMB = 24
_MOST_VALUES = 4096  # that are kept of one label


class Item(NamedTuple):
    """An image and its label, to be looked at.

    Attributes:
      name: Unique in the data set.
      part: "train", "validation", ...; "" where there is one part.
      image: The image's file; it may be missing, where another file holds the image.
      label: The label's file; None: there is none of its own.
      read_image: Reads the image as training does: uint8 RGB, and alpha where the file has it.
      read_label: Reads the label as training does: uint8, class indices, 255 = ignored.
    """

    name: str
    part: str
    image: Path
    label: Path | None
    read_image: Callable[[], np.ndarray]
    read_label: Callable[[], np.ndarray] | None


class Values(NamedTuple):
    """The values of one label.

    Attributes:
      values: int64, each value that occurs, sorted.
      pixels: int64, how many pixels have it.
      flat: int64, how many of them have four neighbours of the same value.
      lone: int64, how many of them have none.
      border: int64, how many pairs of neighbours have it on one side only.
      ramp: int64, how often it lies strictly between its two neighbours in a row or a column.
    """

    values: Int64[np.ndarray, " v"]
    pixels: Int64[np.ndarray, " v"]
    flat: Int64[np.ndarray, " v"]
    lone: Int64[np.ndarray, " v"]
    border: Int64[np.ndarray, " v"]
    ramp: Int64[np.ndarray, " v"]


class Look(NamedTuple):
    """What was seen of one image and its label.

    Attributes:
      item: What was looked at.
      image_size, label_size: Rows and columns, as read; None: could not be read.
      image_kind: The image's file in words.
      turned: The image's orientation tag, 1 to 8.
      raw: The label's file, without its values; None: it has none of its own, or a bad one.
      values: What its file stores (`Values`); None: nothing that can be read.
      classes: int64 (256,), pixels of each class as training would read them; None: it cannot.
      image_error, label_error: Why a file cannot be read at all; "".
      why: Why training cannot read the label, though its file can be read; "".
      thumb: uint8 (24, 24, 3), the image.
      flat_image: Whether the image has few colours, as a label has.
      image_bytes, label_values: Digests, to compare with others.
      fit: How label and image fit (`Fit`); None where the label has no edges.
      edges: The edge maps (`Edges`), image first; or None.
    """

    item: Item
    image_size: Any = None
    label_size: Any = None
    image_kind: str = ""
    turned: int = 1
    raw: Raw | None = None
    values: Any = None
    classes: Int64[np.ndarray, " 256"] | None = None
    image_error: str = ""
    label_error: str = ""
    why: str = ""
    thumb: UInt8[np.ndarray, "24 24 3"] | None = None
    flat_image: bool = False
    image_bytes: bytes = b""
    label_values: bytes = b""
    fit: Any = None
    edges: Any = None

    @property
    def name(self) -> str:
        """The item's name."""
        return self.item.name


def count_values(label: Integer[np.ndarray, "h w"]) -> Values:
    """The values of a label, how often they occur, and how often away from any edge."""
    if label.dtype == np.uint8:
        values, place = np.arange(256), label
    else:
        values, place = np.unique(label, return_inverse=True)
        place = place.reshape(label.shape)
    inner = place[1:-1, 1:-1]
    around = place[:-2, 1:-1], place[2:, 1:-1], place[1:-1, :-2], place[1:-1, 2:]
    same = [inner == other for other in around]
    every, some = same[0] & same[1] & same[2] & same[3], same[0] | same[1] | same[2] | same[3]
    counts = [
        np.bincount(found.ravel(), minlength=len(values))
        for found in (place, inner[every], inner[~some])
    ]
    border = np.zeros(len(values), np.int64)
    for one, other in ((place[1:], place[:-1]), (place[:, 1:], place[:, :-1])):
        differ = one != other
        border += np.bincount(one[differ], minlength=len(values))
        border += np.bincount(other[differ], minlength=len(values))
    counts += [border, _ramp(place, len(values))]
    there = counts[0] > 0
    values, counts = values[there], [count[there] for count in counts]
    if len(values) > _MOST_VALUES:
        most = np.sort(np.argsort(-counts[0], kind="stable")[:_MOST_VALUES])
        values, counts = values[most], [count[most] for count in counts]
    return Values(values.astype(np.int64), *(count.astype(np.int64) for count in counts))


def _ramp(place: Integer[np.ndarray, "h w"], count: int) -> Int64[np.ndarray, " v"]:
    """How often each value, given by its rank, lies strictly between two opposite neighbours."""
    found = np.zeros(count, np.int64)
    for turned in (place, place.T):
        up, down = turned[1:] > turned[:-1], turned[1:] < turned[:-1]
        found += np.bincount(
            turned[1:-1][(up[1:] & up[:-1]) | (down[1:] & down[:-1])], minlength=count
        )
    return found


def look(item: Item) -> Look:
    """Reads one image and its label; what cannot be read is told, not raised."""
    seen = Look(item)
    rgb = clear = None
    try:
        pixels = item.read_image()
        rgb = np.ascontiguousarray(pixels[..., :3])
        clear = pixels[..., 3] == 0 if pixels.shape[-1] == 4 else None
        content = item.image.read_bytes() if item.image.is_file() else rgb.tobytes()
        thumb = Image.fromarray(rgb).resize((THUMB, THUMB), Image.Resampling.BILINEAR)
        seen = seen._replace(
            image_size=rgb.shape[:2],
            **_header(item.image),
            thumb=np.asarray(thumb),
            flat_image=_few_colours(rgb),
            image_bytes=hashlib.sha256(content).digest(),
        )
    except (DataError, OSError) as error:
        seen = seen._replace(image_error=str(error))
    return _look_at_label(seen, rgb, clear)


def _few_colours(rgb: UInt8[np.ndarray, "h w 3"]) -> bool:
    step = max(1, min(rgb.shape[:2]) // 128)
    red, green, blue = np.moveaxis(rgb[::step, ::step].astype(np.int32), -1, 0)
    return len(np.unique(red << 16 | green << 8 | blue)) <= 40


def _header(path: Path) -> dict[str, Any]:
    """The kind and the orientation tag of an image that was read."""
    try:
        with Image.open(path) as image:
            return {"image_kind": f"{image.format}, {image.mode}", "turned": orientation(image)}
    except (OSError, ValueError):  # such as a TIFF of many bands, which Pillow does not know
        return {"image_kind": path.suffix.lstrip(".").upper()}


def _look_at_label(seen: Look, rgb: np.ndarray | None, clear: np.ndarray | None) -> Look:
    """Adds what the label says, and how it fits the image; `clear`: where that has alpha 0."""
    item, raw, values = seen.item, None, None
    if item.label is not None and item.label.suffix.lower() in label_endings():
        try:
            raw = read_raw(item.label)
            values = raw.values
        except (DataError, OSError) as error:
            return seen._replace(label_error=str(error))
    classes = None
    if item.read_label is not None:
        try:
            label = item.read_label()
            read = label
            if clear is not None and clear.shape == label.shape:  # as in training
                read = np.where(clear, np.uint8(IGNORE), label)
            classes = np.bincount(read.ravel(), minlength=256)
            values = label if values is None else values
        except (DataError, OSError) as error:
            why = str(error)
            seen = seen._replace(why=why) if raw else seen._replace(label_error=why)
    if values is None:
        return seen
    seen = seen._replace(
        label_size=values.shape,
        raw=raw and raw._replace(values=np.zeros((0, 0), np.uint8)),
        values=count_values(values),
        classes=classes,
        label_values=hashlib.sha256(repr(values.shape).encode() + values.tobytes()).digest(),
    )
    edges = label_edges(values, void=values == IGNORE)
    if rgb is None or edges is None:
        return seen
    of_image = image_edges(rgb)
    sideways = seen.label_size in (rgb.shape[:2][::-1],)  # of a square image too
    return seen._replace(fit=fit(of_image, edges, sideways=sideways), edges=(of_image, edges))
