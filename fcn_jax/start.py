"""Where a run's parameters and preprocessing come from."""

from pathlib import Path
from typing import Any

from fcn_jax.convert.weights_file import load_weights
from fcn_jax.preprocessing import Preprocessing
from fcn_jax.recipe import FromRun, FromScratch, FromWeights, Recipe
from fcn_jax.surgery import transplant
from fcn_jax.training.checkpoints import Checkpoints
from fcn_jax.training.run_folder import RunFolder
from fcn_jax.training.state import initial_variables, variables_of, zero_variables


def starting_point(
    recipe: Recipe, workdir: Path, init: Path | None
) -> tuple[dict[str, Any], Preprocessing, str]:
    """A run's variables before its first step, their preprocessing, and where they are from.

    Args:
        recipe: says what to start from.
        workdir: the run's folder; earlier stages lie next to it.
        init: a run's folder or a `.safetensors` file to use instead.

    Raises:
        ValueError: it is not there (the message says how to make it), or does not fit the net.
    """
    start = recipe.start
    if isinstance(start, FromScratch) and init is None:
        return initial_variables(recipe.model, recipe.seed), start.preprocessing, "random"
    keep = () if isinstance(start, FromScratch) else start.keep
    # Every layer is copied or a zero score layer, unless some keep their random start.
    fresh = initial_variables(recipe.model, recipe.seed) if keep else zero_variables(recipe.model)
    path = init if init or isinstance(start, FromScratch) else _find(start, workdir)
    assert path is not None
    donor, preprocessing = read_variables(path)
    variables, report = transplant(fresh, donor, keep=keep)
    line = f"{path}: {len(report.copied)} layers copied"
    line += f", new: {', '.join(report.kept)}" if report.kept else ""
    line += f", left out: {', '.join(report.dropped)}" if report.dropped else ""
    return variables, preprocessing, line


def read_variables(path: Path) -> tuple[dict[str, Any], Preprocessing]:
    """Variables and preprocessing of a weights file, or of a run's best checkpoint.

    Raises:
        ValueError: neither is there.
    """
    if path.suffix == ".safetensors":
        variables, about = load_weights(path)
        return variables, about.preprocessing
    return run_variables(path)


def run_variables(path: Path, step: int | None = None) -> tuple[dict[str, Any], Preprocessing]:
    """Variables and preprocessing of a run, at its best step unless another is asked for.

    Raises:
        ValueError: there is no such run, or it has no such checkpoint.
    """
    folder = RunFolder(path)
    described = folder.described()
    checkpoints = Checkpoints(path / "checkpoints")
    try:
        steps = checkpoints.steps()
        if not steps:
            raise ValueError(f"{path} has no checkpoint yet; train it to its first evaluation")
        best = folder.best_step()
        chosen = step if step is not None else best if best in steps else steps[-1]
        if chosen not in steps:
            raise ValueError(f"{path} has no checkpoint of step {chosen}; it has {steps}")
        state = checkpoints.restore_as_saved(chosen)
    finally:
        checkpoints.close()
    fields = described["preprocessing"]
    preprocessing = Preprocessing(
        channels=fields["channels"], mean=tuple(fields["mean"]), std=tuple(fields["std"])
    )
    variables = variables_of(state["learning"], state["frozen"] or {}, state["batch_stats"])
    return variables, preprocessing


def _find(start: FromWeights | FromRun, workdir: Path) -> Path:
    """The file or folder that a start names."""
    if isinstance(start, FromRun):
        path = workdir.parent / start.run
        if not (path / "recipe.json").exists():
            raise ValueError(
                f"this recipe starts from the run {start.run}, and {path} is not there; run "
                f"`python -m experiments.{start.run}` first, or pass --init FOLDER of that run"
            )
        return path
    places = [Path("weights"), Path(__file__).resolve().parents[1] / "weights"]
    for place in places:
        if (place / start.file).exists():
            return place / start.file
    raise ValueError(
        f"this recipe starts from the weights {start.file}; they are neither in "
        + " nor in ".join(str(p.absolute()) for p in dict.fromkeys(places))
        + "; weights/README.md says how to make them, and --init FILE takes them from elsewhere"
    )
