"""Running a recipe at a place: check, start or resume, train, evaluate, draw."""

import contextlib
import datetime
import functools
import shlex
import time
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh

from fcn_jax.data.batching import Batches
from fcn_jax.data.check import check_labels, frames_line
from fcn_jax.data.location import check_same_data
from fcn_jax.data.prefetch import read_ahead
from fcn_jax.devices.environment import environment
from fcn_jax.devices.mesh import (
    copied,
    make_mesh,
    own_part,
    parse_axes,
    replicate,
    shard_batch,
    shard_over_data,
)
from fcn_jax.devices.processes import is_leader, wait_for_all
from fcn_jax.nn import savings
from fcn_jax.report.pictures import write_png
from fcn_jax.runs.data_sets import DataSets, checked_batches, data_differences, data_sets
from fcn_jax.runs.description import describe, differences
from fcn_jax.runs.evaluating import evaluator, show_run
from fcn_jax.runs.place import Place
from fcn_jax.runs.recipe import Recipe
from fcn_jax.runs.scoring import draw_examples
from fcn_jax.runs.start import StartingPoint, starting_point
from fcn_jax.training.events import tensorboard
from fcn_jax.training.lock import hold
from fcn_jax.training.loop import Intervals, fit
from fcn_jax.training.progress import Reporter
from fcn_jax.training.run_folder import RunFolder, deciding_score
from fcn_jax.training.state import State, create_state
from fcn_jax.training.step import make_train_step
from fcn_jax.training.stopping import StopRequest

Say = Callable[[str], None]
_INTERVALS = ("steps", "checkpoint_every", "evaluate_every")


def run(
    recipe: Recipe,
    place: Place,
    *,
    origin: dict[str, Any],
    say: Say = print,
    stop: StopRequest | None = None,
) -> dict[str, Any] | None:
    """Run a recipe, or resume it, to its end.

    Args:
        recipe: the science.
        place: where it runs.
        origin: where the recipe came from, for `recipe.json` (see `fcn_jax.runs.experiment`).
        say: prints a line; called in the first of several processes.
        stop: gets SIGTERM and Ctrl-C while the run trains; afterwards it says which it was.

    Returns:
        The last evaluation's line of `metrics.jsonl`; None where the run was asked to stop early.

    Raises:
        ValueError: data, weights or folder are not what the recipe needs, or another run has the
            folder; nothing was trained.
        NonFiniteLossError: the loss became infinite or not a number.
    """
    started, leads = time.monotonic(), is_leader()
    say = say if leads else lambda _: None
    mesh = make_mesh(recipe.batch_size, axes=parse_axes(place.mesh))
    sets = data_sets(recipe, place.data)
    say(str(sets))
    start = starting_point(recipe, place.folder, place.init)
    held = hold(place.folder, say) if leads else contextlib.nullcontext()
    with held as lock, savings.use(**place.savings):
        events = tensorboard(place.folder) if place.tensorboard and leads else None
        folder = RunFolder(place.folder, events, writes=leads, lock=lock)
        _claim(folder, recipe, sets, start, origin)
        batches, uniform = _checked_batches(recipe, place, mesh, sets, folder, say)
        _note_steps(folder, recipe, origin, say)
        if not _train(
            recipe,
            place,
            mesh=mesh,
            sets=sets,
            batches=batches,
            uniform=uniform,
            start=start,
            folder=folder,
            say=say,
            stop=stop or StopRequest(),
        ):
            return None
    say(f"{folder.path}: {recipe.steps} steps done, {time.monotonic() - started:.0f} s this time")
    evaluations = [line for line in folder.metrics() if deciding_score(line) is not None]
    if not evaluations:
        raise ValueError(f"{folder.metrics_file}: expected a line with scores, found none")
    if leads and folder.page_file.exists():
        say(f"page: {folder.page_file}")
    say(f"predict: python -m fcn_jax predict {shlex.quote(str(folder.path))} IMAGE")
    return evaluations[-1]


def _claim(
    folder: RunFolder,
    recipe: Recipe,
    sets: DataSets,
    start: StartingPoint,
    origin: dict[str, Any],
) -> None:
    """Make sure that the folder holds this recipe and these data sets, or nothing yet."""
    if is_leader():
        folder.remove_leftovers()
    enough = recipe.steps >= (folder.checkpoints().latest() or 0)
    may_differ = {"steps": recipe.steps} if enough else {}  # they decide nothing that is done
    folder.claim(
        {
            **origin,
            **({} if sets.instead is None else {"data": sets.instead}),
            "recipe": describe(recipe),
            "preprocessing": describe(start.preprocessing),
            "started_from": start.source,
            "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "environment": environment(),
        },
        lambda stored, _: differences({**stored, **may_differ}, recipe),
    )
    wait_for_all("the run folder is there")
    check_same_data(folder.path, folder.described().get("data"), sets.instead)


def _checked_batches(
    recipe: Recipe, place: Place, mesh: Mesh, sets: DataSets, folder: RunFolder, say: Say
) -> tuple[Batches, bool]:
    """Batches of sound data; of a resumed run, the same data that it has read so far."""
    train, validation = (
        check_labels(
            source,
            threads=place.threads,
            decode_images=place.check_images,
            learned=source is sets.train,
        )
        for source in (sets.train, sets.validation)
    )
    if several := dict.fromkeys(train.several_frames + validation.several_frames):
        say(frames_line(list(several)))
    claim = functools.partial(
        folder.claim_data,
        {"train": train.contents, "validation": validation.contents},
        data_differences,
        accept=place.accept_changed_data,
        say=say,
    )
    if is_leader():
        claim()
    wait_for_all("the data are those of the run")
    if not is_leader():  # this process may read other files
        claim()
    return checked_batches(recipe, sets.train, train, part=own_part(mesh), say=say)


def _note_steps(folder: RunFolder, recipe: Recipe, origin: dict[str, Any], say: Say) -> None:
    """Write down that a run resumes with another number of steps than it was started with."""
    stored = folder.described()["recipe"]
    if stored["steps"] != recipe.steps:
        say(f"{folder.path}: steps were {stored['steps']}, and are {recipe.steps} now")
        folder.change(**origin, recipe={**stored, "steps": recipe.steps})


def _train(
    recipe: Recipe,
    place: Place,
    *,
    mesh: Mesh,
    sets: DataSets,
    batches: Batches,
    uniform: bool,
    start: StartingPoint,
    folder: RunFolder,
    say: Say,
    stop: StopRequest,
) -> bool:
    """Train from the start or the last checkpoint; False where asked to stop early."""
    optimizer = recipe.optimizer()
    state = _state(recipe, place, mesh, start, optimizer, folder, say)
    train_step = make_train_step(
        recipe.model,
        optimizer,
        recipe.loss,
        start.preprocessing,
        seed=recipe.seed,
        accumulate=recipe.accumulate,
        mesh=mesh,
        shard_optimizer=place.shard_optimizer,
    )
    read = read_ahead(batches, int(state.step), recipe.steps, threads=place.threads)
    reporter = Reporter(
        folder.path.name,
        recipe.steps,
        done=int(state.step),
        images_per_step=batches.batch_size,
        quiet=not is_leader(),
    )
    evaluate = evaluator(
        recipe,
        sets.validation,
        start.preprocessing,
        mesh=mesh,
        folder=folder,
        reporter=reporter,
        stop=stop,
    )
    with reporter, contextlib.closing(read):
        state, reached_the_end = fit(
            state,
            train_step,
            (shard_batch(mesh, _without_size(b) if uniform else b) for b in read),
            Intervals(**{name: getattr(recipe, name) for name in _INTERVALS}),
            folder=folder,
            checkpoints=folder.checkpoints(),
            evaluate=evaluate,
            reporter=reporter,
            stop=stop,
            after_evaluation=lambda: show_run(folder, reporter.say) if is_leader() else None,
        )
    if reached_the_end and is_leader() and not folder.examples_file.exists():
        variables = jax.device_get(state.variables)
        drawn = draw_examples(recipe.model, sets.validation, variables, start.preprocessing)
        if drawn is not None:
            write_png(folder.examples_file, drawn)
    return reached_the_end


def _state(
    recipe: Recipe,
    place: Place,
    mesh: Mesh,
    start: StartingPoint,
    optimizer: Any,
    folder: RunFolder,
    say: Say,
) -> State:
    """The state of the last sound checkpoint, whatever devices it is from, or that of the start."""
    replicated = functools.partial(replicate, mesh)
    spread = functools.partial(shard_over_data, mesh)
    state = create_state(
        start.variables,
        optimizer,
        frozen=recipe.frozen,
        place=replicated,
        place_optimizer=spread if place.shard_optimizer else replicated,
    )
    restored = folder.checkpoints().restore_newest(state, say)
    done = 0 if restored is None else int(restored.step)
    folder.rewind(done)
    if done < recipe.steps and is_leader():
        folder.examples_file.unlink(missing_ok=True)  # drawn after fewer steps
    if restored is None:
        say(f"start: {start.source}")
    elif done == recipe.steps:
        say(f"{folder.path}: all {done} steps are done already")
    else:
        say(f"{folder.path}: resuming after step {done} of {recipe.steps}")
    if done < recipe.steps:
        kept = (
            "; it is kept for the next run"
            if getattr(jax.config, "jax_compilation_cache_dir", None)
            else ""
        )
        say(f"compiling the training step, which may take minutes{kept}")
    return state if restored is None else copied(restored)


def _without_size(batch: dict[str, Any]) -> dict[str, Any]:
    """The batch without true sizes, where the canvas is the size: the net skips its masks."""
    return {key: value for key, value in batch.items() if key != "size"}
