"""The classes and files of a folder with annotations in JSON: COCO's and labelme's."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any, NamedTuple

from fcn_jax.data import coco, coco_panoptic, labelme
from fcn_jax.data.coco_files import categories_of
from fcn_jax.data.errors import DataError, few
from fcn_jax.data.label_map import LabelMap
from fcn_jax.data.label_values import OTHERS, LabelValues
from fcn_jax.data.source import numbered_names

TENTH = ({"held_out": False}, {"held_out": True})
"""Fields of the sources to train and to validate on, where a tenth is held out."""
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_TRAIN, _VALIDATION = {"train", "training"}, {"val", "valid", "validation"}


class Annotated(NamedTuple):
    """What a folder with annotations holds.

    Attributes:
      names: A name for each class.
      values: The class of each category or label.
      parts: Fields of the sources to train and to validate on; with `label_values` where they
        differ from `values`.
    """

    names: tuple[str, ...]
    values: LabelValues
    parts: tuple[dict[str, Any], dict[str, Any]]


def of_coco(root: Path, kind: str, images: str | None, label_map: LabelMap | None) -> Annotated:
    """The classes and files of COCO's JSONs.

    Args:
      root: The data folder, with `annotations/KIND_*.json`, or `PART/_annotations.coco.json`.
      kind: `instances` or `panoptic`.
      images: The images' folder, if it is given.
      label_map: The classes of categories, by their names or ids; None = each is a class.

    Raises:
      DataError: There are no such files, or the map names other categories; or the file to
        validate on has a category that the file to train on lacks.
    """
    files = sorted(root.glob(f"annotations/{kind}_*.json"))
    files = files or sorted(root.glob("*/_annotations.coco.json"))
    named = {file.relative_to(root).as_posix(): file for file in files}
    train = next((name for name in named if _part(name) == "train"), None)
    validation = next((name for name in named if _part(name) == "val"), None)
    own = {"images": images or ""}
    if train and validation:
        parts = {**own, "annotations": train}, {**own, "annotations": validation}
    elif len(named) == 1:
        train = next(iter(named))
        parts = {**own, "annotations": train, **TENTH[0]}, {**own, "annotations": train, **TENTH[1]}
    else:
        raise DataError(
            f"{root}: expected annotations/{kind}_*.json, one with the word `train` and one with "
            f"`val` in its name, or a single one; found {few(named) or 'none'}."
        )
    path = named[train]
    names, values = (coco if kind == "instances" else coco_panoptic).classes_of(path)
    if label_map is not None:
        names = label_map.names or numbered_names(label_map.values.num_classes)
        values = _of_categories(label_map.values, path, background=kind == "instances")
    if train and validation:
        translated = _translated(values, path, named[validation])
        if translated != values:
            parts = parts[0], {**parts[1], "label_values": translated}
    return Annotated(names, values, parts)


def _part(name: str) -> str:
    """The part that a file's name says: `train` or `val`, as a word of it; "" = none, or both."""
    words = {word.lower() for word in _WORD.findall(name)}
    train, validation = bool(words & _TRAIN), bool(words & _VALIDATION)
    return "" if train == validation else "train" if train else "val"


def _translated(values: LabelValues, path: Path, other: Path) -> LabelValues:
    """The values of one file's categories as those of another file, where ids may differ.

    Raises:
      DataError: The other file has a category that the first lacks.
    """
    own, others = dict(categories_of(path)), dict(categories_of(other))
    if own == others:
        return values
    if new := sorted(set(others.values()) - set(own.values())):
        raise DataError(
            f"{other}: has the categories {few(new)}, which {path} lacks; it has "
            f"{few(own.values(), 30)}. Spell names alike in both (capitals and spaces count), and "
            "give both files the same categories."
        )
    number = {name: i for i, name in others.items()}
    pairs = [(number.get(own[key]) if key in own else key, c) for key, c in values.mapping]
    kept = tuple((key, c) for key, c in pairs if key is not None)
    return dataclasses.replace(values, mapping=kept)


def _of_categories(chosen: LabelValues, path: Path, *, background: bool) -> LabelValues:
    """A map of categories' names, or ids, as one of their ids."""
    numbers = {name: number for number, name in categories_of(path)}
    if not chosen.by_name:
        mapping = dict(chosen.mapping)
        if background and 0 not in numbers.values() and 0 in mapping:
            mapping[coco.BACKGROUND] = mapping.pop(0)
        return LabelValues(mapping=tuple(mapping.items()))
    known = (*numbers, *labelme.BACKGROUND, OTHERS)
    if unknown := [key for key, _ in chosen.mapping if key not in known]:
        raise DataError(
            f"--label-map: names {few(unknown)}; {path} has the categories {few(numbers, 30)}."
        )
    mapping = {number: chosen.class_of(name, path) for name, number in numbers.items()}
    if background:
        mapping[coco.BACKGROUND] = labelme.background_of(chosen, str(path))
    return LabelValues(mapping=tuple(mapping.items()))


def of_labelme(
    root: Path, images: str | None, names: tuple[str, ...], label_map: LabelMap | None
) -> Annotated:
    """The classes and files of labelme's JSONs.

    Args:
      root: The data folder.
      images: The folder of the JSONs below it, if it is given.
      names: The labels in the order of their classes, if they are given; else all in the files.
      label_map: The classes of labels, if it is given.

    Raises:
      DataError: There are no such files.
    """
    folder = images or "."
    parts = {"images": folder, **TENTH[0]}, {"images": folder, **TENTH[1]}
    if label_map is not None:
        values = label_map.values
        return Annotated(label_map.names or numbered_names(values.num_classes), values, parts)
    if not names:
        found = labelme.drawings(root / folder)
        names = (labelme.BACKGROUND[0], *labelme.labels_of(found.values()))
    return Annotated(names, labelme.values_of(names), parts)


def has_shapes(root: Path) -> bool:
    """Whether a folder holds a JSON of labelme."""
    return any(b'"shapes"' in path.read_bytes() for path in sorted(root.glob("*.json"))[:20])
