"""The plots of the studies, drawn by matplotlib (`pip install -e '.[studies]'`)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fcn_jax.atomic import write_atomically

_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "fcn_jax",  # the same data give the same file
}


def save_chart(
    path: Path | str,
    title: str,
    ticks: Sequence[str] | Mapping[str, Sequence[float]],
    series: Mapping[str, Sequence[float | None]],
    axis: str = "",
) -> Path:
    """Draws a line chart and writes it atomically.

    Args:
        path: the file; its ending is the format (`.svg`, `.png`, `.pdf`).
        title: heading; names the vertical axis and its unit.
        ticks: labels of evenly spaced ticks, for all series; or, for a numeric axis, the
            horizontal positions of each series' values, by its name.
        series: by name, one value per tick; None for a missing value.
        axis: name of the horizontal axis, with its unit.

    Returns:
        `path`.

    Raises:
        ValueError: the numbers of values and ticks of a series differ, or no series has a value.
        ModuleNotFoundError: matplotlib is not installed.
    """
    at = {name: ticks[name] if isinstance(ticks, Mapping) else range(len(ticks)) for name in series}
    counts = {name: (len(line), len(at[name])) for name, line in series.items()}
    if any(values != places for values, places in counts.values()):
        raise ValueError(
            f"{path}: a chart needs one entry per tick; found (entries, ticks) {counts}. "
            f"Put None for a missing value."
        )
    if not any(v is not None for line in series.values() for v in line):
        raise ValueError(f"{path}: a chart needs a value; found none in {list(series)}.")
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{path}: plots need matplotlib. Install it: pip install -e '.[studies]'"
        ) from error

    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(7, 4.2), layout="constrained")
        axes = figure.subplots()
        for name, line in series.items():
            known = [(x, y) for x, y in zip(at[name], line, strict=True) if y is not None]
            axes.plot(*zip(*known, strict=True), marker="o", markersize=3, label=name, gid=name)
        if not isinstance(ticks, Mapping):
            axes.set_xticks(range(len(ticks)), ticks)
        axes.set(title=title, xlabel=axis, ylim=(min(0.0, axes.get_ylim()[0]), None))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        ncols = 3 if max(map(len, series)) <= 25 else 1
        figure.legend(loc="outside lower center", ncols=ncols, frameon=False)
        kind = Path(path).suffix[1:]
        about = {"Date": None} if kind == "svg" else None
        return write_atomically(path, lambda f: figure.savefig(f, format=kind, metadata=about))
