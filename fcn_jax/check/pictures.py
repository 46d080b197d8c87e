"""Pictures of images with their labels drawn over them, for the page."""

from __future__ import annotations

import base64
import contextlib
import io
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from fcn_jax.check.look import Look
from fcn_jax.check.raw import read_raw
from fcn_jax.check.values import colour
from fcn_jax.data.errors import DataError
from fcn_jax.labels import IGNORE

_SIDE = 300  # pixels of a picture's longer side

# Colours that people who are colour-blind can tell apart. Source: Okabe and Ito, "Color universal
# design" (2008), without black. Then the same, darker and lighter.
_COLOURS = np.array(
    [
        (86, 180, 233),
        (230, 159, 0),
        (0, 158, 115),
        (240, 228, 66),
        (204, 121, 167),
        (213, 94, 0),
        (0, 114, 178),
    ]
)
_PALETTE = np.concatenate([_COLOURS, _COLOURS * 0.55, _COLOURS * 0.5 + 127]).astype(np.uint8)
_BACKGROUND = ("background", "class 0")


class Key(NamedTuple):
    """A line of a picture's legend: a colour as CSS, "" of what is ignored; and what it is."""

    css: str
    text: str


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
        rgb = look.item.read_image()
        image = _uri(_fit(rgb))
        label, names = _label(look, class_names)
        if undo:
            label = turned_label(label, undo)
        overlay, legend = _overlay(rgb, label, names)
    return Picture(look.name, image, overlay, legend, note)


def turned_label(label: np.ndarray, undo: str) -> np.ndarray:
    """A label after flips of columns (x) or rows (y), and transposing (t), step by step."""
    for step in undo:
        label = {"x": label[:, ::-1], "y": label[::-1], "t": label.T}[step]
    return label


def css(rank: int) -> str:
    """The colour of the class that is the rank-th, as CSS."""
    red, green, blue = _PALETTE[rank % len(_PALETTE)]
    return f"rgb({red} {green} {blue})"


def _label(look: Look, class_names: tuple[str, ...]) -> tuple[np.ndarray, dict[int, str]]:
    """Classes, or else the stored values; and the name of each."""
    if look.classes is not None and look.item.read_label is not None:
        label = look.item.read_label()
        names = dict(enumerate(class_names)) | {IGNORE: "ignored"}
        return label.astype(np.int64), {k: names.get(k, f"class {k}") for k in range(256)}
    if look.item.label is None:
        raise DataError(f"{look.name}: no label")
    raw = read_raw(look.item.label)
    values = np.unique(raw.values)
    text = colour if raw.colours else str
    return raw.values.astype(np.int64), {int(v): text(int(v)) for v in values}


def _overlay(
    rgb: UInt8[np.ndarray, "h w 3"], label: Int[np.ndarray, "h2 w2"], names: dict[int, str]
) -> tuple[str, list[Key]]:
    small = _fit(rgb).astype(np.float32)
    rows, columns = (
        np.linspace(0, have - 1, want).round().astype(int)
        for have, want in zip(label.shape, small.shape[:2], strict=True)
    )
    label = label[np.ix_(rows, columns)]
    values, counts = np.unique(label, return_counts=True)
    gray = small.mean(-1, keepdims=True)
    drawn = 0.35 * small + 0.65 * gray
    legend = []
    for value in values[np.argsort(-counts, kind="stable")].tolist():
        where, name = label == value, names.get(value, str(value))
        if name == "ignored":
            y, x = np.nonzero(where)
            drawn[where] = np.where(((x + y) // 4 % 2)[:, None], 235, 40)
            legend.append(Key("", name))
        elif name in _BACKGROUND and value == 0:
            legend.append(Key("transparent", name))
        else:
            ink = _PALETTE[_place(value) % len(_PALETTE)]
            drawn[where] = 0.4 * drawn[where] + 0.6 * ink
            legend.append(Key(css(_place(value)), name))
    edge = np.zeros(label.shape, bool)
    edge[:, 1:] |= label[:, 1:] != label[:, :-1]
    edge[1:] |= label[1:] != label[:-1]
    if edge.mean() < 0.25:  # else there would be nothing but lines
        drawn[edge] = 255
    more = [Key("transparent", f"and {len(legend) - 7} more")] if len(legend) > 8 else []
    return _uri(drawn.clip(0, 255).astype(np.uint8)), legend[: 8 - len(more)] + more


def _place(value: int) -> int:
    """A class's place in the palette, the same in all pictures; class 0 is often background."""
    return value - 1 if value < 256 else value * 7919 % 104729


def _fit(rgb: UInt8[np.ndarray, "h w 3"]) -> np.ndarray:
    scale = _SIDE / max(rgb.shape[:2])
    size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
    method = Image.Resampling.NEAREST if scale > 2 else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(rgb).resize(size, method))


def _uri(rgb: np.ndarray) -> str:
    data = io.BytesIO()
    Image.fromarray(rgb).save(data, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()
