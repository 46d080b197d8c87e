"""Finding a recipe: by its module, by its file, or by the run that it made."""

import importlib
import sys
from pathlib import Path
from typing import Any

from fcn_jax.moved import new_name
from fcn_jax.preprocessing import ByInput
from fcn_jax.runs.description import differences
from fcn_jax.runs.options import override
from fcn_jax.runs.recipe import FromRun, FromRuns, Recipe


def recipe_named(name: str) -> Any:
    """The recipe of a module (see `import_recipe_module`).

    Raises:
        ValueError: there is no such module, or it holds none.
    """
    recipe = getattr(import_recipe_module(name), "RECIPE", None)
    if recipe is None:
        raise ValueError(f"{name} holds no RECIPE; name a recipe such as experiments.voc_fcn8s")
    return recipe


def load_recipe(described: dict[str, Any], name: str | None = None) -> Recipe:
    """The recipe that made a run, with the run's overrides. Imports and so runs its module.

    Args:
        described: the content of the run's `recipe.json`.
        name: module or file of the recipe; the one that `recipe.json` names by default.

    Raises:
        ValueError: the module is not there, or its recipe has changed since.
    """
    if missing := {"module", "overrides", "recipe"} - described.keys():
        raise ValueError(f"recipe.json is damaged: expected `{min(missing)}`, found none")
    chosen = str(name or described["module"])
    module = import_recipe_module(chosen)
    given = described.get("arguments")
    recipe = override(module.recipe(**given) if given else module.RECIPE, described["overrides"])
    lines = list(differences(described["recipe"], recipe))
    if lines:
        raise ValueError(
            f"{chosen} is another recipe than this run's, or has changed since:\n"
            + "\n".join(f"  {line}" for line in lines)
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
        return importlib.import_module(new_name(name) or name)
    except ModuleNotFoundError as error:
        if error.name and name.startswith(error.name):
            raise ValueError(
                f"there is no module {name}; name a recipe such as experiments.voc_fcn8s, from "
                "the folder that holds it"
            ) from None
        raise


def recipe_preprocessing(name: str) -> Any:
    """The preprocessing that a recipe's net expects: its start's, or the earlier run's.

    Returns:
        A preprocessing; None if the recipe names only a file of weights, which holds its own.
    """

    def of_run(run: str) -> Any:
        beside = Path(name).with_name(f"{run}.py") if name.endswith(".py") else None
        return recipe_preprocessing(str(beside or ".".join([*name.split(".")[:-1], run])))

    start = recipe_named(name).start
    if isinstance(start, FromRun):
        return of_run(start.run)
    if isinstance(start, FromRuns):
        return ByInput({stream: of_run(run) for stream, run in start.runs.items()})
    return start.preprocessing
