"""The pixels of labelme's shapes."""

from __future__ import annotations

import base64
import binascii
import math
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from PIL import Image, ImageDraw

from fcn_jax.data.errors import DataError
from fcn_jax.data.label_files import read_stored

_LINE_WIDTH = 10  # pixels, of lines. Source: `labelme/utils/shape.py` of labelme 5.5
_POINT_SIZE = 5  # pixels, the radius of points. Source: the same
_FAR = 10  # times the image's longer side
_POINTS = {"rectangle": (2, 4), "circle": (2,), "line": (2,), "point": (1,), "mask": (2,)}
"""How many points a shape has; newer versions of labelme save all corners of a rectangle."""
_POLYGONS = ("polygon", "linestrip", "oriented_rectangle", "rotation", "", None)


def mask_of(shape: dict[str, Any], size: tuple[int, int], where: str) -> Bool[np.ndarray, "h w"]:
    """The pixels of a shape, as labelme draws it.

    Args:
      shape: With `points` (x, y), `shape_type`, and `mask` if it is one.
      size: Rows and columns of the image.
      where: Its file, for messages.

    Raises:
      DataError: It is of an unknown type, or has the wrong number of points.
    """
    kind: Any = shape.get("shape_type")
    try:
        points = [(float(x), float(y)) for x, y in shape.get("points") or ()]
        sound = bool(points) and bool(np.isfinite(points).all())
    except (TypeError, ValueError):
        points, sound = [], False
    if kind in _POINTS:
        sound = sound and len(points) in _POINTS[kind]
    else:
        sound = sound and kind in _POLYGONS and len(points) >= (2 if kind == "linestrip" else 3)
    if not sound:
        raise DataError(
            f"{where}: expected a polygon (3 points or more), rectangle (2 or 4), circle (2), line "
            f"(2), linestrip (2 or more), point (1) or mask (2); found {kind!r} with {len(points)} "
            "points. Draw it again."
        )
    if np.abs(points).max() > _FAR * max(size):
        raise DataError(f"{where}: a point lies far outside of the image of {size[0]}x{size[1]}.")
    if kind == "mask":
        return _stored_mask(shape, points, size, where)
    drawn = Image.new("L", (size[1], size[0]))
    draw = ImageDraw.Draw(drawn)
    if kind == "rectangle" and len(points) == 2:
        (left, right), (top, bottom) = (sorted(axis) for axis in zip(*points, strict=True))
        draw.rectangle([left, top, right, bottom], outline=1, fill=1)
    elif kind in ("circle", "point"):
        (x, y), rim = points[0], points[-1]
        radius = math.dist((x, y), rim) if kind == "circle" else _POINT_SIZE
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], outline=1, fill=1)
    elif kind in ("line", "linestrip"):
        draw.line(points, fill=1, width=_LINE_WIDTH)
    else:
        draw.polygon(points, outline=1, fill=1)
    return np.asarray(drawn) == 1


def _stored_mask(
    shape: dict[str, Any], points: list[tuple[float, float]], size: tuple[int, int], where: str
) -> np.ndarray:
    """The pixels of a mask, which lies at the corners that `points` gives, both included."""
    part = read_stored(decoded(shape.get("mask"), where, "mask"), where) > 0
    (x0, y0), (x1, y1) = ((int(x), int(y)) for x, y in points[:2])
    if part.shape != (y1 - y0 + 1, x1 - x0 + 1) or not (
        0 <= x0 and 0 <= y0 and y1 < size[0] and x1 < size[1]
    ):
        raise DataError(
            f"{where}: the mask has {part.shape[0]} rows and {part.shape[1]} columns, and its "
            f"points are {points}. Draw it again."
        )
    mask = np.zeros(size, bool)
    mask[y0 : y1 + 1, x0 : x1 + 1] = part
    return mask


def decoded(text: Any, where: Path | str, what: str) -> bytes:
    """The bytes of base64 text.

    Raises:
      DataError: It is something else.
    """
    try:
        return base64.b64decode(text, validate=False)
    except (binascii.Error, TypeError, ValueError) as error:
        raise DataError(f"{where}: its {what} is damaged ({error}). Save it again.") from error
