"""Tables and charts that compare variants of a training."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.studies.charts import save_chart
from experiments.studies.learning import Curves, Point
from fcn_jax.metrics import FOUR


def mean_iu(point: Point) -> float:
    """Mean IU in per cent."""
    return 100 * point.scores.mean_iu


def scores_table(curves: Curves, title: str, published: Mapping[str, Sequence[float]]) -> Any:
    """The four scores of each variant's last point in per cent, as a table of `rich`.

    The last column is the time of its steps relative to the first variant's.

    Args:
        curves: of every variant.
        title: heading.
        published: the papers' rows, by name: the four scores in per cent.
    """
    from rich.table import Table

    headings = "pixel accuracy, mean accuracy, mean IU, f.w. IU"
    table = Table(title=f"{title}: {headings}", title_justify="left")
    table.add_column("", no_wrap=True)
    for heading in ("pixel", "mean", "IU", "f.w.", "steps", "time"):
        table.add_column(heading, justify="right")
    base = next(iter(curves.values()))[-1].seconds
    for name, curve in curves.items():
        last = curve[-1]
        four = (f"{100 * getattr(last.scores, score):.1f}" for score in FOUR)
        table.add_row(name, *four, str(last.step), f"x {last.seconds / base:.2f}")
    if published:
        table.add_section()
        table.add_row("published")
    for name, row in published.items():
        table.add_row(name, *(f"{value:.1f}" for value in row))
    return table


def convergence_table(
    curves: Curves, title: str, value: Callable[[Point], float], *, digits: int = 2
) -> Any:
    """One value of every variant at every point, as a table of `rich`."""
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column("")
    for share in range(len(next(iter(curves.values())))):
        points = [curve[share] for curve in curves.values()]
        table.add_column(_progress(points), justify="right")
    for name, curve in curves.items():
        table.add_row(name, *(f"{value(point):.{digits}f}" for point in curve))
    return table


def save_curves(
    out: Path, name: str, title: str, curves: Curves, value: Callable[[Point], float]
) -> list[Path]:
    """Draws a value over the steps and over the time of the training; prints the paths.

    Args:
        out: folder.
        name: the files are NAME.svg and NAME_by_second.svg.
        title: of the value, with its unit.
        curves: of every variant.
        value: gives the value of a point.

    Returns:
        The paths of both charts.
    """
    ticks = [_progress(points) for points in zip(*curves.values(), strict=True)]
    lines = {name: [value(point) for point in curve] for name, curve in curves.items()}
    seconds = {name: [point.seconds for point in curve] for name, curve in curves.items()}
    paths = [out / f"{name}.svg", out / f"{name}_by_second.svg"]
    save_chart(paths[0], title, ticks, lines)
    save_chart(paths[1], title, seconds, lines, "processor seconds")
    print(*paths, sep="\n")
    return paths


def _progress(points: Sequence[Point]) -> str:
    """The number of steps if it is the same for all points, else the number of images."""
    steps, images = {point.step for point in points}, {point.images for point in points}
    return f"{steps.pop()} steps" if len(steps) == 1 else f"{max(images)} images"
