"""Pictures of images with their labels drawn over them, for the page."""

from __future__ import annotations

import contextlib
from typing import NamedTuple

import numpy as np

from fcn_jax.check.look import Look
from fcn_jax.check.raw import read_raw
from fcn_jax.check.values import colour
from fcn_jax.data.errors import DataError
from fcn_jax.labels import IGNORE
from fcn_jax.pages.pictures import IGNORED, Key, fit, jpeg_uri, label_over_image


class Picture(NamedTuple):
    """A picture of an example.

    Attributes:
      name: The example's name.
      image, overlay: Data URIs of the image, and of the image with its label; "" if unreadable.
      legend: What the colours are, the largest area first.
      note: A line that says what it shows.
    """

    name: str
    image: str
    overlay: str
    legend: list[Key]
    note: str


def picture(look: Look, class_names: tuple[str, ...], note: str = "", undo: str = "") -> Picture:
    """Draws an example.

    Args:
      look: The example.
      class_names: A name for each class.
      note: A line that says what it shows.
      undo: Steps to turn the label back (see `edges.TURNS`); "" draws it as it is.
    """
    image = overlay = ""
    legend: list[Key] = []
    with contextlib.suppress(DataError, OSError):
        rgb = np.ascontiguousarray(look.item.read_image()[..., :3])
        image = jpeg_uri(fit(rgb))
        label, names = _label(look, class_names)
        if undo:
            label = turned_label(label, undo)
        overlay, legend = label_over_image(rgb, label, names)
    return Picture(look.name, image, overlay, legend, note)


def turned_label(label: np.ndarray, undo: str) -> np.ndarray:
    """A label after flips of columns (x) or rows (y), and transposing (t), step by step."""
    for step in undo:
        label = {"x": label[:, ::-1], "y": label[::-1], "t": label.T}[step]
    return label


def _label(look: Look, class_names: tuple[str, ...]) -> tuple[np.ndarray, dict[int, str]]:
    """Classes, or else the stored values; and the name of each."""
    if look.classes is not None and look.item.read_label is not None:
        label = look.item.read_label()
        names = dict(enumerate(class_names)) | {IGNORE: IGNORED}
        return label.astype(np.int64), {k: names.get(k, f"class {k}") for k in range(256)}
    if look.item.label is None:
        raise DataError(f"{look.name}: no label")
    raw = read_raw(look.item.label)
    values = np.unique(raw.values)
    text = colour if raw.colours else str
    return raw.values.astype(np.int64), {int(v): text(int(v)) for v in values}
