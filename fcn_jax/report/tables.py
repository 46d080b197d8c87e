"""Tables of scores for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64, Integer
from rich.table import Column, Table

from fcn_jax.metrics import FOUR, Scores
from fcn_jax.metrics.bootstrap import interval_text, percent
from fcn_jax.metrics.classes import title as title_of

_ABSENT = "–"


def metrics_table(rows: Mapping[str, Any], title: str | None = None) -> Table:
    """The papers' four metrics, in per cent, one row per stage or split.

    Args:
        rows: by name of the stage or split, `Scores` or any object with the same four metrics. If
            it has `intervals`, they stand below.
        title: heading of the table.

    Returns:
        A table for `rich.print`; in every column the best of several rows is bold.

    Source: Long et al. 2015, section 5.
    """
    headings = ("pixel acc.", "mean acc.", "mean IU", "f.w. IU")
    table = Table("", *(Column(heading, justify="right") for heading in headings), title=title)
    values = {name: [getattr(scores, metric) for metric in FOUR] for name, scores in rows.items()}
    columns = zip(*values.values(), strict=True)
    best = [percent(max(column)) if len(column) > 1 else None for column in columns]
    for name, row in values.items():
        intervals = getattr(rows[name], "intervals", {})
        below = (_below(intervals.get(metric)) for metric in FOUR)
        printed = zip(map(percent, row), best, below, strict=True)
        table.add_row(name, *(f"[bold]{v}[/]{i}" if v == b else v + i for v, b, i in printed))
    return table


def scores_table(scores: Scores, title: str | None = None) -> Table:
    """Every score of a split, in per cent, with its interval.

    Args:
        scores: the scores; those beyond the four only where they were counted.
        title: heading of the table.
    """
    columns = (Column(heading, justify="right") for heading in ("per cent", "95 % interval"))
    table = Table("score", *columns, title=title)
    values = {name: getattr(scores, name) for name in FOUR} | dict(scores.more)
    for name, value in values.items():
        ends = scores.intervals.get(name)
        table.add_row(title_of(name), percent(value), interval_text(ends))
    return table


def reliability_table(sums: Float64[np.ndarray, "b 3"], title: str | None = None) -> Table:
    """How often predictions of some confidence are right, in per cent.

    Args:
        sums: pixels of each bin of confidence, the sum of their confidences, and how many are right
            (`fcn_jax.metrics.calibration`).
        title: heading of the table.

    Returns:
        A table for `rich.print`; bins without a pixel are left out.
    """
    headings = ("confidence", "mean", "right", "pixels")
    table = Table(*(Column(heading, justify="right") for heading in headings), title=title)
    total, bins = sums[:, 0].sum(), len(sums)
    for i, (pixels, confidence, right) in enumerate(sums):
        if pixels:
            span = f"{100 * i / bins:.0f} to {100 * (i + 1) / bins:.0f}"
            shares = confidence / pixels, right / pixels, pixels / total
            table.add_row(span, *map(percent, shares))
    return table


def class_table(
    scores: Scores,
    class_names: Sequence[str],
    pixels: Integer[np.ndarray, " k"],
    title: str | None = None,
) -> Table:
    """Accuracy, IU and share of pixels of every class, in per cent, with intervals if known.

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
    nothing = np.full((2, len(iu)), np.nan)
    ends = (scores.intervals.get(name, nothing).T for name in ("accuracy", "iu"))
    for name, a, u, n, *e in zip(class_names, accuracy, iu, pixels, *ends, strict=True):
        share = percent(n / total) if n else _ABSENT
        table.add_row(name, percent(a, e[0]), percent(u, e[1]), share)
    return table


def _below(ends: np.ndarray | None) -> str:
    """An interval on a line of its own."""
    text = interval_text(ends)
    return f"\n[dim]{text}[/]" if text else ""
