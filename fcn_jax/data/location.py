"""Where a recipe's data sets are read from: a folder, or `tfds:NAME` of tensorflow-datasets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fcn_jax.data.readers import DataError
from fcn_jax.data.source import Source
from fcn_jax.data.tfds import TFDS

PREFIX = "tfds:"
_FORM = "tfds:NAME, tfds:NAME/CONFIG or tfds:NAME/CONFIG:1.0.0, and perhaps ?FIELD=VALUE&..."
_FIELDS = ("image", "label", "classes", "values", "data_dir", "train", "validation")


def of_tfds(data: Path | str) -> bool:
    """Whether a command line's `--data` names a data set of TFDS rather than a folder."""
    return str(data).startswith(PREFIX)


def located(source: Source, data: Path | str, part: str) -> Source:
    """A recipe's data set where the command line says that it lies.

    Args:
      source: The recipe's data set.
      data: The data folder; or `tfds:NAME` (see `parse`), a data set to read in its place.
      part: `train` or `validation`, whichever of the recipe's sets this is, or another split.

    Returns:
      `source` at that folder; or the data set of TFDS, its config and version in its name. Its
      classes have the recipe's names, unless those are only numbers.

    Raises:
      DataError: The data set has no such split, or other classes than the recipe's; or the recipe's
        has several inputs or labels, of which TFDS's has one.
    """
    if not of_tfds(data):
        return source.at(data)
    found = parse(str(data), part)
    kind = type(source).__name__
    color_alone = getattr(source, "inputs", ("color",)) == ("color",)
    if isinstance(source.num_classes, Mapping) or not color_alone:
        raise DataError(
            f"{found.title} gives one photograph and one label, the recipe's {kind} several inputs "
            "or labels, or another input. Pass its folder as --data."
        )
    mine, theirs = tuple(source.class_names), found.class_names
    if len(mine) != len(theirs):
        raise DataError(
            f"{found.title} has {len(theirs)} classes ({_some(theirs)}), the recipe's {kind} "
            f"{len(mine)} ({_some(mine)}). Choose a recipe with as many, or say the class of each "
            "stored value: ?classes=3&values=255,0,1,2."
        )
    pairs = [f"{m!r} is {t!r}" for m, t in zip(mine, theirs, strict=True) if _bare(m) != _bare(t)]
    if pairs and not (_numbered(mine) or _numbered(theirs)):
        raise DataError(
            f"{found.title} has other classes than the recipe's {kind}: there {_some(pairs)}. "
            f"Where only the names differ, say so: {PREFIX}NAME?classes={len(mine)}."
        )
    names = theirs if _numbered(mine) else mine
    try:
        len(found)
    except DataError as error:
        error.add_note(f"Say which split to read: {PREFIX}NAME?{part}=SPLIT")
        raise
    return parse(str(data), part, classes=names).pinned()


def parse(text: str, part: str, **fields: Any) -> TFDS:
    """The data set that a command line names.

    Args:
      text: `tfds:NAME`, `tfds:NAME/CONFIG` or `tfds:NAME/CONFIG:1.0.0`; after a question mark, and
        with `&` between them, fields: `image` and `label` (names of features), `classes` (how many,
        or names with commas between them), `values` (numbers with commas between them), `data_dir`
        (where prepared data sets lie), `train` and `validation` (the split to read in each part).
      part: The split to read, unless the text gives another for it.
      fields: Fields of `TFDS` that go before those of the text.

    Raises:
      DataError: The text names no data set, or a field that there is not, or its value cannot be.
    """
    name, _, query = text.removeprefix(PREFIX).partition("?")
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    given: dict[str, str] = {field: value for field, _, value in pairs}
    if wrong := [f for f in given if f not in _FIELDS or not given[f]]:
        raise DataError(f"{text}: expected FIELD=VALUE, fields of {_FIELDS}; found {wrong[0]!r}.")
    if not of_tfds(text) or not name:
        raise DataError(f"expected {_FORM}; got {text!r}.")
    made: dict[str, Any] = {key: given[key] for key in ("image", "label") if key in given}
    if "data_dir" in given:
        made["root"] = Path(given["data_dir"])
    if "classes" in given:
        items = tuple(given["classes"].split(","))
        made["classes"] = int(items[0]) if len(items) == 1 and items[0].isdigit() else items
    if "values" in given:
        items = given["values"].split(",")
        if not all(item.isdigit() for item in items):
            raise DataError(f"{text}: expected `values` as 255,0,1,2; found {given['values']!r}.")
        made["values"] = tuple(map(int, items))
    return TFDS(builder=name, split=given.get(part, part), **made | fields)


def check_same_data(folder: Path, there: Any, here: Any) -> None:
    """Refuses to go on with a run on another data set than it was begun on.

    Args:
      folder: The run's folder.
      there: What its `recipe.json` says was read in place of the recipe's data sets; None if none.
      here: What is to be read now, as JSON; None if the recipe's own.

    Raises:
      DataError: They differ.
    """
    if there != here:
        raise DataError(
            f"{folder} was begun on {_read(there)}, and would go on with {_read(here)}. Give the "
            "--data that it was begun with, or another --workdir."
        )


def _read(described: Any) -> str:
    if described is None:
        return "the recipe's own data sets"
    return " and ".join(f"{PREFIX}{d['builder']} {d['split']}" for d in described.values())


def _bare(name: str) -> str:
    """A class's name without case, spaces and punctuation: `Dining table` is `diningtable`."""
    return re.sub(r"[\W_]", "", name.lower())


def _numbered(names: tuple[str, ...]) -> bool:
    """Whether the classes have only numbers for names, as TFDS and `Folders` give them."""
    return all(re.fullmatch(r"(class )?\d+", name) for name in names)


def _some(items: Any) -> str:
    return ", ".join(items[:4]) + (", ..." if items[4:] else "")
