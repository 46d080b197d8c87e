"""Runs beside each other on the same images, from what their evaluations kept.

Differences are paired: each resampled set of images is the same for all runs, so what makes an
image easy or hard for all of them cancels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fcn_jax.atomic import AnyPath
from fcn_jax.data.errors import few
from fcn_jax.data.named import zip_named
from fcn_jax.metrics import FOUR, MORE, Absent, ByImage
from fcn_jax.metrics.bootstrap import LEAST_IMAGES, draws, interval
from fcn_jax.metrics.classes import TRUTH
from fcn_jax.runs.kept_counts import Kept, read_kept
from fcn_jax.training.run_folder import RunFolder


def compare_runs(
    runs: Sequence[AnyPath],
    *,
    absent: Absent,
    split: str | None = None,
    step: int | None = None,
) -> dict[str, Any]:
    """Compares runs on the images that they were evaluated on.

    Args:
        runs: folders of two runs or more; differences are to the first.
        absent: which classes the mean IUs leave out.
        split: another split than the runs' validation splits.
        step: of all runs; by default each run's best.

    Returns:
        Values for JSON; scores are fractions of 1, and None where they are not defined.
        `runs`: folder, step, split, seconds_per_image and peak_memory of each.
        `images`: how many.
        `outputs`: for each output by name ("" if there is one only) `scores`, by name a list with
        the `value` and the `interval` in each run, and `differences`, for each run but the first:
        `scores` by name, `classes` and `images`, the largest differences first. A difference is
        `more_than_chance` if its 95 % interval does not hold 0 and at least `LEAST_IMAGES` images
        have a say in it.

    Raises:
        ValueError: fewer than two runs; a run was not evaluated so that its counts were kept; or
            the runs differ in their images, labels or classes.
    """
    if len(runs) < 2:
        raise ValueError("compare needs two runs or more; name their folders")
    kept = [_read(Path(run), split, step) for run in runs]
    outputs: dict[str, Any] = {}
    for name, *images in _by_output(runs, kept):
        classes = dict(zip_named(kept[0].class_names))[name]
        _check_same(runs, images)
        same_order = [images[0], *(other.of(images[0].names) for other in images[1:])]
        outputs[name] = _compared(same_order, classes, absent)
    about = [
        {"run": str(run), "step": k.step, "split": k.split}
        | {"seconds_per_image": k.seconds_per_image, "peak_memory": k.peak_memory}
        for run, k in zip(runs, kept, strict=True)
    ]
    first = next(iter(zip_named(kept[0].images)))[1]
    return {"runs": about, "images": len(first), "outputs": outputs}


def _read(run: Path, split: str | None, step: int | None) -> Kept:
    folder = RunFolder(run.expanduser())
    folder.described()  # refuses what is not a run
    best = folder.best_step() or folder.checkpoints().latest() if step is None else step
    file = folder.counts_file(best or 0, split)
    if not file.exists():
        what = f"--split {split}" if split else "its validation images"
        options = (f" --split {split}" if split else "") + (f" --step {step}" if step else "")
        raise ValueError(
            f"{run} keeps no counts of {what} for step {best}: an earlier version made it, "
            f"or it was not evaluated on them. Evaluate it once: python -m fcn_jax evaluate {run}"
            f"{options}"
        )
    return read_kept(file)


def _by_output(runs: Sequence[AnyPath], kept: Sequence[Kept]) -> list[tuple[Any, ...]]:
    """The name of each output, and what was counted in each run."""
    classes = [{name: list(names) for name, names in zip_named(k.class_names)} for k in kept]
    for run, other in zip(runs, classes, strict=True):
        if other != classes[0]:
            counts = (
                ", ".join(f"{name} {len(names)}".strip() for name, names in c.items())
                for c in (classes[0], other)
            )
            raise ValueError(
                f"{runs[0]} and {run} have other classes ({' and '.join(counts)}, or other names); "
                "compare runs of the same classes"
            )
    return zip_named(*(k.images for k in kept))


def _check_same(runs: Sequence[AnyPath], images: Sequence[ByImage]) -> None:
    """Raises ValueError unless all runs were evaluated on the same images and labels."""
    first = images[0]
    for run, other in zip(runs[1:], images[1:], strict=True):
        both = f"{runs[0]} and {run}"
        remedy = "Evaluate both on the same images: python -m fcn_jax evaluate RUN --split SPLIT."
        lacking = [(run, set(first.names) - set(other.names))]
        lacking += [(runs[0], set(other.names) - set(first.names))]
        texts = [f"{who} lacks {len(n)}: {few(sorted(n), 5)}" for who, n in lacking if n]
        if texts:
            raise ValueError(f"{both} were evaluated on other images. {'; '.join(texts)}. {remedy}")
        if len(set(first.names)) < len(first) or len(first) != len(other):
            raise ValueError(f"{both}: some images have the same name, so they cannot be paired")
        truth = [x.classes[..., TRUTH] for x in (first, other.of(first.names))]
        if wrong := np.flatnonzero((truth[0] != truth[1]).any(axis=1)).tolist():
            raise ValueError(
                f"{both} were evaluated with other labels in {len(wrong)} images: "
                f"{few([first.names[i] for i in wrong], 5)}. {remedy}"
            )
        if first.details and other.details and first.boundary_width != other.boundary_width:
            raise ValueError(
                f"{both} were evaluated with boundary widths of {first.boundary_width} and "
                f"{other.boundary_width}; evaluate both with the same --boundary-width"
            )


def _compared(images: Sequence[ByImage], names: Sequence[str], absent: Absent) -> dict[str, Any]:
    """The scores of all runs, and the differences to the first, of one output."""
    times = draws(len(images[0]))
    found = [run.scores(absent) for run in images]
    drawn = [run.scores(absent, times) for run in images]
    if len(images[0]) < 2:  # one image says nothing about others
        drawn = [{name: values * np.nan for name, values in run.items()} for run in drawn]
    every = [name for name in (*FOUR, *MORE) if all(name in scores for scores in found)]
    scores = {
        name: [
            {"value": _number(f[name]), "interval": _numbers(interval(d[name]))}
            for f, d in zip(found, drawn, strict=True)
        ]
        for name in every
    }
    of_class = (images[0].classes[..., TRUTH] > 0).sum(axis=0)
    total, differences = np.array([len(images[0])]), []
    for i in range(1, len(images)):
        pairs = {
            name: _difference(
                found[0][name], found[i][name], drawn[i][name] - drawn[0][name], having
            )
            for name, having in {**dict.fromkeys(every, total), "iu": of_class}.items()
        }
        differences.append(
            {
                "scores": {name: pairs[name][0] for name in every},
                "classes": _largest(pairs["iu"], names),
                "images": _images(images[0], images[i]),
            }
        )
    return {"scores": scores, "differences": differences}


def _difference(
    first: np.ndarray, other: np.ndarray, drawn: np.ndarray, images: np.ndarray
) -> list[dict[str, Any]]:
    """A score in two runs, the difference and its interval; a list of one, or of each class."""
    ends = interval(drawn.reshape(len(drawn), -1))
    return [
        {
            "first": _number(a),
            "other": _number(b),
            "difference": _number(b - a),
            "interval": _numbers(e),
            "images": int(n),
            "more_than_chance": bool(n >= LEAST_IMAGES and (e[0] > 0 or e[1] < 0)),
        }
        for a, b, e, n in zip(np.ravel(first), np.ravel(other), ends.T, images, strict=True)
    ]


def _largest(pairs: list[dict[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """The classes' IUs, the largest difference first; without those that one run lacks."""
    classes = [{"class": name, **pair} for name, pair in zip(names, pairs, strict=True)]
    both = [pair for pair in classes if pair["difference"] is not None]
    return sorted(both, key=lambda pair: -abs(pair["difference"]))


def _images(first: ByImage, other: ByImage) -> list[dict[str, Any]]:
    """Correct pixels of each image, a share of 1, the largest difference first."""
    pairs = zip(first.names, first.pixel_accuracy(), other.pixel_accuracy(), strict=True)
    images = [
        {"image": name, "first": float(a), "other": float(b), "difference": float(b - a)}
        for name, a, b in pairs
        if not np.isnan(b - a)
    ]
    return sorted(images, key=lambda pair: -abs(pair["difference"]))


def _number(value: Any) -> float | None:
    """A number for JSON, which has no NaN."""
    return None if np.isnan(value) else float(value)


def _numbers(ends: np.ndarray) -> list[float] | None:
    return None if np.isnan(ends).any() else [float(end) for end in ends]
