"""`python -m fcn_jax list`."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tyro.conf import Positional

SCORES = ("pixel accuracy", "mean accuracy", "mean IU", "f.w. IU")


class Row(NamedTuple):
    """What the docstring of a recipe says about it.

    Attributes:
        recipe: module, e.g. experiments.voc_fcn8s.
        title: first line.
        published: each of `SCORES` in percent, or "".
        ours: mean IU of our own run in percent, or "".
    """

    recipe: str
    title: str
    published: tuple[str, ...]
    ours: str


def rows(folder: Path) -> Iterator[Row]:
    """A row for every recipe in a folder, read from the docstrings; nothing is imported."""
    for path in sorted(folder.glob("*.py")):
        text = path.read_text()
        if not re.search(r"^RECIPE = ", text, re.MULTILINE):
            continue
        docstring = ast.get_docstring(ast.parse(text)) or ""
        words = " ".join(docstring.split())
        published = re.search(r"Published.*?(?= Ours[^:]*:)", words)
        yield Row(
            f"{folder.name}.{path.stem}",
            docstring.split("\n")[0].rstrip("."),
            tuple(_number(score, published) for score in SCORES),
            _number("mean IU", re.search(r"Ours[^:]*:.*", words)),
        )


def _number(score: str, text: re.Match | None) -> str:
    found = re.search(rf"{re.escape(score)} (\d+\.\d)", text[0]) if text else None
    return found[1] if found else ""


def _experiments() -> Path:
    """The recipes in the working folder, or else those that were installed with fcn_jax."""
    installed = Path(__file__).resolve().parents[2] / "experiments"
    return here if (here := Path("experiments")).is_dir() else installed


def list(folder: Positional[Path | None] = None, /) -> None:
    """List the recipes of a folder with the scores that their sources published.

    Args:
        folder: the folder with the recipes. [experiments, or the installed ones]
    """
    from rich.console import Console
    from rich.table import Table

    from fcn_jax.runs.messages import messages

    with messages(debug=False):
        folder = folder or _experiments()
        if not folder.is_dir():
            raise ValueError(f"{folder}: there is no such folder; name the folder with the recipes")
        title = "published scores in percent, and our own mean IU"
        table = Table(title=title, title_justify="left")
        table.add_column("recipe", no_wrap=True)
        table.add_column("what")
        for name in ("pixel acc", "mean acc", "mean IU", "f.w. IU", "ours"):
            table.add_column(name, justify="right")
        for row in rows(folder):
            table.add_row(row.recipe, row.title, *row.published, row.ours)
        Console(width=None if sys.stdout.isatty() else 140).print(table)
