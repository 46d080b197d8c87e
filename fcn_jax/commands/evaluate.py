"""`python -m fcn_jax evaluate`."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from fcn_jax.commands.progress import bar
from fcn_jax.labels import NONE_GIVEN, SetOptions

_UNCHANGED = (
    "its page and kept counts are unchanged: these are not its data, or they are read with other "
    "options"
)


def evaluate(
    run: Positional[Path],
    /,
    data: Path = Path("data"),
    split: str | None = None,
    step: int | None = None,
    absent: Literal["recipe", "in_neither", "not_in_truth"] = "recipe",
    batch_size: int | None = None,
    recipe: str | None = None,
    details: bool = True,
    boundary_width: float = 0.02,
    options: Annotated[SetOptions, arg(name="")] = NONE_GIVEN,
) -> None:
    """Score a run on a whole data set: four metrics and the table of classes.

    What was counted in each image of the run's own data is kept in its folder, for `compare`.

    Args:
        run: the run's folder.
        data: folder with the data sets; or tfds:NAME, a data set of TFDS to use instead.
        split: another split than the run's validation split.
        step: a checkpoint; the best one by default.
        absent: classes that the mean IU leaves out: as in the recipe, those in neither truth nor
            prediction, or those not in the truth.
        batch_size: images at a time; changes no score.
        recipe: module or file of the run's recipe, which is imported; needed only if its net or
            data set is not part of fcn_jax.
        details: also score boundaries, sizes of objects and calibration (docs/scores.md).
        boundary_width: of the boundary IU, a share of the image's diagonal; 0.005 for Cityscapes.
        options: how images and labels are read; those not given are as in the run.
    """
    from fcn_jax.data.check import check_labels, frames_line
    from fcn_jax.devices.compiling import use_compile_cache
    from fcn_jax.metrics import Absent
    from fcn_jax.runs.messages import messages
    from fcn_jax.runs.scoring import evaluate
    from fcn_jax.runs.start import run_at
    from fcn_jax.runs.stored import StoredRun, is_own

    with messages(debug=False):
        use_compile_cache()
        stored = StoredRun(run, recipe=recipe)
        source = _opened(stored.validation_set, options, data, split)
        changed = _read_unlike(stored, options, data)
        _print_set(source)
        step, variables, preprocessing = run_at(run, step)
        checked = check_labels(source, learned=False)
        if checked.several_frames:
            print(frames_line(checked.several_frames))
        with bar("batches") as progress:
            scores = evaluate(
                stored.model,
                variables,
                preprocessing,
                source,
                batch_size=batch_size or stored.batch_size,
                absent=stored.absent if absent == "recipe" else Absent[absent.upper()],
                progress=progress,
                details=details,
                boundary_width=boundary_width,
                evaluators=stored.evaluators,
            )
        own = not changed and (split or is_own(stored, source, checked.contents, data))
        if own:
            _keep(stored.folder.counts_file(step, split), scores, step, source)
        _print_all(scores, source, checked.pixels)
        if not own:
            print(f"{run}: {_UNCHANGED}")
        elif split is None:
            _show(stored, scores, step, source, variables, preprocessing)


def _opened(source: Any, options: SetOptions, data: Path, split: str | None) -> Any:
    """The data set to score on: a run's own, with what the options change."""
    from fcn_jax.data.location import located, of_tfds
    from fcn_jax.data.reread import reread

    source = located(reread(source, options, data), data, split or "validation")
    return of_split(source, split) if split and not of_tfds(data) else source


def _read_unlike(stored: Any, options: SetOptions, data: Path) -> bool:
    """Whether the options change how the run's data are read; says so of its labels."""
    from fcn_jax.data.reread import reread

    own = stored.validation_set
    source: Any = reread(own, options, data)
    if getattr(source, "label_values", None) != getattr(own, "label_values", None):
        print(f"labels are read unlike in the run {stored.folder.path}", file=sys.stderr)
    return source != own


def _keep(path: Path, scores: Any, step: int, source: Any) -> None:
    """Keeps what was counted, where the folder may be written to."""
    from fcn_jax.runs.kept_counts import keep

    try:
        keep(path, scores, step, source)
    except OSError as error:
        print(f"not kept for `compare`: {path}: {error.strerror}", file=sys.stderr)


def _show(
    stored: Any, scores: Any, step: int, source: Any, variables: Any, preprocessing: Any
) -> None:
    """Keeps a few images with their predictions, and writes the page of the run anew."""
    from fcn_jax.runs.evaluating import show_run
    from fcn_jax.runs.kept_examples import ExampleMaker

    def say(line: str) -> None:
        print(line, file=sys.stderr)

    maker = ExampleMaker(stored.model, preprocessing, source)
    maker.try_to_keep(stored.folder.pictures_file(step), scores, variables, say)
    if show_run(stored.folder, say):
        print(f"page: {stored.folder.page_file}")


def _print_set(source: Any) -> None:
    """Prints what is evaluated on, and which files of its folders are left out."""
    title, part = getattr(source, "title", type(source).__name__), getattr(source, "split", "")
    print(f"{title}{f' {part}' if part else ''}: {len(source)} images")
    for line in getattr(source, "left_out", ()):
        print(line)


def _print_all(scores: Any, source: Any, pixels: Any) -> None:
    """Prints the scores of every output; `pixels` as in `Checked`."""
    from fcn_jax.data.named import zip_named
    from fcn_jax.runs.scoring import split_name

    for name, found, classes, counts in zip_named(scores, source.class_names, pixels):
        _print(found, f"{split_name(source)} {name}".strip(), classes, counts[:-1])


def _print(scores: Any, title: str, class_names: Any, pixels: Any) -> None:
    """Prints the scores of one output."""
    from rich.console import Console

    from fcn_jax.metrics import Measured
    from fcn_jax.report.tables import class_table, reliability_table, scores_table

    console = Console()
    if isinstance(scores, Measured):
        print(f"{title}: {scores}")
        return
    console.print(class_table(scores, class_names, pixels))
    if scores.more:
        sums = scores.by_image.reliability()
        console.print(reliability_table(sums, "how sure, and how often right"))
    console.print(scores_table(scores, title))
    if scores.seconds_per_image is not None:
        seconds, memory = scores.seconds_per_image, scores.peak_memory / 1e9
        print(f"{seconds:.3g} s per image, {memory:.1f} GB of memory at most")
    print(scores)


def of_split(source: Any, split: str) -> Any:
    """Another split of a data set: of `Folders` a complete list, not the tenth held out.

    Raises:
        ValueError: the data set has no splits.
    """
    from fcn_jax.data.folders import Folders

    if not hasattr(source, "split"):
        raise ValueError(f"{type(source).__name__} has no splits to choose from")
    every = {"held_out": None} if isinstance(source, Folders) else {}
    return dataclasses.replace(source, split=split, **every)
