"""Running a recipe on a machine: check, start or resume, train, evaluate, draw."""

import contextlib
import dataclasses
import platform
import subprocess
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from fcn_jax.data.canvases import choose_canvases, fills_canvas
from fcn_jax.data.check import check_labels
from fcn_jax.data.pipeline import Batches, read_ahead
from fcn_jax.data.source import Source
from fcn_jax.evaluation import (
    draw_examples,
    evaluate_on,
    score_line,
    split_name,
    spoken,
)
from fcn_jax.preprocessing import Inputs
from fcn_jax.recipe import Recipe, describe
from fcn_jax.report.pictures import write_png
from fcn_jax.start import starting_point
from fcn_jax.training.checkpoints import Checkpoints
from fcn_jax.training.events import tensorboard
from fcn_jax.training.loop import Schedule, fit
from fcn_jax.training.progress import Reporter
from fcn_jax.training.run_folder import RunFolder
from fcn_jax.training.state import State, create_state
from fcn_jax.training.step import make_mesh, make_train_step, replicate, shard_batch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Machine:
    """Where a recipe runs; nothing here changes what it computes.

    Attributes:
        workdir: folder of the run; resumed if it holds this very run already.
        data: folder with the data sets.
        init: a run's folder or a weights file to start from, instead of the recipe's own.
        threads: threads that read images ahead.
        tensorboard: also write TensorBoard events (extra `tensorboard`).
    """

    workdir: Path
    data: Path = Path("data")
    init: Path | None = None
    threads: int = 4
    tensorboard: bool = False


def run(
    recipe: Recipe, machine: Machine, *, origin: dict[str, Any], say: Callable[[str], None] = print
) -> dict[str, Any] | None:
    """Run a recipe, or go on with it, to its end.

    Args:
        recipe: the science.
        machine: the place.
        origin: where the recipe came from, for `recipe.json` (see `fcn_jax.main`).
        say: prints a line.

    Returns:
        The last evaluation's line of `metrics.jsonl`; None where the run was asked to stop early.

    Raises:
        ValueError: data, weights or folder are not what the recipe needs; nothing was trained.
        NonFiniteLossError: the loss left the finite numbers.
    """
    begun = time.monotonic()
    train_set, validation_set = (
        source.at(machine.data) for source in (recipe.train_set, recipe.validation_set)
    )
    say(
        f"{_name(train_set)}: {len(train_set)} images to train on; "
        f"{_name(validation_set)}: {len(validation_set)} to validate on"
    )
    variables, preprocessing, started_from = starting_point(recipe, machine.workdir, machine.init)
    events = tensorboard(machine.workdir) if machine.tensorboard else None
    folder = RunFolder(machine.workdir, events)
    folder.claim(
        {
            **origin,
            "recipe": describe(recipe),
            "preprocessing": describe(preprocessing),
            "started_from": started_from,
            "environment": environment(),
        }
    )
    checkpoints = folder.checkpoints()
    try:
        training = _Training(
            recipe, machine, train_set, validation_set, preprocessing, folder, checkpoints, say
        )
        if training.finished:
            say(f"{folder.path}: all {recipe.steps} steps are done already")
        elif not training.to_the_end(variables, started_from):
            return None
    finally:
        checkpoints.close()
    say(f"{folder.path}: {recipe.steps} steps done, {time.monotonic() - begun:.0f} s this time")
    return [line for line in folder.metrics() if "mean_iu" in line][-1]


@dataclasses.dataclass(frozen=True)
class _Training:
    """A run whose folder, data and start are known to be sound."""

    recipe: Recipe
    machine: Machine
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
        recipe, threads = self.recipe, self.machine.threads
        batches, uniform = _batches(recipe, self.train_set, threads, self.say)
        check_labels(self.validation_set, threads=threads)
        mesh = make_mesh(recipe.batch_size)
        optimizer = recipe.optimizer()
        state = self._state(variables, started_from, optimizer, mesh)
        train_step = make_train_step(
            recipe.model,
            optimizer,
            recipe.loss,
            self.preprocessing,
            seed=recipe.seed,
            accumulate=recipe.accumulate,
        )
        done = int(state.step)
        read = read_ahead(batches, done, recipe.steps, threads=threads)
        reporter = Reporter(
            self.folder.path.name, recipe.steps, done=done, images_per_step=batches.batch_size
        )

        def evaluate_state(state: State, step: int) -> dict[str, Any]:
            scores = evaluate_on(recipe, self.validation_set, state.variables, self.preprocessing)
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
        if reached_the_end:
            examples = draw_examples(
                recipe, self.validation_set, state.variables, self.preprocessing
            )
            write_png(self.folder.path / "examples.png", examples)
        return reached_the_end

    def _state(self, variables: Any, started_from: str, optimizer: Any, mesh: Mesh) -> State:
        """The state of the last checkpoint, or that before the first step."""

        def place(tree: Any) -> Any:
            return replicate(mesh, tree)

        state = create_state(variables, optimizer, frozen=self.recipe.frozen, place=place)
        done = self.checkpoints.latest()
        self.folder.rewind(done or 0)
        if done is None:
            self.say(f"start: {started_from}")
            return state
        self.say(f"{self.folder.path}: going on after step {done} of {self.recipe.steps}")
        return place(self.checkpoints.restore(done, state))


def _batches(
    recipe: Recipe, train_set: Source, threads: int, say: Callable[[str], None]
) -> tuple[Batches, bool]:
    """Checked training batches, and whether every image fills its canvas."""
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
    per_step = recipe.batch_size * recipe.accumulate
    canvases = choose_canvases(checked.sizes, per_step, augment=recipe.augment, seed=recipe.seed)
    say(f"canvases: {', '.join(f'{h}x{w}' for h, w in canvases)}")
    batches = Batches(
        train_set,
        batch_size=per_step,
        seed=recipe.seed,
        with_replacement=recipe.with_replacement,
        canvases=canvases,
        augment=recipe.augment,
    )
    return batches, fills_canvas(checked.sizes, canvases, recipe.augment)


def _without_size(batch: dict[str, Any]) -> dict[str, Any]:
    """The batch without true sizes, where the canvas is the size: the net skips its masks."""
    return {key: value for key, value in batch.items() if key != "size"}


def environment() -> dict[str, Any]:
    """Versions, commit and devices of this process."""
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        commit = subprocess.run(git, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        commit = ""
    return {
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in packages},
        "commit": commit or None,
        "devices": [str(device.device_kind) for device in jax.devices()],
    }


def _name(source: Source) -> str:
    split = getattr(source, "split", None)
    return type(source).__name__ + (f" {split}" if split else "")
