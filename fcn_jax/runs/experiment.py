"""The command line of an experiment: `python -m experiments.NAME`.

The science is in the recipe; the command line says where it runs, and may override plain fields.
"""

import dataclasses
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from fcn_jax.devices.compiling import use_compile_cache
from fcn_jax.devices.processes import join
from fcn_jax.runs.command_line import arguments as given_arguments
from fcn_jax.runs.command_line import own_process
from fcn_jax.runs.messages import messages
from fcn_jax.runs.options import changed_fields, override, parameters, plain_fields, takes_data
from fcn_jax.runs.place import Place
from fcn_jax.runs.recipe import Recipe
from fcn_jax.training.stopping import StopRequest


@dataclasses.dataclass(frozen=True, kw_only=True)
class Launch:
    """How to start.

    Attributes:
        demo: three stages on generated scenes, in minutes on a CPU; needs no data.
        coordinator: HOST:PORT of process 0 of several; found by itself on Cloud TPU and SLURM.
        processes: how many processes make this run, where that is not found.
        process: which of them this is, from 0 on.
        join_timeout: seconds to wait for the others at the start.
        debug: show the whole traceback of an error.
    """

    demo: bool = False
    coordinator: str | None = None
    processes: int | None = None
    process: int | None = None
    join_timeout: int = 300
    debug: bool = False


def main(recipe: Recipe | Callable[..., Recipe]) -> None:
    """Run a recipe from the command line; the last line of every experiment.

    Args:
        recipe: a recipe, whose plain fields become options; or the module's function `recipe`,
            whose parameters do; its parameter `data` gets the data folder.

    Exits with status 1 and one message where something is missing or wrong; with 143 after SIGTERM
    and 130 after Ctrl-C.
    """
    own_process()
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
            ("launch", Annotated[Launch, tyro.conf.OmitArgPrefixes], dataclasses.field()),
        ],
        kw_only=True,
    )
    prog = f"python -m {name}"
    args = tyro.cli(arguments, prog=prog, description=module.__doc__, args=given_arguments())
    place: Place = args.place
    launch: Launch = args.launch
    with messages(launch.debug):
        use_compile_cache()
        changes = {} if made else changed_fields(recipe, args.recipe)
        stop = StopRequest()
        if launch.demo:
            from fcn_jax.runs.demo import run_demo

            _check_demo(place, launch, changes)
            run_demo(place.workdir or Path("runs/demo"), threads=place.threads, stop=stop)
        else:
            join(
                launch.coordinator,
                launch.processes,
                launch.process,
                timeout_seconds=launch.join_timeout,
            )
            given = dataclasses.asdict(args.recipe) if made else {}
            if isinstance(recipe, Recipe):
                science = override(recipe, changes)
            else:
                given |= {"data": str(place.data)} if takes_data(recipe) else {}
                science = recipe(**given)
            place = dataclasses.replace(place, workdir=place.workdir or Path("runs") / short)
            origin = {"module": name, "arguments": given, "overrides": changes}
            command = shlex.join(
                ["python", *(["-m"] if module.__spec__ else []), name, *given_arguments()]
            )
            _run(science, place, {**origin, "command": command}, stop)
    if stop.signal:
        sys.exit(128 + stop.signal)


def _check_demo(place: Place, launch: Launch, changes: dict[str, Any]) -> None:
    """Raises ValueError where options were given that the demo ignores."""
    taken = {"demo", "workdir", "threads", "debug"}
    given = list(changes)
    for options in (place, launch):
        default = type(options)()
        for field in dataclasses.fields(options):
            if getattr(options, field.name) != getattr(default, field.name):
                given += [field.name] if field.name not in taken else []
    if given:
        names = ", ".join("--" + name.replace("_", "-") for name in sorted(given))
        raise ValueError(f"--demo is the same three stages everywhere, and takes no {names}")


def _run(recipe: Recipe, place: Place, origin: dict[str, Any], stop: StopRequest) -> None:
    from fcn_jax.data.location import of_tfds
    from fcn_jax.data.readers import DataError
    from fcn_jax.runs.run import run

    try:
        run(recipe, place, origin=origin, stop=stop)
    except DataError as error:
        if not (place.data.exists() or of_tfds(place.data)):
            error.add_note(
                f"(there is no --data {place.data}; `python -m experiments.voc_fcn8s --demo` shows "
                "the same program at work without data)"
            )
        raise
