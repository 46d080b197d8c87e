"""Tables of scores for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from rich.table import Table

_ABSENT = "–"


@runtime_checkable
class Scored(Protocol):
    """What the tables read of the scores of a split: fractions, 0..1, NaN where undefined."""

    @property
    def pixel_accuracy(self) -> float:
        """Correct pixels of all pixels."""
        ...

    @property
    def mean_accuracy(self) -> float:
        """Mean over classes of `accuracy`."""
        ...

    @property
    def mean_iu(self) -> float:
        """Mean over classes of `iu`."""
        ...

    @property
    def frequency_weighted_iu(self) -> float:
        """`iu` averaged by the classes' shares of pixels."""
        ...

    @property
    def accuracy(self) -> Any:
        """Per class, (k,): correct pixels of the class's own."""
        ...

    @property
    def iu(self) -> Any:
        """Per class, (k,): intersection over union."""
        ...


def metrics_table(rows: Mapping[str, Scored], title: str | None = None) -> Table:
    """The papers' four metrics, in per cent, one row per stage or split.

    Args:
        rows: scores by name of the stage or split.
        title: heading of the table.

    Returns:
        A table for `rich.print`; the best of several rows is bold in every column.

    Source: Long et al. 2015, section 5.
    """
    table = Table(title=title)
    table.add_column("")
    for heading in ("pixel acc.", "mean acc.", "mean IU", "f.w. IU"):
        table.add_column(heading, justify="right")
    values = {
        name: (s.pixel_accuracy, s.mean_accuracy, s.mean_iu, s.frequency_weighted_iu)
        for name, s in rows.items()
    }
    printed = {name: [_percent(value) for value in row] for name, row in values.items()}
    columns = list(zip(*values.values(), strict=True))
    best = [_percent(max(c)) if len(c) > 1 else None for c in columns]
    for name, row in printed.items():
        cells = (f"[bold]{v}[/]" if v == b else v for v, b in zip(row, best, strict=True))
        table.add_row(name, *cells)
    return table


def class_table(
    scores: Scored,
    class_names: Sequence[str],
    pixels: Any,
    title: str | None = None,
) -> Table:
    """Accuracy, IU and share of pixels of every class, in per cent.

    Args:
        scores: scores of a split.
        class_names: names by label, k of them.
        pixels: (k,), integers: pixels of each class in the truth, ignored ones not counted. These
            are the sums of the rows of the confusion matrix.
        title: heading of the table.

    Returns:
        A table for `rich.print`. A class without a pixel in the truth has – for its accuracy and
        its share, and also for its IU unless it was predicted, which makes that 0.

    Raises:
        ValueError: if names, scores and pixels are not of one length.
    """
    accuracy, iu, pixels = (np.asarray(x) for x in (scores.accuracy, scores.iu, pixels))
    if not len(class_names) == len(accuracy) == len(iu) == len(pixels):
        raise ValueError(
            f"class_table: expected one length, found {len(class_names)} class names, "
            f"{len(accuracy)} accuracies, {len(iu)} IUs and {len(pixels)} counts of pixels."
        )
    table = Table(title=title)
    table.add_column("class")
    for heading in ("accuracy", "IU", "pixels"):
        table.add_column(heading, justify="right")
    total = max(int(pixels.sum()), 1)
    for name, a, u, n in zip(class_names, accuracy, iu, pixels, strict=True):
        if n:
            table.add_row(name, _percent(a), _percent(u), _percent(n / total))
        else:
            table.add_row(name, _ABSENT, _percent(u), _ABSENT)
    return table


def _percent(fraction: float) -> str:
    return _ABSENT if np.isnan(fraction) else f"{100 * float(fraction):.1f}"
