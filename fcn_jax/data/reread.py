"""A run's data set, read with other options than the run's."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from fcn_jax.data.coco import COCOInstances
from fcn_jax.data.coco_panoptic import COCOPanoptic
from fcn_jax.data.errors import DataError
from fcn_jax.data.folders import Folders
from fcn_jax.data.images import parse_bands
from fcn_jax.data.label_map import read_class_names, read_label_map
from fcn_jax.data.labelme import LabelMe
from fcn_jax.data.layouts import data_sets
from fcn_jax.data.source import Source
from fcn_jax.labels import NONE_GIVEN, SetOptions


def reread(source: Any, options: SetOptions, root: Path | str) -> Source:
    """The data set with the options that are given; the others stay as they are.

    Args:
      source: A data set.
      options: What to change. `--ignore` adds to what is ignored already. Another layout, or
        patterns for a data set that has none, make another data set.
      root: The data folder.

    Raises:
      DataError: Options contradict each other, or the classes are not as many as in `source`.
    """
    if options == NONE_GIVEN:
        return source
    files = options.images or options.labels
    names = options.label_map and isinstance(source, COCOInstances | COCOPanoptic | LabelMe)
    if options.layout != "auto" or names or (files and not isinstance(source, Folders)):
        count = options.num_classes or source.num_classes
        options = dataclasses.replace(options, num_classes=count)
        changed: Any = data_sets(options, root).validation
    else:
        if not hasattr(source, "class_names") or "label_values" not in _fields(source):
            raise DataError(
                f"{type(source).__name__} says itself how its labels are read. Leave the options "
                "of images and labels out, or name a --layout."
            )
        changed = dataclasses.replace(source, **_changes(source, options))
    count = options.num_classes or changed.num_classes
    if not count == changed.num_classes == source.num_classes:
        raise DataError(
            f"the run's data set has {source.num_classes} classes, with these options there are "
            f"{count}. Give options that make as many."
        )
    return changed


def _changes(source: Any, options: SetOptions) -> dict[str, Any]:
    """Fields of a data set that options change."""
    changes: dict[str, Any] = {}
    for name in ("images", "labels", "max_value"):
        if (given := getattr(options, name)) is not None:
            changes[name] = given
    if options.bands:
        changes["bands"] = parse_bands(options.bands)
    if listing := options.validation_list or options.train_list:
        part = {"split": listing, "held_out": None if options.validation_list else True}
        changes |= part if isinstance(source, Folders) else {"validation_list": listing}
    values = source.label_values
    if options.label_map:
        found = read_label_map(options.label_map)
        values = found.values
        changes |= {"class_names": found.names} if found.names else {}
    changes["label_values"] = dataclasses.replace(
        values,
        ignore=tuple(dict.fromkeys((*values.ignore, *options.ignore))),
        reduce_zero=values.reduce_zero or options.reduce_zero_label,
    )
    if options.class_names:
        changes["class_names"] = read_class_names(options.class_names)
    if options.num_classes and "num_classes" in _fields(source):
        changes["num_classes"] = options.num_classes
    if unknown := [name for name in changes if name not in _fields(source)]:
        raise DataError(
            f"{type(source).__name__} has no {unknown[0]}: --{unknown[0].replace('_', '-')} is for "
            "images and labels in folders."
        )
    return changes


def _fields(source: Any) -> set[str]:
    return {field.name for field in dataclasses.fields(source)}
