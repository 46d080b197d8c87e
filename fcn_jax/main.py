"""The command line of an experiment: `python -m experiments.NAME`.

The science is in the recipe; the command line says where it runs, and may override plain fields.
"""

import dataclasses
import importlib
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from fcn_jax.recipe import Recipe, changed_fields, override, plain_fields


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """Where to run.

    Attributes:
        data: folder with the data sets; or tfds:NAME, a data set of TFDS in their place.
        workdir: folder of the run; the same command goes on with what is there. [runs/NAME]
        init: a run's folder or a .safetensors file to start from, instead of the recipe's own.
        demo: three stages on generated scenes, in minutes on a CPU; needs no data.
        threads: threads that read images ahead.
        tensorboard: also write TensorBoard events.
        mesh: devices for images and for image rows, such as data=4,space=2. [all for images]
        shard_optimizer: spread the optimizer's state over the devices for images.
        rematerialise: keep fewer activations for the gradient, and compute them again.
        coordinator: HOST:PORT of process 0 of several; found by itself on Cloud TPU and SLURM.
        processes: how many processes make this run, where that is not found.
        process: which of them this is, from 0 on.
        debug: show the whole traceback of an error.
    """

    data: Path = Path("data")
    workdir: Path | None = None
    init: Path | None = None
    demo: bool = False
    threads: int = 4
    tensorboard: bool = False
    mesh: str = ""
    shard_optimizer: bool = False
    rematerialise: bool = False
    coordinator: str | None = None
    processes: int | None = None
    process: int | None = None
    debug: bool = False


def main(recipe: Recipe | Callable[..., Recipe]) -> None:
    """Run a recipe from the command line; the last line of every experiment.

    Args:
        recipe: a recipe, whose plain fields become options; or the module's function `recipe`,
            whose parameters do.

    Exits with status 1 and one message where something is missing or wrong.
    """
    import tyro

    module = sys.modules["__main__"]
    name = module.__spec__.name if module.__spec__ else str(Path(sys.argv[0]).resolve())
    short = name.rpartition(".")[2] if module.__spec__ else Path(name).stem
    made = not isinstance(recipe, Recipe)
    options = parameters(recipe) if made else plain_fields(recipe)
    needed = any(f.default is f.default_factory for f in dataclasses.fields(options))
    default = {} if needed else {"default_factory": options}
    arguments = dataclasses.make_dataclass(
        "Arguments",
        [
            ("recipe", Annotated[options, tyro.conf.arg(name="")], dataclasses.field(**default)),
            ("place", Annotated[Place, tyro.conf.OmitArgPrefixes], dataclasses.field()),
        ],
        kw_only=True,
    )
    args = tyro.cli(arguments, prog=f"python -m {name}", description=module.__doc__)
    place: Place = args.place
    with messages(place.debug):
        use_compile_cache()
        if place.demo:
            from fcn_jax.demo import run_demo

            _check_demo(place, {} if made else changed_fields(recipe, args.recipe))
            run_demo(place.workdir or Path("runs/demo"), threads=place.threads)
            return
        from fcn_jax.training.processes import join

        join(place.coordinator, place.processes, place.process)
        given = dataclasses.asdict(args.recipe) if made else {}
        changes = {} if made else changed_fields(recipe, args.recipe)
        science = recipe(**given) if made else override(recipe, changes)
        origin = {"module": name, "arguments": given, "overrides": changes}
        _run(science, place, short, origin)


def _check_demo(place: Place, changes: dict[str, Any]) -> None:
    """Raises ValueError where options were given that the demo would not heed."""
    defaults, heeded = Place(), {"demo", "workdir", "threads", "debug"}
    names = {f.name for f in dataclasses.fields(Place)} - heeded
    given = sorted(n for n in names if getattr(place, n) != getattr(defaults, n)) + list(changes)
    if given:
        options = ", ".join("--" + name.replace("_", "-") for name in given)
        raise ValueError(f"--demo is the same three stages everywhere, and takes no {options}")


def _run(recipe: Recipe, place: Place, short: str, origin: dict[str, Any]) -> None:
    from fcn_jax.data.files import DataError
    from fcn_jax.run import Machine, run

    machine = Machine(
        workdir=place.workdir or Path("runs") / short,
        data=place.data,
        init=place.init,
        threads=place.threads,
        tensorboard=place.tensorboard,
        mesh=place.mesh,
        shard_optimizer=place.shard_optimizer,
        rematerialise=place.rematerialise,
    )
    try:
        run(recipe, machine, origin=origin)
    except DataError as error:
        error.add_note(
            f"(data: --data {place.data}; `python -m experiments.voc_fcn8s --demo` shows the same "
            "program at work without data)"
        )
        raise


def parameters(function: Callable[..., Recipe]) -> Any:
    """A dataclass type with the parameters of a function, as options of a command line."""
    fields = []
    for item in inspect.signature(function).parameters.values():
        default = {} if item.default is item.empty else {"default": item.default}
        fields.append((item.name, item.annotation, dataclasses.field(**default)))
    return dataclasses.make_dataclass("Recipe", fields, frozen=True, kw_only=True)


class messages:  # noqa: N801 - reads as a word at its use
    """Turns a user's mistake into one message and exit status 1, unless debugging."""

    def __init__(self, debug: bool):
        self._debug = debug

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, at: Any) -> None:
        if error is None or self._debug:
            return
        from fcn_jax.training.processes import leave, trouble

        mistake = isinstance(error, ValueError | ArithmeticError | OSError)
        if text := str(error) if mistake else trouble(error):
            # Grain adds a note on its own internals to what its threads raise.
            notes = [note for note in getattr(error, "__notes__", []) if "Grain" not in note]
            print("\n".join([f"error: {text}", *notes]), file=sys.stderr)
            leave(1)


def use_compile_cache() -> None:
    """Keep compiled programs in the user's cache folder, unless JAX is told another."""
    import jax

    if os.environ.get("JAX_COMPILATION_CACHE_DIR") is None:
        root = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
        jax.config.update("jax_compilation_cache_dir", str(root / "fcn_jax" / "xla"))


def recipe_named(name: str) -> Any:
    """The recipe of a module (see `import_recipe_module`).

    Raises:
        ValueError: there is no such module, or it holds none.
    """
    recipe = getattr(import_recipe_module(name), "RECIPE", None)
    if recipe is None:
        raise ValueError(f"{name} holds no RECIPE; name a recipe such as experiments.voc_fcn8s")
    return recipe


def load_recipe(described: dict[str, Any]) -> Recipe:
    """The recipe that a run folder's `recipe.json` names, with its overrides.

    Raises:
        ValueError: the module is not there, or its recipe has changed since.
    """
    from fcn_jax.recipe import describe
    from fcn_jax.training.run_folder import differing

    name = described["module"]
    module = import_recipe_module(name)
    given = described.get("arguments")
    recipe = override(module.recipe(**given) if given else module.RECIPE, described["overrides"])
    differences = list(differing(described["recipe"], describe(recipe)))
    if differences:
        raise ValueError(
            f"{name} has changed since this run was made:\n"
            + "\n".join(f"  {line}" for line in differences)
        )
    return recipe


def import_recipe_module(name: str) -> Any:
    """The module of a recipe, by its name (`experiments.voc_fcn8s`) or its file.

    Raises:
        ValueError: there is none.
    """
    if name.endswith(".py"):
        from importlib.util import module_from_spec, spec_from_file_location

        spec = spec_from_file_location(Path(name).stem, name)
        if spec is None or spec.loader is None or not Path(name).exists():
            raise ValueError(f"there is no recipe file {name}")
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and name.startswith(error.name):
            raise ValueError(
                f"there is no module {name}; name a recipe such as experiments.voc_fcn8s, from "
                "the folder that holds it"
            ) from None
        raise
