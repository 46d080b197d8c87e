"""The page of a run, or of several side by side: one HTML file that needs nothing else."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from fcn_jax.metrics import FOUR, MORE
from fcn_jax.metrics.bootstrap import interval_text, percent
from fcn_jax.metrics.classes import TRUTH
from fcn_jax.metrics.classes import title as title_of
from fcn_jax.pages.pictures import BEHIND, class_css, is_background
from fcn_jax.pages.render import render
from fcn_jax.report.comparison import letter
from fcn_jax.report.example_pictures import Pictures, example_pictures
from fcn_jax.report.plots import MOST_CLASSES, confusion_plot, reliability_plot
from fcn_jax.report.run_plots import speed_plots, training_plots
from fcn_jax.report.shown import ShownRun, deciding

_MOST_EXAMPLES = 15  # of the whole page, which stays below 5 MB
_MOST_CONFUSIONS = 8


class Cell(NamedTuple):
    """A score in a table: per cent and interval as text, and where they lie, 0..100 or None."""

    text: str
    ends_text: str
    value: float | None
    ends: tuple[float, float] | None


class ClassRow(NamedTuple):
    """A class: label, name, colour, share of the pixels as text, images that have it, scores."""

    label: int
    name: str
    css: str
    share: str
    images: str
    cells: list[Cell]
    accuracy: list[Cell]


class Confused(NamedTuple):
    """A class that was taken for another: the share of its pixels, and their number, as text."""

    truth: str
    predicted: str
    share: str
    pixels: str


class Output:
    """What the page shows of one output of all runs.

    Args:
        name: of the output; "" if there is one only.
        runs: the runs.
    """

    def __init__(self, name: str, runs: Sequence[ShownRun]):
        self.name, self._runs = name, runs
        self._found = [run.scores.get(name, ({}, {})) for run in runs]

    @functools.cached_property
    def scores(self) -> list[tuple[str, list[Cell]]]:
        """Each score's title, and its value in every run."""
        names = [n for n in (*FOUR, *MORE) if any(n in values for values, _ in self._found)]
        return [(title_of(n), [_cell(v.get(n), e.get(n)) for v, e in self._found]) for n in names]

    @functools.cached_property
    def classes(self) -> list[ClassRow]:
        """The classes, the highest IU of the first run first."""
        first = next((run for run in self._runs if self.name in run.images), None)
        if first is None:
            return []
        names = list(first.class_names[self.name])
        places = [
            {n: i for i, n in enumerate(r.class_names.get(self.name, ()))} for r in self._runs
        ]
        counts = first.images[self.name].classes[..., TRUTH]
        pixels, images = counts.sum(axis=0), (counts > 0).sum(axis=0)
        rows = []
        for label, name in enumerate(names):
            css = class_css(label, name)
            both = [
                [_of_class(found, score, place.get(name)) for found, place in self._paired(places)]
                for score in ("iu", "accuracy")
            ]
            share = percent(pixels[label] / max(pixels.sum(), 1)) if pixels[label] else "–"
            if is_background(label, name):
                css = f"rgb({3 * f' {BEHIND}'})"
            rows.append(ClassRow(label, name, css, share, f"{images[label]:,}", *both))
        return sorted(rows, key=lambda row: _last(row.cells[0].value))

    def _paired(self, places: list[dict[str, int]]) -> Iterator[tuple[Any, dict[str, int]]]:
        return zip(self._found, places, strict=True)

    @functools.cached_property
    def matrices(self) -> list[tuple[str, Any, list[Confused], str]]:
        """Of each run its name, confusion matrix, what was confused most often, and a remark."""
        found = []
        for run in self._runs:
            if images := run.images.get(self.name):
                matrix, names = images.matrix(), run.class_names[self.name]
                left = np.count_nonzero(matrix.sum(axis=0) + matrix.sum(axis=1)) - MOST_CLASSES
                note = f"{left} classes with the fewest pixels are left out." if left > 0 else ""
                confused = _confused(matrix, names)
                found.append((run.name, confusion_plot(matrix, names), confused, note))
        return found

    @functools.cached_property
    def reliability(self) -> list[tuple[str, Any]]:
        """Of each run its name and its reliability."""
        found = ((r.name, r.images[self.name].reliability()) for r in self._with_counts())
        return [(name, reliability_plot(sums)) for name, sums in found if sums is not None]

    def _with_counts(self) -> list[ShownRun]:
        return [run for run in self._runs if self.name in run.images]


def run_page(runs: Sequence[ShownRun], compared: Sequence[str] = ()) -> str:
    """The page as HTML.

    Args:
        runs: one run, or several side by side.
        compared: for several runs, sentences on how they differ.
    """
    names = dict.fromkeys(name for run in runs for name in run.scores)
    several = len(runs) > 1
    each = _MOST_EXAMPLES // len(runs)
    fields = dict.fromkeys(field for run in runs for field in run.recipe)
    recipe = [(field, [run.recipe.get(field, "–") for run in runs]) for field in fields]
    facts = dict.fromkeys(name for run in runs for name, _ in run.facts)
    return render(
        "fcn_jax.report",
        "run.html",
        title=", ".join(run.name for run in runs) if len(runs) < 4 else f"{len(runs)} runs",
        runs=runs,
        letters=[letter(i) for i in range(len(runs))],
        several=several,
        headlines=[_headline(run) for run in runs],
        compared=compared,
        outputs=[Output(name, runs) for name in names],
        measured=[
            (name.replace("_", " "), [run.measured.get(name) for run in runs])
            for name in dict.fromkeys(name for run in runs for name in run.measured)
        ],
        training=training_plots(runs),
        speed=speed_plots(runs),
        examples=[_examples(run, each) for run in runs],
        facts=[(name, [dict(run.facts).get(name, "–") for run in runs]) for name in facts],
        recipe=recipe,
        differing=[row for row in recipe if len(set(row[1])) > 1],
        notes=list(dict.fromkeys(note for run in runs for note in run.notes)),
    )


def _headline(run: ShownRun) -> str:
    """What came out, in one sentence."""
    done = max((line["step"] for line in run.lines), default=0)
    steps = f"step {done:,} of {run.steps:,}"
    if run.step is None:
        return f"Not evaluated yet; {steps}."
    (_, ends), on = next(iter(run.scores.values()), ({}, {})), run.split
    if run.images:
        on = f"{len(next(iter(run.images.values()))):,} images of {on}"
    best_by = deciding(run.shown_line)
    value = run.shown_line.get(best_by, np.nan)
    text = f"Mean IU {percent(value, ends.get('mean_iu'))}"
    if best_by != "mean_iu":
        text = f"{best_by.replace('_', ' ')} {value:.3g}".capitalize()
    which = "" if run.step == done == run.steps else f", at step {run.step:,}, the best so far"
    return f"{text} on {on or 'its validation images'}{which}; {steps}."


def _cell(value: Any, ends: Any) -> Cell:
    value = np.nan if value is None else float(value)
    if np.isnan(value):
        return Cell("–", "", None, None)
    text = interval_text(ends)
    span = (100 * float(ends[0]), 100 * float(ends[1])) if text else None
    return Cell(percent(value), text, 100 * value, span)


def _last(value: float | None) -> float:
    """A key that sorts the highest value first, and None last."""
    return 1.0 if value is None else -value


def _of_class(found: tuple[Any, Any], score: str, place: int | None) -> Cell:
    values, ends = found
    if place is None or score not in values:
        return _cell(None, None)
    return _cell(values[score][place], ends[score][:, place] if score in ends else None)


def _confused(matrix: np.ndarray, names: Sequence[str]) -> list[Confused]:
    """The pairs of classes with the most wrong pixels."""
    wrong = matrix * (1 - np.eye(len(matrix), dtype=np.int64))
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MOST_CONFUSIONS]
    pairs = [divmod(int(place), len(matrix)) for place in order]
    return [
        Confused(names[i], names[j], percent(wrong[i, j] / matrix[i].sum()), f"{wrong[i, j]:,}")
        for i, j in pairs
        if wrong[i, j]
    ]


def _examples(run: ShownRun, most: int) -> list[Pictures]:
    """The examples that are drawn: as many of each kind as there is room for, or the worst."""
    names = next(iter(run.class_names.values()), ())
    kinds = dict.fromkeys(example.kind for example in run.examples)
    each = max(1, most // max(1, len(kinds)))
    chosen = [e for k in kinds for e in [e for e in run.examples if e.kind == k][:each]]
    return [example_pictures(example, names) for example in (chosen[-most:] if most else [])]
