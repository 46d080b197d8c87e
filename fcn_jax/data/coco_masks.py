"""Masks of COCO's annotations: polygons and run lengths, as pycocotools draws them."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool

from fcn_jax.data.errors import DataError

_SCALE = 5  # polygons are drawn on a grid that many times finer. Source: `rleFrPoly` of pycocotools


def mask_of(segmentation: Any, size: tuple[int, int], where: str) -> Bool[np.ndarray, "h w"]:
    """The pixels of an annotation's `segmentation`.

    Args:
      segmentation: Polygons `[[x1, y1, x2, y2, ...], ...]`, of which the union counts; or run
        lengths `{"size": [rows, columns], "counts": ...}`, plain or compressed.
      size: Rows and columns of the image.
      where: The annotation, for messages.

    Raises:
      DataError: It is neither, or of another size.
    """
    if isinstance(segmentation, dict):
        return run_length_mask(segmentation, size, where)
    if not isinstance(segmentation, list) or not segmentation:
        raise DataError(
            f"{where}: has no mask (`segmentation` is {segmentation!r}), as an annotation of boxes "
            "alone. Labels need polygons or run lengths."
        )
    mask = np.zeros(size, bool)
    for polygon in segmentation:
        mask |= polygon_mask(polygon, size, where)
    return mask


def polygon_mask(
    polygon: Any, size: tuple[int, int], where: str = "polygon"
) -> Bool[np.ndarray, "h w"]:
    """The pixels of one polygon, x1, y1, x2, y2, ...; (0, 0) is the corner of the first pixel.

    The outline is drawn on a grid five times finer. In each column, the outline's crossings with
    the middle of the column open and close the mask in turns.

    Source: `rleFrPoly` in `common/maskApi.c` of pycocotools.
    Differs: pycocotools takes a list of four numbers for a box; here it is a line, without pixels.

    Raises:
      DataError: The numbers are not pairs, or not numbers.
    """
    try:
        corners = np.asarray(polygon, np.float64)
    except (TypeError, ValueError):
        corners = np.empty(1)
    if corners.ndim != 1 or len(corners) % 2 or not np.isfinite(corners).all():
        raise DataError(f"{where}: expected a polygon x1, y1, x2, y2, ...; found {polygon!r:.60}.")
    rows, columns = size
    grid = (_SCALE * corners.reshape(-1, 2) + 0.5).astype(np.int64)  # truncates, as C does
    limit = 8 * _SCALE * max(rows, columns, 1)
    if grid.size and np.abs(grid).max() > limit:
        raise DataError(f"{where}: a polygon lies far outside of the image of {rows}x{columns}.")
    sides = zip(grid, np.roll(grid, -1, axis=0), strict=True)
    outline = [_line(start, end) for start, end in sides if (start != end).any()]
    if not outline:
        return np.zeros(size, bool)
    x, y = np.concatenate(outline, axis=1)
    moved = np.flatnonzero(np.diff(x))
    column = (np.minimum(x[moved], x[moved + 1]) + 0.5) / _SCALE - 0.5
    row = (np.minimum(y[moved], y[moved + 1]) + 0.5) / _SCALE - 0.5
    kept = (column == np.floor(column)) & (column >= 0) & (column <= columns - 1)
    row = np.ceil(np.clip(row[kept], 0, rows)).astype(np.int64)
    crossings = column[kept].astype(np.int64) * rows + row  # column by column
    mask = np.zeros(rows * columns, bool)
    if crossings.size:
        first, last = crossings.min(), min(crossings.max(), mask.size)
        mask[first:last] = np.cumsum(np.bincount(crossings - first))[: last - first] % 2 == 1
    return mask.reshape(columns, rows).T


def _line(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The points of a line on the grid, int64 (2, n), from start to end: x, and y."""
    delta = end - start
    long = 0 if abs(delta[0]) >= abs(delta[1]) else 1
    low, high = (end, start) if delta[long] < 0 else (start, end)
    steps = np.arange(abs(delta[long]) + 1)
    slope = (high[1 - long] - low[1 - long]) / abs(delta[long])
    line = np.empty((2, len(steps)), np.int64)
    line[long] = low[long] + steps
    line[1 - long] = (low[1 - long] + slope * steps + 0.5).astype(np.int64)
    return line[:, ::-1] if delta[long] < 0 else line


def run_length_mask(
    runs: dict[str, Any], size: tuple[int, int], where: str = "run lengths"
) -> Bool[np.ndarray, "h w"]:
    """The pixels of run lengths: column by column, the first run is zeros.

    Raises:
      DataError: They are damaged, or of another size than the image.
    """
    counts, given = runs.get("counts"), runs.get("size")
    if list(given or ()) != list(size):
        raise DataError(f"{where}: expected run lengths of size {list(size)}, found {given}.")
    if isinstance(counts, str):
        counts = _unpacked(counts, where)
    try:
        lengths = np.asarray(counts)
        sound = lengths.ndim == 1 and lengths.dtype.kind in "iu" and lengths.min(initial=0) >= 0
    except (TypeError, ValueError, OverflowError):
        lengths, sound = np.zeros(0, np.int64), False
    pixels = size[0] * size[1]
    if not sound or lengths.max(initial=0) > pixels or lengths.sum() != pixels:
        raise DataError(
            f"{where}: the run lengths are damaged: expected whole numbers with the sum {pixels}."
        )
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths).reshape(size[1], size[0]).T


def _unpacked(text: str, where: str) -> list[int]:
    """Run lengths from their compressed text.

    A character holds 5 bits, from the lowest on; bit 6 says that more follow; the highest bit is
    the sign. From the fourth run on, a number is the difference to the run two before.

    Source: `rleFrString` in `common/maskApi.c` of pycocotools.
    """
    lengths: list[int] = []
    number = shift = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 30:
            raise DataError(f"{where}: the compressed run lengths are damaged at {character!r}.")
        number |= (code & 31) << shift
        shift += 5
        if not code & 32:
            number -= (1 << shift) if code & 16 else 0
            lengths.append(number + (lengths[-2] if len(lengths) > 2 else 0))
            number = shift = 0
    if shift:
        raise DataError(f"{where}: the compressed run lengths are cut off.")
    return lengths
