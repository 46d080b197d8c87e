"""`python -m fcn_jax list`."""

import ast
import re
import sys
from pathlib import Path
from typing import NamedTuple

from tyro.conf import Positional


class Row(NamedTuple):
    """What a recipe's docstring says of it.

    Attributes:
        recipe: module, e.g. experiments.voc_fcn8s.
        title: first line.
        published: pixel accuracy, mean accuracy, mean IU and f.w. IU in percent; "" where there is
            none.
        ours: mean IU of our own run in percent, or "".
    """

    recipe: str
    title: str
    published: tuple[str, ...]
    ours: str


SCORES = ("pixel accuracy", "mean accuracy", "mean IU", "f.w. IU")


def rows(folder: Path) -> list[Row]:
    """A row for every recipe in a folder, read from the docstrings; nothing is imported."""
    found = []
    for path in sorted(folder.glob("*.py")):
        text = path.read_text()
        document = ast.get_docstring(ast.parse(text)) or ""
        if not re.search(r"^RECIPE = ", text, re.MULTILINE):
            continue
        paragraphs = " ".join(document.split())
        published = re.search(r"Published.*?(?= Ours:)", paragraphs)
        ours = re.search(r"Ours:.*", paragraphs)
        found.append(
            Row(
                f"{folder.name}.{path.stem}",
                document.split("\n")[0].rstrip("."),
                tuple(_number(name, published) for name in SCORES),
                _number("mean IU", ours),
            )
        )
    return found


def _number(name: str, text: re.Match | None) -> str:
    found = re.search(rf"{re.escape(name)} (\d+\.\d)", text[0]) if text else None
    return found[1] if found else ""


def list_recipes(folder: Positional[Path] = Path("experiments"), /) -> None:
    """List the recipes of a folder with the scores that their sources published.

    Args:
        folder: the folder with the recipes.
    """
    from rich.console import Console
    from rich.table import Table

    from fcn_jax.runs.messages import messages

    with messages(False):
        if not folder.is_dir():
            raise ValueError(
                f"{folder}: no such folder; run from the folder that holds experiments/, or name it"
            )
        table = Table(
            title="published scores in percent, and our own mean IU", title_justify="left"
        )
        table.add_column("recipe", no_wrap=True)
        table.add_column("what")
        for name in ("pixel acc", "mean acc", "mean IU", "f.w. IU", "ours"):
            table.add_column(name, justify="right")
        for row in rows(folder):
            table.add_row(row.recipe, row.title, *row.published, row.ours)
        Console(width=None if sys.stdout.isatty() else 140).print(table)
