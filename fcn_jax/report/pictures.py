"""Pictures of labels: palette PNGs, overlays, and sheets of image, truth and predictions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from fcn_jax.atomic import write_atomically
from fcn_jax.labels import IGNORE
from fcn_jax.report.palette import voc_palette

_INK, _PAPER, _EDGE = (40, 40, 46), (255, 255, 255), (205, 205, 210)


def write_png(path: Path | str, picture: UInt8[np.ndarray, "h w 3"]) -> Path:
    """Writes an RGB picture (uint8, 0..255) as a PNG, atomically; returns its path."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    return write_atomically(path, lambda draft: image.save(draft, format="PNG"))


def write_label_png(
    path: Path | str,
    label: UInt8[np.ndarray, "h w"],
    palette: UInt8[np.ndarray, "256 3"] | None = None,
) -> Path:
    """Writes labels as a palette PNG (mode P) like VOC's: the file holds the class indices.

    Args:
        path: the file, `.png`.
        label: uint8 (h, w), class indices; 255 is the ignore label.
        palette: colours by label, uint8 (256, 3) RGB; VOC's by default.

    Returns:
        `path`.

    Raises:
        ValueError: if `path` is not a `.png`: formats such as JPEG do not keep indices.
    """
    if Path(path).suffix.lower() != ".png":
        raise ValueError(
            f"{path}: expected .png, found {Path(path).suffix!r}: only a palette PNG "
            "keeps class indices. Name it .png."
        )
    image = Image.fromarray(np.ascontiguousarray(label))
    image.putpalette((voc_palette() if palette is None else palette).tobytes())
    return write_atomically(path, lambda draft: image.save(draft, format="PNG", optimize=False))


def overlay(
    image: UInt8[np.ndarray, "h w 3"],
    label: UInt8[np.ndarray, "h w"],
    alpha: float | int = 0.5,
    palette: UInt8[np.ndarray, "256 3"] | None = None,
    *,
    background: bool = False,
) -> UInt8[np.ndarray, "h w 3"]:
    """Lays the colours of the labels over the image.

    Args:
        image: uint8 (h, w, 3), 0..255, RGB.
        label: uint8 (h, w); 255, the ignore label, gets the palette's cream.
        alpha: opacity of the colours, 0..1.
        palette: colours by label, uint8 (256, 3) RGB; VOC's by default.
        background: whether label 0 gets its colour too.

    Returns:
        uint8 (h, w, 3), 0..255, RGB.

    Raises:
        ValueError: if `alpha` is not in 0..1.

    Source: fcn.berkeleyvision.org `vis.py`: alpha 0.5, label 0 unchanged.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"overlay: expected alpha in 0..1, found {alpha}.")
    mixed = laid_over(image, (voc_palette() if palette is None else palette)[label], alpha)
    return mixed if background else np.where((label > 0)[..., None], mixed, image)


def laid_over(
    image: UInt8[np.ndarray, "h w 3"], colours: UInt8[np.ndarray, "h w 3"], alpha: float | int
) -> UInt8[np.ndarray, "h w 3"]:
    """The colours over the image, both uint8 RGB; `alpha` is their opacity, 0..1."""
    mixed = (1 - alpha) * image + alpha * colours.astype(np.float32)
    return np.rint(mixed).astype(np.uint8)


def contact_sheet(
    rows: Sequence[Sequence[np.ndarray]],
    titles: Sequence[str],
    *,
    class_names: Sequence[str] = (),
    palette: UInt8[np.ndarray, "256 3"] | None = None,
    zoom: int = 1,
) -> UInt8[np.ndarray, "h w 3"]:
    """Draws image, truth and predictions side by side, titled, with a legend of the classes.

    Args:
        rows: per row the cells (image, truth, prediction, ...): uint8 (h, w, 3) RGB images and
            uint8 (h, w) labels, in any order and of any sizes. Ignored pixels (255) are cream.
        titles: one title per column.
        class_names: names for the legend, by label; without them there is no legend.
        palette: colours by label, uint8 (256, 3) RGB; VOC's by default.
        zoom: each pixel becomes zoom x zoom pixels.

    Returns:
        The sheet: uint8 (height, width, 3), 0..255, RGB.

    Raises:
        ValueError: if there are no rows, or a row does not have one cell per title.
    """
    if not rows:
        raise ValueError("contact_sheet: expected at least one row of cells, found none.")
    for number, row in enumerate(rows):
        if len(row) != len(titles):
            raise ValueError(
                f"contact_sheet: row {number} has {len(row)} cells for {len(titles)} titles; "
                "give each column one title."
            )
    colours = voc_palette() if palette is None else palette

    def drawn(cell: np.ndarray) -> np.ndarray:
        coloured = cell if cell.ndim == 3 else colours[cell]
        return coloured.repeat(zoom, axis=0).repeat(zoom, axis=1)

    return _page([[drawn(cell) for cell in row] for row in rows], titles, class_names, colours)


def _page(
    cells: Sequence[Sequence[np.ndarray]],
    titles: Sequence[str],
    class_names: Sequence[str],
    colours: np.ndarray,
) -> np.ndarray:
    """Titles above columns of RGB cells, the legend below."""
    font, gap, header = ImageFont.load_default(14), 8, 28
    columns = list(zip(*cells, strict=True))
    widths = [
        max(int(font.getlength(title)) + 1, *(cell.shape[1] for cell in column))
        for title, column in zip(titles, columns, strict=True)
    ]
    heights = [max(cell.shape[0] for cell in row) for row in cells]
    width = sum(widths) + gap * (len(widths) + 1)
    legend_top = header + sum(height + gap for height in heights)
    entries = _legend(class_names, colours, width - gap, font)
    height = legend_top + (entries[-1][1] + 26 if entries else 0)
    page = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(page)
    x = gap
    for title, column_width, column in zip(titles, widths, columns, strict=True):
        draw.text((x, 6), title, fill=_INK, font=font)
        y = header
        for cell, row_height in zip(column, heights, strict=True):
            page.paste(Image.fromarray(np.ascontiguousarray(cell)), (x, y))
            y += row_height + gap
        x += column_width + gap
    for x, y, colour, name in entries:
        y += legend_top
        draw.rectangle((x, y + 3, x + 13, y + 16), fill=colour, outline=_EDGE)
        draw.text((x + 19, y + 1), name, fill=_INK, font=font)
    return np.asarray(page)


def _legend(
    class_names: Sequence[str], colours: np.ndarray, right: int, font: Any
) -> list[tuple[int, int, tuple[int, ...], str]]:
    """(x, y, colour, name) of each entry of the legend, in lines that end before `right`."""
    entries, x, y = [], 8, 0
    named = [*enumerate(class_names), (IGNORE, "ignored")] if class_names else []
    for label, name in named:
        length = 19 + int(font.getlength(name)) + 16
        if entries and x + length > right:
            x, y = 8, y + 22
        entries.append((x, y, tuple(colours[label].tolist()), name))
        x += length
    return entries
