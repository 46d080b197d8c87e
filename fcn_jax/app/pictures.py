"""What nets say of one photograph: its label, what the page draws, and the classes of a pixel."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float16, Float32, UInt8
from PIL import Image

from fcn_jax.app.panes import Pane, ShownNet
from fcn_jax.app.photographs import Limits, read_photograph
from fcn_jax.inference.certainty import softmax
from fcn_jax.pages.pictures import encoded, is_background, uri

TOP = 5
"""How many classes of a pixel are kept."""

SIDE = 1024
"""Pixels of the longer side of a photograph as it is shown; larger ones are drawn smaller."""


class Top(NamedTuple):
    """The most probable classes at every pixel that is shown, the most probable first.

    Attributes:
        classes: uint8 (h, w, n).
        probabilities: float16 (h, w, n), 0..1.
    """

    classes: UInt8[np.ndarray, "h w n"]
    probabilities: Float16[np.ndarray, "h w n"]


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
    """What is kept of a photograph for its user: 15 bytes a pixel that is shown, for each pane.

    At most 16 MB for each pane, whatever the photograph and the net.

    Attributes:
        size: rows and columns of the photograph.
        tops: of each pane.
    """

    size: tuple[int, int]
    tops: tuple[Top, ...]


def look(
    nets: Sequence[ShownNet], path: Path, name: str, limits: Limits
) -> tuple[Picture, dict[str, Any], list[UInt8[np.ndarray, "h w"]]]:
    """Runs every net once on a photograph.

    Args:
        nets: one or more.
        path: the photograph's file.
        name: what its user calls it.
        limits: how large it may be.

    Returns:
        What is kept, what the page draws (`drawing`), and the label of each pane, as large as the
        photograph.

    Raises:
        ValueError: the file is no photograph that can be taken; the message is for its user.
    """
    tops, labels, panes, photographs = [], [], [], []
    for net in nets:
        photographs.append(rgb := read_photograph(path, name, limits, net.options))
        rows, columns = sampled(rgb.shape[:2])
        for pane, scores in net.scores(rgb):
            labels.append(scores.argmax(-1).astype(np.uint8))
            tops.append(top_classes(scores[np.ix_(rows, columns)]))
            panes.append(_drawn(pane, labels[-1], labels[-1][np.ix_(rows, columns)]))
    size = photographs[0].shape[:2]
    rows, columns = map(len, sampled(size))
    shown = Image.fromarray(photographs[0]).resize((columns, rows), Image.Resampling.BOX)
    drawing = {
        "name": name,
        "photograph": uri(encoded(np.asarray(shown), "JPEG"), "jpeg"),
        "rows": rows,
        "columns": columns,
        "panes": panes,
    }
    return Picture(size, tuple(tops)), drawing, labels


def sampled(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The rows and the columns that are shown: all, or so many that the longer side is `SIDE`."""
    scale = max(1.0, max(size) / SIDE)
    counts = [max(1, round(n / scale)) for n in size]
    rows, columns = (
        ((np.arange(count) + 0.5) * n / count).astype(int)
        for n, count in zip(size, counts, strict=True)
    )
    return rows, columns


def top_classes(scores: Float32[np.ndarray, "h w k"]) -> Top:
    """The five most probable classes at every pixel; of equals, the first class."""
    height, width, k = scores.shape
    n = min(TOP, k)
    classes = np.empty((height, width, n), np.uint8)
    probabilities = np.empty((height, width, n), np.float16)
    for row in range(height):  # a row at a time takes little memory
        left = softmax(scores[row])
        for place in range(n):
            best = left.argmax(-1)[:, None]
            classes[row, :, place] = best[:, 0]
            probabilities[row, :, place] = np.take_along_axis(left, best, -1)[:, 0]
            np.put_along_axis(left, best, -1, -1)
    return Top(classes, probabilities)


def _drawn(pane: Pane, label: np.ndarray, shown: np.ndarray) -> dict[str, Any]:
    """A pane for the page: its label as a gray PNG, and its classes, the largest area first."""
    counts = np.bincount(label.ravel(), minlength=len(pane.names))
    found = [value for value in np.argsort(-counts, kind="stable").tolist() if counts[value]]
    classes = [
        {
            "value": value,
            "name": pane.names[value],
            "colour": pane.palette[value].tolist(),
            "share": percent(float(counts[value] / label.size)),
            "hidden": is_background(value, pane.names[value]),
        }
        for value in found
    ]
    return {
        "title": pane.title,
        "label": uri(encoded(shown, "PNG"), "png"),
        "names": pane.names,
        "classes": classes,
    }


def at_pixel(picture: Picture, panes: Sequence[Pane], row: int, column: int) -> dict[str, Any]:
    """The most probable classes of a pixel of the picture as it is shown.

    Args:
        picture: what is kept.
        panes: those of the nets.
        row: from 0 at the top; a row outside is the nearest one inside.
        column: from 0 on the left, likewise.

    Returns:
        Its row and column in the photograph, and for each pane its classes: names, colours,
        probabilities.
    """
    rows, columns = sampled(picture.size)
    at = min(max(row, 0), len(rows) - 1), min(max(column, 0), len(columns) - 1)
    found = [
        [
            {
                "name": pane.names[value],
                "colour": pane.palette[value].tolist(),
                "probability": probability,
                "text": percent(probability),
            }
            for value, probability in zip(
                top.classes[at].tolist(), top.probabilities[at].tolist(), strict=True
            )
        ]
        for pane, top in zip(panes, picture.tops, strict=True)
    ]
    return {"row": int(rows[at[0]]), "column": int(columns[at[1]]), "panes": found}


def percent(part: float | int) -> str:
    """A part of 1 as text: `41.3 %`, `< 0.1 %`."""
    return f"{100 * part:.1f} %" if part >= 0.0005 else "< 0.1 %"


def label_file(name: str, pane: Pane, alone: bool) -> str:
    """The name of a label's file: `photo_label.png`, with the pane's title if there are several."""
    ending = "" if alone else "_" + re.sub(r"\W+", "_", pane.title)
    return f"{Path(name).stem or 'photograph'}_label{ending}.png"
