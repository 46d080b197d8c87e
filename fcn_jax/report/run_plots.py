"""The curves of runs: loss, scores, speed."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fcn_jax.metrics import FOUR
from fcn_jax.metrics.classes import title as title_of
from fcn_jax.report.comparison import letter
from fcn_jax.report.plots import Line, line_plot
from fcn_jax.report.shown import ShownRun, deciding


def training_plots(runs: Sequence[ShownRun]) -> list[Any]:
    """Loss, and scores where there are two evaluations or more, over steps."""
    plots = [_over_steps("loss", "loss", runs, [run.lines for run in runs])]
    if any(len(run.evaluations) > 1 for run in runs):
        best_by = dict.fromkeys(deciding(line) for run in runs for line in run.evaluations)
        for score in best_by:
            title, scale = f"{title_of(score)}, per cent", 100.0
            if score != "mean_iu":
                title, scale = score.replace("_", " "), 1.0
            names = FOUR if len(runs) == 1 and score == "mean_iu" else (score,)
            lines = [
                _scores_line(run, name, f"{letter(i)} {run.name}" if len(runs) > 1 else name, scale)
                for i, run in enumerate(runs)
                for name in names
            ]
            plots.append(line_plot("scores, per cent" if len(names) > 1 else title, lines))
    return [plot for plot in plots if plot]


def speed_plots(runs: Sequence[ShownRun]) -> list[Any]:
    """Images a second, and the share of time that waited for data, over steps."""
    speed = [run.speed for run in runs]
    plots = [
        _over_steps("images a second", "images_per_second", runs, speed, bottom=0),
        _over_steps(
            "waiting for data, per cent of the time", "waiting", runs, speed, 100.0, bottom=0
        ),
    ]
    return [plot for plot in plots if plot]


def _over_steps(
    title: str,
    name: str,
    runs: Sequence[ShownRun],
    lines: Sequence[Sequence[Any]],
    scale: float = 1.0,
    **limits: Any,
) -> Any:
    """A plot of an entry of the lines of each run; "" where no line has it."""
    found = []
    for i, (run, own) in enumerate(zip(runs, lines, strict=True)):
        points = [(line["step"], scale * line[name]) for line in own if _is_number(line.get(name))]
        if points:
            label = f"{letter(i)} {run.name}" if len(runs) > 1 else ""
            found.append(Line(label, [step for step, _ in points], [y for _, y in points]))
    return line_plot(title, found, **limits) if found else ""


def _scores_line(run: ShownRun, score: str, label: str, scale: float) -> Line:
    lines = [line for line in run.evaluations if score in line]
    steps = [line["step"] for line in lines]
    values = [scale * line[score] for line in lines]
    ends = np.full((len(lines), 2), np.nan)
    _, intervals = next(iter(run.scores.values()), ({}, {}))
    if score == "mean_iu" and score in intervals and run.step in steps:
        ends[steps.index(run.step)] = 100 * intervals[score]
    return Line(title_of(label) if label == score else label, steps, values, ends)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and bool(np.isfinite(value))
