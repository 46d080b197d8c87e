"""`python -m fcn_jax evaluate`."""

import dataclasses
from pathlib import Path
from typing import Any, Literal

from tyro.conf import Positional

from fcn_jax.commands.progress import bar


def evaluate(
    run: Positional[Path],
    /,
    data: Path = Path("data"),
    split: str | None = None,
    step: int | None = None,
    absent: Literal["recipe", "in_neither", "not_in_truth"] = "recipe",
    batch_size: int | None = None,
    recipe: str | None = None,
) -> None:
    """Score a run on a whole data set: four metrics and the table of classes.

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
    """
    from rich.console import Console

    from fcn_jax.data.check import check_labels, frames_line
    from fcn_jax.data.location import located, of_tfds
    from fcn_jax.data.named import zip_named
    from fcn_jax.devices.compiling import use_compile_cache
    from fcn_jax.metrics import Absent
    from fcn_jax.report.tables import class_table, metrics_table
    from fcn_jax.runs.messages import messages
    from fcn_jax.runs.scoring import evaluate, split_name
    from fcn_jax.runs.start import run_variables
    from fcn_jax.runs.stored import StoredRun

    with messages(debug=False):
        use_compile_cache()
        stored = StoredRun(run, recipe=recipe)
        source = located(stored.validation_set, data, split or "validation")
        if split and not of_tfds(data):
            source = of_split(source, split)
        title, part = getattr(source, "title", type(source).__name__), getattr(source, "split", "")
        print(f"{title}{f' {part}' if part else ''}: {len(source)} images")
        variables, preprocessing = run_variables(run, step)
        checked = check_labels(source, learned=False)
        for line in getattr(source, "left_out", ()):
            print(line)
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
            )
        console = Console()
        for name, found, classes, pixels in zip_named(scores, source.class_names, checked.pixels):
            console.print(class_table(found, classes, pixels[:-1]))
            console.print(metrics_table({f"{split_name(source)} {name}".strip(): found}))
            print(found)


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
