"""Which data a run reads (`--data`): the recipe's own data sets, or `tfds:NAME` instead.

This module parses `tfds:NAME` and compares its classes; `fcn_jax.data.tfds` reads the data set.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fcn_jax.data.label_values import AS_STORED
from fcn_jax.data.readers import DataError, few
from fcn_jax.data.source import Source
from fcn_jax.data.tfds import TFDS

PREFIX = "tfds:"
_FORM = "tfds:NAME, tfds:NAME/CONFIG or tfds:NAME/CONFIG:1.0.0, with or without ?FIELD=VALUE&..."
_FIELDS = ("image", "label", "classes", "values", "data_dir", "train", "validation")


def of_tfds(data: Path | str) -> bool:
    """Whether a command line's `--data` names a data set of TFDS rather than a folder."""
    return str(data).startswith(PREFIX)


def located(source: Source, data: Path | str, part: str) -> Source:
    """The data set to read for one of the recipe's, given `--data`.

    Args:
      source: The recipe's data set.
      data: The data folder; or `tfds:NAME` (see `parse`), a data set to read instead of `source`.
      part: Which of the recipe's sets this is, `train` or `validation`; or another split.

    Returns:
      `source` at that folder; or the data set of TFDS, its config and version in its name. Its
      classes have the recipe's names, unless those are only numbers.

    Raises:
      DataError: The data set has no such split, or other classes than the recipe's; or the recipe's
        has several inputs or labels, while that of TFDS has one of each.
    """
    if not of_tfds(data):
        return source.at(data)
    if getattr(source, "label_values", AS_STORED) != AS_STORED:
        raise DataError(
            f"{data}: --ignore, --reduce-zero-label and --label-map are for files. Here the class "
            "of each stored value is a field of the name: ?classes=3&values=255,0,1,2."
        )
    found = parse(str(data), part)
    names = _class_names(source, found)
    try:
        len(found)
    except DataError as error:
        error.add_note(f"Name the split to read: {PREFIX}NAME?{part}=SPLIT")
        raise
    return dataclasses.replace(found, classes=names).pinned()


def _class_names(source: Source, found: TFDS) -> tuple[str, ...]:
    """The recipe's names of the classes, unless only `found` has names; refuses other classes."""
    kind = type(source).__name__
    color_alone = getattr(source, "inputs", ("color",)) == ("color",)
    if isinstance(source.num_classes, Mapping) or not color_alone:
        raise DataError(
            f"{found.title} gives one photograph and one label; the recipe's {kind} has several "
            "inputs or labels, or another input. Pass its folder as --data."
        )
    mine, theirs = tuple(source.class_names), found.class_names
    if len(mine) != len(theirs):
        raise DataError(
            f"{found.title} has {len(theirs)} classes ({few(theirs, 4)}), the recipe's {kind} "
            f"{len(mine)} ({few(mine, 4)}). Choose a recipe with as many, or give the class of "
            "each stored value: ?classes=3&values=255,0,1,2."
        )
    pairs = [f"{m!r} is {t!r}" for m, t in zip(mine, theirs, strict=True) if _bare(m) != _bare(t)]
    if pairs and not (_numbered(mine) or _numbered(theirs)):
        raise DataError(
            f"{found.title} has other classes than the recipe's {kind}: there {few(pairs, 4)}. "
            f"If only the names differ, add ?classes={len(mine)} to {PREFIX}NAME."
        )
    return theirs if _numbered(mine) else mine


def parse(text: str, part: str) -> TFDS:
    """The data set that a command line names.

    Args:
      text: `tfds:NAME`, `tfds:NAME/CONFIG` or `tfds:NAME/CONFIG:1.0.0`; then, after a question mark
        and separated by `&`, fields: `image` and `label` (names of features), `classes` (how many,
        or names separated by commas), `values` (numbers separated by commas), `data_dir` (the
        folder of prepared data sets), `train` and `validation` (the split to read for each part).
      part: The split to read, unless the text gives another for it.

    Raises:
      DataError: The text does not name a data set, or has an unknown field or a wrong value.
    """
    name, _, query = text.removeprefix(PREFIX).partition("?")
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    given: dict[str, str] = {field: value for field, _, value in pairs}
    if wrong := [f for f in given if f not in _FIELDS or not given[f]]:
        raise DataError(f"{text}: expected FIELD=VALUE, FIELD in {_FIELDS}; found {wrong[0]!r}.")
    if not of_tfds(text) or not name:
        raise DataError(f"expected {_FORM}; got {text!r}.")
    fields: dict[str, Any] = {key: given[key] for key in ("image", "label") if key in given}
    if "data_dir" in given:
        fields["root"] = Path(given["data_dir"])
    if "classes" in given:
        items = tuple(given["classes"].split(","))
        fields["classes"] = int(items[0]) if len(items) == 1 and items[0].isdigit() else items
    if "values" in given:
        items = given["values"].split(",")
        if not all(item.isdigit() for item in items):
            raise DataError(f"{text}: expected `values` as 255,0,1,2; found {given['values']!r}.")
        fields["values"] = tuple(map(int, items))
    return TFDS(builder=name, split=given.get(part, part), **fields)


def check_same_data(folder: Path, there: Any, here: Any) -> None:
    """Refuses to resume a run on another data set than it was started on.

    Args:
      folder: The run's folder.
      there: The data sets that replaced the recipe's, as in its `recipe.json`; None if none did.
      here: The same for the data sets to be read now.

    Raises:
      DataError: They differ.
    """
    if there != here:
        raise DataError(
            f"{folder} was started on {_described(there)}, and would resume on {_described(here)}. "
            "Give the --data that it was started with, or another --workdir."
        )


def _described(sets: Any) -> str:
    if sets is None:
        return "the recipe's own data sets"
    return " and ".join(f"{PREFIX}{one['builder']} {one['split']}" for one in sets.values())


def _bare(name: str) -> str:
    """A class's name without case, spaces and punctuation: `Dining table` gives `diningtable`."""
    return re.sub(r"[\W_]", "", name.lower())


def _numbered(names: tuple[str, ...]) -> bool:
    """Whether the names are only numbers, as TFDS and `Folders` give by default."""
    return all(re.fullmatch(r"(class )?\d+", name) for name in names)
