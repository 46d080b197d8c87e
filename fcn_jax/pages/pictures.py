"""Labels as pictures for a page, in colours that colour-blind people can tell apart."""

import base64
import io
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer, UInt8
from PIL import Image

SIDE = 300
"""Pixels of a picture's longer side."""

# Source: Okabe and Ito, "Color universal design" (2008), without black. Then the same, darker and
# lighter.
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
PALETTE = np.concatenate([_COLOURS, _COLOURS * 0.55, _COLOURS * 0.5 + 127]).astype(np.uint8)
"""Colours of classes, uint8 (21, 3) RGB, 0..255; they repeat after 21 classes."""

BEHIND = 60
"""The gray of a background where there is no image behind it."""

IGNORED = "ignored"
"""The name of values that are hatched."""
_BACKGROUND = ("background", "class 0")
_MOST_KEYS = 8


class Key(NamedTuple):
    """A line of a picture's legend: a colour as CSS, "" of what is ignored; and what it is."""

    css: str
    text: str


def css(rank: int) -> str:
    """The colour of the class that is the rank-th, as CSS."""
    red, green, blue = PALETTE[rank % len(PALETTE)]
    return f"rgb({red} {green} {blue})"


def class_css(value: int, name: str) -> str:
    """The colour of a class, as CSS: the same in all pictures."""
    return "transparent" if is_background(value, name) else css(_place(value))


def is_background(value: int, name: str) -> bool:
    """Whether a class is what lies behind the others, which has no colour."""
    return value == 0 and name in _BACKGROUND


def label_over_image(
    rgb: UInt8[np.ndarray, "h w 3"],
    label: Integer[np.ndarray, "h2 w2"],
    names: Mapping[int, str],
    side: int = SIDE,
) -> tuple[str, list[Key]]:
    """Draws a label over its image, which is grayed, with white lines between classes.

    Args:
        rgb: the image, 0..255.
        label: classes, or other values; it may be of another size than the image.
        names: what each value is. `IGNORED` is hatched; a background of value 0 has no colour.
        side: pixels of the picture's longer side.

    Returns:
        The picture as a data URI, and its legend, the largest area first.
    """
    small = fit(rgb, side).astype(np.float32)
    label = resized(label, small.shape[:2])
    gray = small.mean(-1, keepdims=True)
    drawn = 0.35 * small + 0.65 * gray
    legend = []
    for value in _by_area(label):
        where, name = label == value, names.get(value, str(value))
        if name == IGNORED:
            drawn[where] = _hatch(where)
            legend.append(Key("", name))
            continue
        if not is_background(value, name):
            drawn[where] = 0.4 * drawn[where] + 0.6 * PALETTE[_place(value) % len(PALETTE)]
        legend.append(Key(class_css(value, name), name))
    edge = np.zeros(label.shape, bool)
    edge[:, 1:] |= label[:, 1:] != label[:, :-1]
    edge[1:] |= label[1:] != label[:-1]
    if edge.mean() < 0.25:  # else there would be nothing but lines
        drawn[edge] = 255
    return jpeg_uri(drawn.clip(0, 255).astype(np.uint8)), shortened(legend)


def label_alone(
    label: Integer[np.ndarray, "h w"], names: Mapping[int, str], size: tuple[int, int]
) -> str:
    """Draws a label without its image, as a data URI; see `label_over_image`.

    Args:
        label: classes.
        names: what each value is.
        size: rows and columns of the picture.
    """
    label = resized(label, size)
    dark, stripes = len(PALETTE), (len(PALETTE) + 1, len(PALETTE) + 2)
    drawn = np.full(size, dark, np.uint8)
    for value in np.unique(label).tolist():
        where, name = label == value, names.get(value, str(value))
        if name == IGNORED:
            drawn[where] = np.where(_hatch(where)[:, 0] > 128, *stripes)
        elif not is_background(value, name):
            drawn[where] = _place(value) % len(PALETTE)
    image = Image.fromarray(drawn)
    image.putpalette([*PALETTE.ravel().tolist(), *([BEHIND] * 3), *([235] * 3), *([40] * 3)])
    return uri(_saved(image, "PNG"), "png")


def shortened(legend: list[Key]) -> list[Key]:
    """A legend of at most eight lines; the last says how many were left out."""
    left = len(legend) - _MOST_KEYS + 1
    more = [Key("transparent", f"and {left} more")] if left > 1 else []
    return legend[: _MOST_KEYS - len(more)] + more


def fit(rgb: UInt8[np.ndarray, "h w 3"], side: int = SIDE) -> UInt8[np.ndarray, "_ _ 3"]:
    """The image with a longer side of `side` pixels."""
    scale = side / max(rgb.shape[:2])
    size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
    method = Image.Resampling.NEAREST if scale > 2 else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(rgb).resize(size, method))


def resized(label: Integer[np.ndarray, "h w"], size: tuple[int, int]) -> Integer[np.ndarray, "_ _"]:
    """The label at another size: each pixel takes the value of a near one."""
    rows, columns = (
        np.linspace(0, have - 1, want).round().astype(int)
        for have, want in zip(label.shape, size, strict=True)
    )
    return label[np.ix_(rows, columns)]


def jpeg_uri(rgb: UInt8[np.ndarray, "h w 3"]) -> str:
    """A data URI of a photograph."""
    return uri(encoded(rgb, "JPEG"), "jpeg")


def encoded(pixels: UInt8[np.ndarray, "h w *c"], kind: str) -> bytes:
    """A picture, RGB or gray, as the bytes of a JPEG or PNG file."""
    return _saved(Image.fromarray(pixels), kind)


def uri(data: bytes, kind: str) -> str:
    """The bytes of a picture file of some kind (jpeg, png) as a data URI."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _saved(image: Image.Image, kind: str) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **({"quality": 82} if kind == "JPEG" else {}))
    return data.getvalue()


def _by_area(label: np.ndarray) -> list[int]:
    values, counts = np.unique(label, return_counts=True)
    return values[np.argsort(-counts, kind="stable")].tolist()


def _hatch(where: np.ndarray) -> np.ndarray:
    """Dark and light stripes for the pixels of a mask, (n, 1)."""
    y, x = np.nonzero(where)
    return np.where(((x + y) // 4 % 2)[:, None], 235, 40)


def _place(value: int) -> int:
    """A class's place in the palette, the same in all pictures; class 0 is often background."""
    return value - 1 if value < 256 else value * 7919 % 104729
