"""Running a recipe on a machine: check, start or resume, train, evaluate, draw."""

import dataclasses
import platform
import subprocess
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fcn_jax.data.canvases import choose_canvases, fills_canvas
from fcn_jax.data.check import check_labels
from fcn_jax.data.pipeline import Batches, evaluation_batches, read_ahead
from fcn_jax.data.source import Source
from fcn_jax.inference.evaluate import evaluate
from fcn_jax.inference.predictor import Predictor
from fcn_jax.metrics import Scores, score
from fcn_jax.preprocessing import Preprocessing
from fcn_jax.recipe import Recipe, describe
from fcn_jax.report.palette import class_palette
from fcn_jax.report.pictures import contact_sheet, write_png
from fcn_jax.start import starting_point
from fcn_jax.training.loop import Schedule, fit
from fcn_jax.training.progress import Reporter
from fcn_jax.training.run_folder import RunFolder
from fcn_jax.training.state import State, create_state
from fcn_jax.training.step import make_mesh, make_train_step, replicate, shard_batch

FOUR = ("pixel_accuracy", "mean_accuracy", "mean_iu", "frequency_weighted_iu")


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
    events = tensorboard(machine.workdir) if machine.tensorboard else None
    folder = RunFolder(machine.workdir, events)
    train_set, validation_set = (
        source.at(machine.data) for source in (recipe.train_set, recipe.validation_set)
    )
    say(
        f"{_name(train_set)}: {len(train_set)} images to train on; "
        f"{_name(validation_set)}: {len(validation_set)} to validate on"
    )
    variables, preprocessing, started_from = starting_point(recipe, machine.workdir, machine.init)
    folder.claim(
        {
            **origin,
            "recipe": describe(recipe),
            "preprocessing": describe(preprocessing),
            "started_from": started_from,
            "environment": environment(),
        }
    )
    mesh = make_mesh(recipe.batch_size)
    optimizer = recipe.optimizer()
    state = create_state(
        variables, optimizer, frozen=recipe.frozen, place=lambda tree: replicate(mesh, tree)
    )
    checkpoints = folder.checkpoints()
    try:
        done = checkpoints.latest()
        if done is not None:
            state = replicate(mesh, checkpoints.restore(done, state))
            folder.rewind(done)
            say(f"{folder.path}: going on after step {done} of {recipe.steps}")
        else:
            folder.rewind(0)
            say(f"start: {started_from}")
        if done != recipe.steps:
            batches, uniform = _batches(recipe, train_set, machine.threads, say)
            check_labels(validation_set, threads=machine.threads)
            train_step = make_train_step(
                recipe.model,
                optimizer,
                recipe.loss,
                preprocessing,
                seed=recipe.seed,
                accumulate=recipe.accumulate,
            )
            reporter = Reporter(
                folder.path.name,
                recipe.steps,
                done=done or 0,
                images_per_step=batches.batch_size,
            )

            def evaluate_state(state: State, step: int) -> dict[str, Any]:
                scores = evaluate_on(recipe, validation_set, state.variables, preprocessing)
                reporter.say(f"{folder.path.name}: step {step}, {scores}")
                return score_line(scores, step=step, split=split_name(validation_set))

            read = read_ahead(batches, done or 0, recipe.steps, threads=machine.threads)
            with reporter:
                state, finished = fit(
                    state,
                    train_step,
                    (shard_batch(mesh, _without_size(b) if uniform else b) for b in read),
                    Schedule(
                        steps=recipe.steps,
                        checkpoint_every=recipe.checkpoint_every,
                        evaluate_every=recipe.evaluate_every,
                    ),
                    folder=folder,
                    checkpoints=checkpoints,
                    evaluate=evaluate_state,
                    reporter=reporter,
                )
            read.close()  # type: ignore[attr-defined]
            if not finished:
                return None
            picture = draw_examples(recipe, validation_set, state.variables, preprocessing)
            write_png(folder.path / "examples.png", picture)
    finally:
        checkpoints.close()
    say(f"{folder.path}: {recipe.steps} steps done, {time.monotonic() - begun:.0f} s this time")
    return [line for line in folder.metrics() if "mean_iu" in line][-1]


def _batches(
    recipe: Recipe, train_set: Source, threads: int, say: Callable[[str], None]
) -> tuple[Batches, bool]:
    """Checked training batches, and whether every image fills its canvas."""
    checked = check_labels(train_set, threads=threads)
    if checked.absent:
        say(f"no pixel of the training set is {', '.join(checked.absent)}")
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


def evaluate_on(
    recipe: Recipe,
    source: Source,
    variables: Any,
    preprocessing: Preprocessing,
    *,
    threads: int = 4,
    progress: Callable[[int, int], None] | None = None,
) -> Scores:
    """Scores of a net on a whole data set, one integer confusion matrix for all of it."""
    sizes = [source.size(i) for i in range(len(source))]
    size = recipe.batch_size
    batches = evaluation_batches(source, batch_size=size, canvases=choose_canvases(sizes, size))
    read = read_ahead(batches, 0, len(batches), threads=threads)
    matrix = evaluate(
        recipe.model,
        variables,
        preprocessing,
        read,
        source.num_classes,
        mesh=make_mesh(size),
        progress=None if progress is None else lambda n, _: progress(n, len(batches)),
    )
    return score(matrix, absent=recipe.absent)


def score_line(scores: Scores, **more: Any) -> dict[str, Any]:
    """The line of `metrics.jsonl` for an evaluation."""
    return {**more, **{name: getattr(scores, name) for name in FOUR}}


def draw_examples(
    recipe: Recipe, source: Source, variables: Any, preprocessing: Preprocessing, count: int = 4
) -> np.ndarray:
    """Image, truth and prediction of a few examples, side by side."""
    predict = Predictor(recipe.model, variables, preprocessing)
    picks = np.linspace(0, len(source) - 1, min(count, len(source))).astype(int)
    rows = [(e.image, e.label, predict(e.image)) for e in (source[int(i)] for i in picks)]
    return contact_sheet(
        rows,
        ("image", "truth", "prediction"),
        class_names=source.class_names,
        palette=class_palette(source.num_classes),
    )


def split_name(source: Source) -> str:
    """The split of a source, or its class where it has none."""
    return str(getattr(source, "split", None) or type(source).__name__)


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


def tensorboard(path: Path) -> Callable[[dict[str, Any]], None]:
    """Writes every line of metrics as TensorBoard events below `path`.

    Raises:
        ValueError: tensorboardX is not installed.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise ValueError(
            "--tensorboard needs tensorboardX: pip install 'fcn-jax[tensorboard]'"
        ) from None
    writer = SummaryWriter(str(path / "tensorboard"))

    def write(line: dict[str, Any]) -> None:
        group = line.get("split", "train")
        for name in line.keys() & {"loss", *FOUR}:
            writer.add_scalar(f"{group}/{name}", line[name], line["step"])
        writer.flush()

    return write
