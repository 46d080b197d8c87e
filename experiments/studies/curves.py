"""How variants of a training compare, as tables and charts."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.studies.charts import save_chart
from experiments.studies.learning import Curves, Point
from fcn_jax.metrics import FOUR


def scores_table(curves: Curves, title: str, published: Mapping[str, Sequence[float]]) -> Any:
    """The four scores of the last point of each variant, in per cent (`rich`).

    Beside them how long all its steps took, over those of the first variant.

    Args:
        curves: of every variant.
        title: heading.
        published: rows of the papers below, by name: the four scores in per cent.
    """
    from rich.table import Table

    headings = "pixel accuracy, mean accuracy, mean IU, f.w. IU"
    table = Table(title=f"{title}: {headings}", title_justify="left")
    table.add_column("", no_wrap=True)
    for heading in ("pixel", "mean", "IU", "f.w.", "steps", "time"):
        table.add_column(heading, justify="right")
    of_the_first = next(iter(curves.values()))[-1].seconds
    for name, curve in curves.items():
        last = curve[-1]
        four = (f"{100 * getattr(last.scores, score):.1f}" for score in FOUR)
        ratio = last.seconds / of_the_first
        table.add_row(name, *four, str(last.step), f"x {ratio:.2f}")
    if published:
        table.add_section()
        table.add_row("published")
    for name, row in published.items():
        table.add_row(name, *(f"{value:.1f}" for value in row))
    return table


def convergence_table(
    curves: Curves, title: str, value: Callable[[Point], float], *, digits: int = 2
) -> Any:
    """A value of every variant at every point (`rich`); points are named by the images seen."""
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column("")
    for share in range(len(next(iter(curves.values())))):
        points = [curve[share] for curve in curves.values()]
        table.add_column(_seen(points), justify="right")
    for name, curve in curves.items():
        table.add_row(name, *(f"{value(point):.{digits}f}" for point in curve))
    return table


def save_curves(
    out: Path, name: str, title: str, curves: Curves, value: Callable[[Point], float]
) -> list[Path]:
    """Two charts of a value: by the course of the training, and by the time that it took.

    Args:
        out: folder.
        name: the files are NAME.svg and NAME_by_second.svg.
        title: of the value, with its unit.
        curves: of every variant.
        value: what is drawn of a point.
    """
    ticks = [_seen(points) for points in zip(*curves.values(), strict=True)]
    lines = {name: [value(point) for point in curve] for name, curve in curves.items()}
    moments = {name: [point.seconds for point in curve] for name, curve in curves.items()}
    by_second = out / f"{name}_by_second.svg"
    return [
        save_chart(out / f"{name}.svg", title, ticks, lines),
        save_chart(by_second, title, moments, lines, "processor seconds"),
    ]


def _seen(points: Sequence[Point]) -> str:
    """The updates of these points where they agree, else the images."""
    steps, images = {point.step for point in points}, {point.images for point in points}
    return f"{steps.pop()} steps" if len(steps) == 1 else f"{max(images)} images"
