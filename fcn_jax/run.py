"""Running a recipe on a machine: check, start or resume, train, evaluate, draw."""

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from fcn_jax.data.canvases import choose_canvases, fills_canvas
from fcn_jax.data.check import check_apart, check_labels
from fcn_jax.data.located import check_same_data, located, of_tfds
from fcn_jax.data.pipeline import Batches, read_ahead
from fcn_jax.data.source import Source
from fcn_jax.evaluation import (
    draw_examples,
    evaluate_on,
    score_line,
    split_name,
    spoken,
)
from fcn_jax.fusion import rematerialised
from fcn_jax.mesh import (
    make_mesh,
    own_part,
    parse_axes,
    replicate,
    shard_batch,
    shard_over_data,
)
from fcn_jax.preprocessing import Inputs
from fcn_jax.recipe import Recipe, describe
from fcn_jax.report.pictures import write_png
from fcn_jax.start import starting_point
from fcn_jax.training.checkpoints import Checkpoints
from fcn_jax.training.environment import environment
from fcn_jax.training.events import tensorboard
from fcn_jax.training.loop import Schedule, fit
from fcn_jax.training.processes import is_leader, wait_for_all
from fcn_jax.training.progress import Reporter
from fcn_jax.training.run_folder import RunFolder
from fcn_jax.training.state import State, create_state
from fcn_jax.training.step import make_train_step


@dataclasses.dataclass(frozen=True, kw_only=True)
class Machine:
    """Where a recipe runs; nothing here changes what it computes.

    Attributes:
        workdir: folder of the run; resumed if it holds this very run already.
        data: folder with the data sets, or `tfds:NAME` to read in their place.
        init: a run's folder or a weights file to start from, instead of the recipe's own.
        threads: threads that read images ahead.
        tensorboard: also write TensorBoard events (extra `tensorboard`).
        mesh: devices along the axes `data` and `space`, as `data=4,space=2` (see
            `fcn_jax.mesh`); empty: as many for `data` as the batch can use.
        shard_optimizer: spread the optimizer's state over `data`, instead of all of it everywhere.
        rematerialise: keep fewer activations for the gradient, and compute them again.
    """

    workdir: Path
    data: Path = Path("data")
    init: Path | None = None
    threads: int = 4
    tensorboard: bool = False
    mesh: str = ""
    shard_optimizer: bool = False
    rematerialise: bool = False


def run(
    recipe: Recipe, machine: Machine, *, origin: dict[str, Any], say: Callable[[str], None] = print
) -> dict[str, Any] | None:
    """Run a recipe, or go on with it, to its end.

    Args:
        recipe: the science.
        machine: the place.
        origin: where the recipe came from, for `recipe.json` (see `fcn_jax.main`).
        say: prints a line; called in the first of several processes.

    Returns:
        The last evaluation's line of `metrics.jsonl`; None where the run was asked to stop early.

    Raises:
        ValueError: data, weights or folder are not what the recipe needs; nothing was trained.
        NonFiniteLossError: the loss left the finite numbers.
    """
    begun, leads = time.monotonic(), is_leader()
    say = say if leads else lambda _: None
    mesh = make_mesh(recipe.batch_size, axes=parse_axes(machine.mesh))
    train_set = located(recipe.train_set, machine.data, "train")
    validation_set = located(recipe.validation_set, machine.data, "validation")
    check_apart(train_set, validation_set)
    instead = {"train_set": train_set, "validation_set": validation_set}
    elsewhere = {"data": describe(instead)} if of_tfds(machine.data) else {}
    say(
        f"{_name(train_set, recipe.train_set)}: {len(train_set)} images to train on; "
        f"{_name(validation_set, recipe.validation_set)}: {len(validation_set)} to validate on"
    )
    variables, preprocessing, started_from = starting_point(recipe, machine.workdir, machine.init)
    events = tensorboard(machine.workdir) if machine.tensorboard and leads else None
    folder = RunFolder(machine.workdir, events, writes=leads)
    folder.claim(
        {
            **origin,
            **elsewhere,
            "recipe": describe(recipe),
            "preprocessing": describe(preprocessing),
            "started_from": started_from,
            "environment": environment(),
        }
    )
    wait_for_all("the run folder is there")
    check_same_data(folder.path, folder.described().get("data"), elsewhere.get("data"))
    checkpoints = folder.checkpoints()
    try:
        training = _Training(
            recipe,
            machine,
            mesh,
            train_set,
            validation_set,
            preprocessing,
            folder,
            checkpoints,
            say,
        )
        if training.finished:
            say(f"{folder.path}: all {recipe.steps} steps are done already")
        elif not training.to_the_end(variables, started_from):
            return None
    finally:
        checkpoints.close()
    say(f"{folder.path}: {recipe.steps} steps done, {time.monotonic() - begun:.0f} s this time")
    evaluations = [line for line in folder.metrics() if "mean_iu" in line]
    if not evaluations:
        raise ValueError(f"{folder.metrics_file}: expected a line with scores, found none")
    return evaluations[-1]


@dataclasses.dataclass(frozen=True)
class _Training:
    """A run whose folder, data and start are known to be sound."""

    recipe: Recipe
    machine: Machine
    mesh: Mesh
    train_set: Source
    validation_set: Source
    preprocessing: Inputs
    folder: RunFolder
    checkpoints: Checkpoints
    say: Callable[[str], None]

    @property
    def finished(self) -> bool:
        return self.checkpoints.latest() == self.recipe.steps

    def to_the_end(self, variables: Any, started_from: str) -> bool:
        """Train from the start or the last checkpoint; False where asked to stop early."""
        recipe, mesh, threads = self.recipe, self.mesh, self.machine.threads
        batches, uniform = _batches(recipe, self.train_set, threads, own_part(mesh), self.say)
        check_labels(self.validation_set, threads=threads)
        optimizer = recipe.optimizer()
        state = self._state(variables, started_from, optimizer)
        train_step = make_train_step(
            rematerialised(recipe.model) if self.machine.rematerialise else recipe.model,
            optimizer,
            recipe.loss,
            self.preprocessing,
            seed=recipe.seed,
            accumulate=recipe.accumulate,
            mesh=mesh,
            shard_optimizer=self.machine.shard_optimizer,
        )
        done = int(state.step)
        read = read_ahead(batches, done, recipe.steps, threads=threads)
        reporter = Reporter(
            self.folder.path.name,
            recipe.steps,
            done=done,
            images_per_step=batches.batch_size,
            quiet=not is_leader(),
        )

        def evaluate_state(state: State, step: int) -> dict[str, Any]:
            scores = evaluate_on(
                recipe, self.validation_set, state.variables, self.preprocessing, mesh=mesh
            )
            reporter.say(f"{self.folder.path.name}: step {step}, {spoken(scores)}")
            return score_line(scores, step=step, split=split_name(self.validation_set))

        with reporter, contextlib.closing(read):
            state, reached_the_end = fit(
                state,
                train_step,
                (shard_batch(mesh, _without_size(b) if uniform else b) for b in read),
                Schedule(
                    steps=recipe.steps,
                    checkpoint_every=recipe.checkpoint_every,
                    evaluate_every=recipe.evaluate_every,
                ),
                folder=self.folder,
                checkpoints=self.checkpoints,
                evaluate=evaluate_state,
                reporter=reporter,
            )
        if reached_the_end and is_leader():
            variables = jax.device_get(state.variables)
            examples = draw_examples(recipe, self.validation_set, variables, self.preprocessing)
            write_png(self.folder.path / "examples.png", examples)
        return reached_the_end

    def _state(self, variables: Any, started_from: str, optimizer: Any) -> State:
        """The state of the last checkpoint, whatever devices it is from, or that of the start."""
        place = functools.partial(replicate, self.mesh)
        spread = functools.partial(shard_over_data, self.mesh)
        state = create_state(
            variables,
            optimizer,
            frozen=self.recipe.frozen,
            place=place,
            place_optimizer=spread if self.machine.shard_optimizer else place,
        )
        done = self.checkpoints.latest()
        self.folder.rewind(done or 0)
        if done is None:
            self.say(f"start: {started_from}")
            return state
        self.say(f"{self.folder.path}: going on after step {done} of {self.recipe.steps}")
        return jax.tree.map(jnp.copy, self.checkpoints.restore(done, state))


def _batches(
    recipe: Recipe,
    train_set: Source,
    threads: int,
    part: tuple[int, int],
    say: Callable[[str], None],
) -> tuple[Batches, bool]:
    """This process's part of checked training batches; whether every image fills its canvas."""
    checked = check_labels(train_set, threads=threads)
    absent = checked.absent if isinstance(checked.absent, dict) else {"": checked.absent}
    for label, classes in absent.items():
        if classes:
            say(
                f"no pixel of the training set is {', '.join(classes)}"
                + f" ({label})" * bool(label)
            )
    if checked.unlabelled:
        say(f"{len(checked.unlabelled)} images are ignored everywhere: {checked.unlabelled[:5]}")
    batches, fills = training_batches(recipe, train_set, checked.sizes, part=part)
    say(f"canvases: {', '.join(f'{h}x{w}' for h, w in batches.canvases or ())}")
    return batches, fills


def training_batches(
    recipe: Recipe, source: Source, sizes: Any, *, part: tuple[int, int] = (0, 1)
) -> tuple[Batches, bool]:
    """What a recipe trains on, and whether every image fills its canvas.

    Args:
        recipe: batch size, canvases, augmentation and order follow from it.
        source: the examples.
        sizes: their rows and columns, `(n, 2)`.
        part: index and number of the processes that share every batch.
    """
    per_step = recipe.batch_size * recipe.accumulate
    canvases = choose_canvases(sizes, per_step, augment=recipe.augment, seed=recipe.seed)
    batches = Batches(
        source,
        batch_size=per_step,
        seed=recipe.seed,
        with_replacement=recipe.with_replacement,
        canvases=canvases,
        augment=recipe.augment,
        part=part,
    )
    return batches, fills_canvas(sizes, canvases, recipe.augment)


def _without_size(batch: dict[str, Any]) -> dict[str, Any]:
    """The batch without true sizes, where the canvas is the size: the net skips its masks."""
    return {key: value for key, value in batch.items() if key != "size"}


def _name(source: Source, own: Source) -> str:
    """What is read, and the recipe's own data set where that is another."""
    split = getattr(source, "split", None)
    name = getattr(source, "title", type(source).__name__) + (f" {split}" if split else "")
    return name if type(source) is type(own) else f"{name} (in place of {_name(own, own)})"
