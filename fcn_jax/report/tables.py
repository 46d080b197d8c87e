"""Tables of scores for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Integer
from rich.table import Column, Table

from fcn_jax.metrics import FOUR, Scores

_ABSENT = "–"


def metrics_table(rows: Mapping[str, Any], title: str | None = None) -> Table:
    """The papers' four metrics, in per cent, one row per stage or split.

    Args:
        rows: by name of the stage or split, `Scores` or any object with the same four metrics.
        title: heading of the table.

    Returns:
        A table for `rich.print`; in every column the best of several rows is bold.

    Source: Long et al. 2015, section 5.
    """
    headings = ("pixel acc.", "mean acc.", "mean IU", "f.w. IU")
    table = Table("", *(Column(heading, justify="right") for heading in headings), title=title)
    values = {name: [getattr(scores, metric) for metric in FOUR] for name, scores in rows.items()}
    columns = zip(*values.values(), strict=True)
    best = [_percent(max(column)) if len(column) > 1 else None for column in columns]
    for name, row in values.items():
        printed = map(_percent, row)
        cells = (f"[bold]{v}[/]" if v == b else v for v, b in zip(printed, best, strict=True))
        table.add_row(name, *cells)
    return table


def class_table(
    scores: Scores,
    class_names: Sequence[str],
    pixels: Integer[np.ndarray, " k"],
    title: str | None = None,
) -> Table:
    """Accuracy, IU and share of pixels of every class, in per cent.

    Args:
        scores: scores of a split.
        class_names: names of the k classes, by label.
        pixels: pixels of each class in the truth, without ignored ones: the sums of the rows of the
            confusion matrix.
        title: heading of the table.

    Returns:
        A table for `rich.print`. A class without a pixel in the truth has – for its accuracy and
        its share. Its IU is – too, or 0 if it was predicted.

    Raises:
        ValueError: if names, scores and pixels differ in length.
    """
    accuracy, iu = scores.accuracy, scores.iu
    if not len(class_names) == len(accuracy) == len(iu) == len(pixels):
        raise ValueError(
            f"class_table: expected one length, found {len(class_names)} class names, "
            f"{len(accuracy)} accuracies, {len(iu)} IUs and {len(pixels)} counts of pixels."
        )
    headings = ("accuracy", "IU", "pixels")
    table = Table("class", *(Column(heading, justify="right") for heading in headings), title=title)
    total = max(int(pixels.sum()), 1)
    for name, a, u, n in zip(class_names, accuracy, iu, pixels, strict=True):
        table.add_row(name, _percent(a), _percent(u), _percent(n / total) if n else _ABSENT)
    return table


def _percent(fraction: float) -> str:
    return _ABSENT if np.isnan(fraction) else f"{100 * float(fraction):.1f}"
