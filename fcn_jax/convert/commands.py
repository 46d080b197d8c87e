"""The commands `convert` and `export` of `python -m fcn_jax`."""

from pathlib import Path
from typing import Any, Literal

import tyro

Positional = tyro.conf.Positional


def convert(
    kind: Positional[Literal["caffe", "caffe_npz", "pytorch_fcn", "torchvision"]],
    source: Positional[Path],
    target: Positional[Path],
    /,
    net: str | None = None,
    mean: tuple[float, float, float] | None = None,
) -> None:
    """Turn other people's weights into ours (.safetensors).

    Args:
        kind: what made the source file.
        source: the file, e.g. fcn8s-heavy-pascal.caffemodel, vgg16-397923af.pth.
        target: the file to write, e.g. weights/vgg16.safetensors.
        net: recipe whose net a file of a whole FCN is for, e.g. experiments.voc_fcn8s; classifiers
            need none.
        mean: of blue, green and red, 0..255, that the net's first layer expects. [the recipe's, or
            VOC's]
    """
    from fcn_jax.convert.kinds import convert
    from fcn_jax.main import messages, recipe_named
    from fcn_jax.preprocessing import Preprocessing

    with messages(False):
        model = recipe_named(net).model if net else None
        preprocessing = recipe_preprocessing(net) if net else None
        _check_target(source, target)
        if mean:
            if not all(0 <= value <= 255 for value in mean):
                raise ValueError(f"--mean: expected three numbers in 0..255, found {mean}")
            preprocessing = Preprocessing(channels="BGR", mean=mean)
        print(convert(kind, source, target, model, preprocessing))


def export(source: Positional[Path], target: Positional[Path], /, step: int | None = None) -> None:
    """Write our parameters under Caffe's names, as arrays or for PyTorch.

    Args:
        source: a run's folder, or weights of ours (.safetensors).
        target: the file to write: OUT.npz (LAYER/w, LAYER/b) or OUT.safetensors (a state dict).
        step: a checkpoint of the run; the best one by default.
    """
    from fcn_jax.convert.export import export
    from fcn_jax.main import load_recipe, messages
    from fcn_jax.start import read_variables, run_variables
    from fcn_jax.training.run_folder import RunFolder

    with messages(False):
        net = None
        _check_target(source, target)
        if source.suffix == ".safetensors":
            if step is not None:
                raise ValueError(f"--step {step}: {source} is a file of weights, without steps")
            variables, preprocessing = read_variables(source)
        else:
            net = load_recipe(RunFolder(source).described()).model
            variables, preprocessing = run_variables(source, step)
        print(export(variables, target, preprocessing=preprocessing, net=net))


def _check_target(source: Path, target: Path) -> None:
    """Raises ValueError where the result would replace what it is made from."""
    if source.resolve() == target.resolve():
        raise ValueError(f"{target}: expected another file than the source, which it would replace")


def recipe_preprocessing(name: str) -> Any:
    """What the net of a recipe expects: as its start says, or that of the run it starts from.

    Returns:
        A preprocessing, or None where all the recipe names is a file, whose own it is.
    """
    from fcn_jax.main import recipe_named
    from fcn_jax.preprocessing import ByInput
    from fcn_jax.recipe import FromRun, FromRuns

    def of_run(run: str) -> Any:
        beside = Path(name).with_name(f"{run}.py") if name.endswith(".py") else None
        return recipe_preprocessing(str(beside or ".".join([*name.split(".")[:-1], run])))

    start = recipe_named(name).start
    if isinstance(start, FromRun):
        return of_run(start.run)
    if isinstance(start, FromRuns):
        return ByInput({stream: of_run(run) for stream, run in start.runs.items()})
    return start.preprocessing
