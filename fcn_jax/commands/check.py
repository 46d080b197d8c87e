"""`python -m fcn_jax check`."""

import sys
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from fcn_jax.commands.progress import bar
from fcn_jax.labels import NONE_GIVEN, SetOptions


def check(
    data: Positional[Path],
    /,
    options: Annotated[SetOptions, arg(name="")] = NONE_GIVEN,
    recipe: str | None = None,
    page: Path | None = Path("check.html"),
) -> None:
    """Look at images and labels before training: mistakes, and the options that mend them.

    Ends with status 1 where training would be wrong.

    Args:
        data: the data folder.
        options: how images and labels are read, as in training.
        recipe: check the data sets of a recipe instead, such as experiments.siftflow_fcn32s.
        page: where the page with pictures is written; None writes none.
    """
    from fcn_jax.check.inspect import inspect
    from fcn_jax.check.page import write_page
    from fcn_jax.check.summary import summary
    from fcn_jax.check.text import page_of_text
    from fcn_jax.runs.messages import messages

    with messages(debug=False):
        sources, known = of_recipe(recipe, data) if recipe else of_options(options, data)
        with bar("images") as progress:
            report = inspect(sources, known=known, progress=progress)
        short = summary(report)
        print(page_of_text(str(data), report, short))
        if page is not None:
            print(f"page with pictures: {write_page(page, str(data), report, short)}")
    sys.exit(1 if report.wrong else 0)


def of_options(options: SetOptions, data: Path) -> tuple[dict[str, Any], bool]:
    """The parts of the set that options mean, and whether they say the classes."""
    from fcn_jax.data.layouts import data_sets
    from fcn_jax.labels import IGNORE

    if not data.is_dir():
        raise ValueError(f"{data}: there is no such folder; name the one with images and labels")
    sets = data_sets(options, data, unknown=IGNORE)
    parts = {"train": sets.train.at(data), "validation": sets.validation.at(data)}
    return parts, sets.train.num_classes < IGNORE


def of_recipe(name: str, data: Path) -> tuple[dict[str, Any], bool]:
    """The parts of a recipe's set."""
    from fcn_jax.data.source import FileSource
    from fcn_jax.runs.lookup import recipe_named

    recipe = recipe_named(name)
    parts = {"train": recipe.train_set, "validation": recipe.validation_set}
    for part, source in parts.items():
        if not isinstance(source, FileSource):
            raise ValueError(f"{name}: its {part} set reads no files; there is nothing to check")
    return {part: source.at(data) for part, source in parts.items()}, True
