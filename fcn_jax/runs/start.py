"""What a run starts from: random parameters, converted weights or an earlier run."""

import dataclasses
import functools
import sys
from pathlib import Path
from typing import Any

from fcn_jax.atomic import AnyPath
from fcn_jax.preprocessing import AnyPreprocessing, ByInput, Preprocessing, from_description
from fcn_jax.runs.recipe import FromRun, FromRuns, FromScratch, FromWeights, Recipe
from fcn_jax.training.checkpoints import nested
from fcn_jax.training.run_folder import RunFolder
from fcn_jax.training.state import initial_variables, variables_of, zero_variables
from fcn_jax.weights.packages import package_file, read_package
from fcn_jax.weights.surgery import expand_input, transplant
from fcn_jax.weights.weights_file import load_weights


@dataclasses.dataclass(frozen=True)
class StartingPoint:
    """What a run starts from.

    Attributes:
        variables: of the recipe's net, before the first step.
        preprocessing: what those variables expect.
        source: where they are from, for people.
    """

    variables: dict[str, Any]
    preprocessing: AnyPreprocessing
    source: str


def starting_point(recipe: Recipe, workdir: AnyPath, init: AnyPath | None) -> StartingPoint:
    """A run's variables before its first step.

    Args:
        recipe: says what to start from.
        workdir: the run's folder; earlier stages lie next to it.
        init: a run's folder or a `.safetensors` file to use instead. It may be of other classes:
            then the scores start new, and so do other layers beyond the trunk that do not fit.

    Raises:
        ValueError: it is missing (the message says how to make it), or does not fit the net.
    """
    start, workdir = recipe.start, Path(workdir)
    if isinstance(start, FromScratch) and init is None:
        variables = initial_variables(recipe.model, recipe.seed)
        return StartingPoint(variables, start.preprocessing, "random")
    if init is not None:
        path, (donor, preprocessing) = Path(init), read_variables(init)
    elif isinstance(start, FromRuns):
        donor, preprocessing, path = _streams(start, workdir)
    elif isinstance(start, FromWeights) and start.package:
        path, imported = package_file(start.package), read_package(start.package)
        assert imported.variables is not None
        donor, preprocessing = imported.variables, imported.preprocessing
    else:
        assert isinstance(start, FromWeights | FromRun)
        path = _find(start, workdir)
        donor, preprocessing = read_variables(path)
    keep, expand = (), {}
    if isinstance(start, FromWeights | FromRun):
        keep = start.keep
    if isinstance(start, FromWeights) and not _is_run(path):
        expand = dict(start.expand)
        preprocessing = _agreed(start.preprocessing, preprocessing, path)
    # Layers that are not copied are score layers, which start at zero, and those in `keep`; after
    # `init`, which may be of other classes, also others beyond the trunk.
    drawn = bool(keep) or init is not None
    fresh = initial_variables(recipe.model, recipe.seed) if drawn else zero_variables(recipe.model)
    for ours, theirs in expand.items():
        fresh = expand_input(fresh, donor, layer=ours, source=theirs)
    variables, report = transplant(
        fresh, donor, keep=(*keep, *expand), other_classes=init is not None
    )
    source = f"{path}: {len(report.copied)} layers copied"
    new = [layer for layer in report.kept if layer not in report.reshaped]
    source += f", new: {', '.join(new)}" if new else ""
    if report.reshaped:
        source += f", new because they have another shape: {', '.join(report.reshaped)}"
    source += f", left out: {', '.join(report.dropped)}" if report.dropped else ""
    return StartingPoint(variables, preprocessing, source)


def _is_run(path: Path | str) -> bool:
    return Path(path).suffix not in (".safetensors", ".pth")


def _agreed(
    wanted: AnyPreprocessing | None, of_the_file: AnyPreprocessing, path: Path | str
) -> AnyPreprocessing:
    """The recipe's preprocessing, if it suits the weights.

    Raises:
        ValueError: the order or the scale of the colours is not what the first layer learned.
    """
    if wanted is None:
        return of_the_file
    for part in wanted.inputs.values() if isinstance(wanted, ByInput) else (wanted,):
        if not isinstance(part, Preprocessing) or not isinstance(of_the_file, Preprocessing):
            continue
        if part.channels not in ("HHA", of_the_file.channels) or part.std != of_the_file.std:
            raise ValueError(
                f"{path} takes {of_the_file}; the recipe gives it {part}. Only the mean may "
                "differ: a first layer was trained for one order and scale of its channels"
            )
    return wanted


def _streams(start: FromRuns, workdir: Path) -> tuple[dict[str, Any], AnyPreprocessing, str]:
    """The variables of earlier runs as those of one `LateFusion`."""
    params, stats, inputs = {}, {}, {}
    for name, run in start.runs.items():
        variables, inputs[name] = run_variables(_run_folder(run, workdir))
        params[f"streams_{name}"] = variables["params"]
        if "batch_stats" in variables:
            stats[f"streams_{name}"] = variables["batch_stats"]
    merged = {"params": params} | ({"batch_stats": stats} if stats else {})
    return merged, ByInput(inputs), " and ".join(start.runs.values())


def read_variables(path: AnyPath) -> tuple[dict[str, Any], AnyPreprocessing]:
    """Variables and preprocessing of a weights file, or of a run's best checkpoint.

    Raises:
        ValueError: there is neither.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        variables, about = load_weights(path)
        return variables, about.preprocessing
    return run_variables(path)


def run_variables(
    path: AnyPath, step: int | None = None
) -> tuple[dict[str, Any], AnyPreprocessing]:
    """Variables and preprocessing of a run, at its best step unless another is asked for.

    See `run_at`.
    """
    return run_at(path, step)[1:]


def run_at(path: AnyPath, step: int | None = None) -> tuple[int, dict[str, Any], AnyPreprocessing]:
    """Step, variables and preprocessing of a run, at its best step unless another is asked for.

    Where that checkpoint is damaged, those of the newest sound one; a line on stderr says so.

    Raises:
        ValueError: there is no such run, or it has no such checkpoint, or no sound one.
    """
    folder = RunFolder(path)
    checkpoints, preprocessing = folder.checkpoints(), _preprocessing(folder)
    steps = checkpoints.steps()
    if not steps:
        raise ValueError(f"{path} has no checkpoint yet; train it to its first evaluation")
    if step is None:
        say = functools.partial(print, file=sys.stderr)
        step, arrays = checkpoints.newest_sound(say, first=folder.best_step())
        state = nested(arrays)
    elif step in steps:
        state = checkpoints.restore_as_saved(step)
    else:
        raise ValueError(f"{path} has no checkpoint of step {step}; it has {steps}")
    parts = (state.get(name, {}) for name in ("learning", "frozen", "batch_stats"))
    return step, variables_of(*parts), preprocessing


def _preprocessing(folder: RunFolder) -> AnyPreprocessing:
    """What a run's variables expect.

    Raises:
        ValueError: this is not a run, or its recipe.json does not say it.
    """
    try:
        return from_description(folder.described()["preprocessing"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{folder.recipe_file} is damaged: its `preprocessing` is wrong or missing ({error!r})"
        ) from None


def _run_folder(run: str, workdir: Path) -> Path:
    """The folder of an earlier run, next to this one's."""
    path = workdir.parent / Path(run).expanduser()
    if not (path / "recipe.json").exists():
        raise ValueError(
            f"this recipe starts from the run {run}, and {path} is not there; run "
            f"`python -m experiments.{run}` first, or pass --init FOLDER of that run"
        )
    return path


def _find(start: FromWeights | FromRun, workdir: Path) -> Path:
    """The file or folder that a start names."""
    if isinstance(start, FromRun):
        return _run_folder(start.run, workdir)
    places = [Path("weights"), Path(__file__).resolve().parents[2] / "weights"]
    for place in places:
        if (path := place / Path(start.file).expanduser()).exists():
            return path
    raise ValueError(
        f"this recipe starts from the weights {start.file}; they are not in "
        + " or ".join(dict.fromkeys(str(p.absolute()) for p in places))
        + "; weights/README.md says how to make them, and --init FILE takes them from elsewhere"
    )
