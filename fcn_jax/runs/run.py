"""Running a recipe at a place: check, start or resume, train, evaluate, draw."""

import contextlib
import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from fcn_jax.data.check import check_labels
from fcn_jax.data.location import check_same_data
from fcn_jax.data.prefetch import read_ahead
from fcn_jax.devices.environment import environment
from fcn_jax.devices.mesh import (
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
from fcn_jax.runs.data_sets import DataSets, checked_batches, data_sets
from fcn_jax.runs.description import describe, differences
from fcn_jax.runs.place import Place
from fcn_jax.runs.recipe import Recipe
from fcn_jax.runs.scoring import (
    draw_examples,
    evaluate_on,
    format_scores,
    score_line,
    split_name,
)
from fcn_jax.runs.start import StartingPoint, starting_point
from fcn_jax.training.checkpoints import Checkpoints
from fcn_jax.training.events import tensorboard
from fcn_jax.training.loop import Intervals, fit
from fcn_jax.training.progress import Reporter
from fcn_jax.training.run_folder import RunFolder
from fcn_jax.training.state import State, create_state
from fcn_jax.training.step import make_train_step

Say = Callable[[str], None]


def run(
    recipe: Recipe, place: Place, *, origin: dict[str, Any], say: Say = print
) -> dict[str, Any] | None:
    """Run a recipe, or resume it, to its end.

    Args:
        recipe: the science.
        place: where it runs.
        origin: where the recipe came from, for `recipe.json` (see `fcn_jax.runs.experiment`).
        say: prints a line; called in the first of several processes.

    Returns:
        The last evaluation's line of `metrics.jsonl`; None where the run was asked to stop early.

    Raises:
        ValueError: data, weights or folder are not what the recipe needs; nothing was trained.
        NonFiniteLossError: the loss became infinite or not a number.
    """
    started, leads = time.monotonic(), is_leader()
    say = say if leads else lambda _: None
    mesh = make_mesh(recipe.batch_size, axes=parse_axes(place.mesh))
    sets = data_sets(recipe, place.data)
    say(str(sets))
    start = starting_point(recipe, place.folder, place.init)
    folder = _claimed_folder(recipe, place, sets, start, origin)
    with contextlib.closing(folder.checkpoints()) as checkpoints, savings.use(**place.savings):
        if checkpoints.latest() == recipe.steps:
            say(f"{folder.path}: all {recipe.steps} steps are done already")
        elif not _train(
            recipe,
            place,
            mesh=mesh,
            sets=sets,
            start=start,
            folder=folder,
            checkpoints=checkpoints,
            say=say,
        ):
            return None
    say(f"{folder.path}: {recipe.steps} steps done, {time.monotonic() - started:.0f} s this time")
    evaluations = [line for line in folder.metrics() if "mean_iu" in line]
    if not evaluations:
        raise ValueError(f"{folder.metrics_file}: expected a line with scores, found none")
    return evaluations[-1]


def _claimed_folder(
    recipe: Recipe, place: Place, sets: DataSets, start: StartingPoint, origin: dict[str, Any]
) -> RunFolder:
    """The run's folder, which holds this recipe and these data sets or nothing yet."""
    leads = is_leader()
    events = tensorboard(place.folder) if place.tensorboard and leads else None
    folder = RunFolder(place.folder, events, writes=leads)
    folder.claim(
        {
            **origin,
            **({} if sets.instead is None else {"data": sets.instead}),
            "recipe": describe(recipe),
            "preprocessing": describe(start.preprocessing),
            "started_from": start.source,
            "environment": environment(),
        },
        lambda stored, _: differences(stored, recipe),
    )
    wait_for_all("the run folder is there")
    check_same_data(folder.path, folder.described().get("data"), sets.instead)
    return folder


def _train(
    recipe: Recipe,
    place: Place,
    *,
    mesh: Mesh,
    sets: DataSets,
    start: StartingPoint,
    folder: RunFolder,
    checkpoints: Checkpoints,
    say: Say,
) -> bool:
    """Train from the start or the last checkpoint; False where asked to stop early."""
    batches, uniform = checked_batches(
        recipe, sets.train, threads=place.threads, part=own_part(mesh), say=say
    )
    check_labels(sets.validation, threads=place.threads)
    optimizer = recipe.optimizer()
    state = _state(recipe, place, mesh, start, optimizer, folder, checkpoints, say)
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
    done = int(state.step)
    read = read_ahead(batches, done, recipe.steps, threads=place.threads)
    reporter = Reporter(
        folder.path.name,
        recipe.steps,
        done=done,
        images_per_step=batches.batch_size,
        quiet=not is_leader(),
    )

    def evaluate_state(state: State, step: int) -> dict[str, Any]:
        scores = evaluate_on(
            recipe, sets.validation, state.variables, start.preprocessing, mesh=mesh
        )
        reporter.say(f"{folder.path.name}: step {step}, {format_scores(scores)}")
        return score_line(scores, step=step, split=split_name(sets.validation))

    with reporter, contextlib.closing(read):
        state, reached_the_end = fit(
            state,
            train_step,
            (shard_batch(mesh, _without_size(b) if uniform else b) for b in read),
            Intervals(
                steps=recipe.steps,
                checkpoint_every=recipe.checkpoint_every,
                evaluate_every=recipe.evaluate_every,
            ),
            folder=folder,
            checkpoints=checkpoints,
            evaluate=evaluate_state,
            reporter=reporter,
        )
    if reached_the_end and is_leader():
        variables = jax.device_get(state.variables)
        examples = draw_examples(recipe, sets.validation, variables, start.preprocessing)
        write_png(folder.path / "examples.png", examples)
    return reached_the_end


def _state(
    recipe: Recipe,
    place: Place,
    mesh: Mesh,
    start: StartingPoint,
    optimizer: Any,
    folder: RunFolder,
    checkpoints: Checkpoints,
    say: Say,
) -> State:
    """The state of the last checkpoint, whatever devices it is from, or that of the start."""
    replicated = functools.partial(replicate, mesh)
    spread = functools.partial(shard_over_data, mesh)
    state = create_state(
        start.variables,
        optimizer,
        frozen=recipe.frozen,
        place=replicated,
        place_optimizer=spread if place.shard_optimizer else replicated,
    )
    done = checkpoints.latest()
    folder.rewind(done or 0)
    if done is None:
        say(f"start: {start.source}")
        return state
    say(f"{folder.path}: resuming after step {done} of {recipe.steps}")
    return jax.tree.map(jnp.copy, checkpoints.restore(done, state))


def _without_size(batch: dict[str, Any]) -> dict[str, Any]:
    """The batch without true sizes, where the canvas is the size: the net skips its masks."""
    return {key: value for key, value in batch.items() if key != "size"}
