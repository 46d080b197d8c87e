"""From the options of the command line to data sets: which layout a folder has, and its classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from fcn_jax.data.ade20k import ADE20K
from fcn_jax.data.annotated import TENTH, has_shapes, of_coco, of_labelme
from fcn_jax.data.camvid import CamVid
from fcn_jax.data.cityscapes import Cityscapes
from fcn_jax.data.coco import COCOInstances
from fcn_jax.data.coco_panoptic import COCOPanoptic
from fcn_jax.data.errors import DataError, few
from fcn_jax.data.folders import Folders
from fcn_jax.data.images import parse_bands
from fcn_jax.data.label_map import read_class_names, read_label_map
from fcn_jax.data.label_values import AS_STORED
from fcn_jax.data.labelme import LabelMe
from fcn_jax.data.source import FileSource, numbered_names
from fcn_jax.labels import SetOptions


class Sets(NamedTuple):
    """The data sets that options mean; `at(root)` binds them to the data folder.

    Attributes:
      train: To train on.
      validation: To validate on.
      layout: The layout's name.
    """

    train: FileSource
    validation: FileSource
    layout: str


class _Layout(NamedTuple):
    """How to recognise and to read a layout.

    Attributes:
      kind: The class of its sources.
      markers: Patterns below the data folder, each of which finds something; `|` is between
        alternatives.
      parts: Fields of the sources to train and to validate on.
    """

    kind: Callable[..., FileSource]
    markers: tuple[str, ...]
    parts: tuple[dict[str, Any], dict[str, Any]]


def _splits(train: str, validation: str) -> tuple[dict[str, Any], dict[str, Any]]:
    return {"split": train}, {"split": validation}


SPLIT = "{split}"
"""In a pattern, the part's folder: one of these."""
_SPLITS = (("train", "training"), ("val", "validation", "valid", "test"))
_ANNOTATED = ("coco", "coco-panoptic", "labelme")
_LAYOUTS = {
    "folders": _Layout(Folders, ("images", "labels"), TENTH),
    "camvid": _Layout(CamVid, ("trainannot",), _splits("train", "val")),
    "cityscapes": _Layout(Cityscapes, ("leftImg8bit", "gtFine"), _splits("train", "val")),
    "ade20k": _Layout(ADE20K, ("annotations/training",), _splits("training", "validation")),
    "coco": _Layout(
        COCOInstances, ("annotations/instances_*.json|*/_annotations.coco.json",), ({}, {})
    ),
    "coco-panoptic": _Layout(COCOPanoptic, ("annotations/panoptic_*.json",), ({}, {})),
    "labelme": _Layout(LabelMe, ("*.json",), TENTH),
}
_INSIDE = ("", "CamVid", "camvid", "ADEChallengeData2016", "cityscapes", "Cityscapes")
"""Folders that archives unpack to, in which a layout is recognised too."""


def recognised(root: Path) -> str:
    """The layout of a data folder; "folders" where it is none that is known.

    Raises:
      DataError: It is several.
    """
    for inside in _INSIDE:
        found = [
            name
            for name, layout in _LAYOUTS.items()
            if all(
                any(any((root / inside).glob(one)) for one in marker.split("|"))
                for marker in layout.markers
            )
        ]
        if found:
            break
    if "labelme" in found and (len(found) > 1 or not has_shapes(root)):
        found.remove("labelme")
    if len(found) > 1:
        raise DataError(f"{root}: looks like {few(found)}. Choose one: --layout {found[0]}")
    return found[0] if found else "folders"


def data_sets(options: SetOptions, root: Path | str, unknown: int | None = None) -> Sets:
    """The data sets that options mean, in a data folder.

    Args:
      options: The options.
      root: The data folder; it may be missing until it is read, unless a layout names its classes.
      unknown: How many classes there are, where nothing says it; None = that is an error.

    Raises:
      DataError: Options contradict each other, or a file that they name is damaged.
    """
    root = Path(root).expanduser()
    layout = options.layout
    if layout == "auto":
        layout = "folders" if options.images or options.labels else recognised(root)
    _check_meant(options, layout)
    kind, _, parts = _LAYOUTS[layout]
    label_map = read_label_map(options.label_map) if options.label_map else None
    names = read_class_names(options.class_names) if options.class_names else ()
    if layout == "folders":
        values, parts = AS_STORED, _parts_of_folders(options, root)
    elif layout in ("coco", "coco-panoptic"):
        files = "instances" if layout == "coco" else "panoptic"
        own, values, parts = of_coco(root, files, options.images, label_map)
        names = names or own
    elif layout == "labelme":
        own, values, parts = of_labelme(root, options.images, names, label_map)
        names = names or own
    else:
        made: Any = kind(**parts[0])
        values, names = made.label_values, names or (made.class_names if not label_map else ())
    if label_map and layout not in _ANNOTATED:
        values, names = label_map.values, names or label_map.names
    values = dataclasses.replace(
        values,
        ignore=tuple(dict.fromkeys((*values.ignore, *options.ignore))),
        reduce_zero=values.reduce_zero or options.reduce_zero_label,
    )
    count = options.num_classes or len(names) or values.num_classes or unknown
    if not count:
        missing = "" if root.is_dir() else "there is no such folder; and "
        raise DataError(
            f"{root}: {missing}how many classes are there, the background included? Give "
            "--num-classes N, --class-names FILE or --label-map FILE."
        )
    fields: dict[str, Any] = {"label_values": values, "class_names": _named(names, count)}
    fields |= {"max_value": options.max_value, "bands": parse_bands(options.bands)}
    fields |= {"num_classes": count} if layout == "folders" else {}
    if options.ignore and any("label_values" in part for part in parts):
        raise DataError(
            "--ignore names ids of categories, which differ between the files to train and to "
            "validate on. Ignore them by name: --label-map FILE, with the class 255"
        )
    train, validation = (kind(**{**fields, **part}) for part in parts)
    return Sets(train, validation, layout)


def _named(names: tuple[str, ...], count: int) -> tuple[str, ...]:
    """A name for each class, which are numbers if there are none."""
    if names and len(names) != count:
        raise DataError(
            f"--num-classes {count}: there are {len(names)} classes: {few(names)}. Leave it out, "
            "or give --class-names or --label-map."
        )
    return names or numbered_names(count)


def _check_meant(options: SetOptions, layout: str) -> None:
    """Refuses options that a layout has no use for."""
    if options.validation_list and not options.train_list:
        raise DataError(
            f"--validation-list {options.validation_list} without --train-list: name the training "
            "images too, so that no image is in both"
        )
    useless = {"labels", "train_list", "validation_list"} if layout != "folders" else set()
    useless |= {"images"} if layout in ("camvid", "cityscapes", "ade20k") else set()
    for name in sorted(useless):
        if getattr(options, name):
            option = f"--{name.replace('_', '-')}"
            raise DataError(
                f"{option}: the layout {layout} says itself which files are read. Leave it out, or "
                "give --layout folders."
            )


def _parts_of_folders(options: SetOptions, root: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of both parts of a set in folders."""
    where = {"images": options.images or "images", "labels": options.labels or "labels"}
    train, validation = options.train_list, options.validation_list
    if SPLIT in where["images"]:
        first, second = (_split_of(root, where["images"], names) for names in _SPLITS)
        return tuple(  # type: ignore[return-value]
            {**{k: text.replace(SPLIT, name) for k, text in where.items()}, "split": listing}
            for name, listing in ((first, train), (second, validation))
        )
    rest, tenth = (None, None) if validation else (False, True)
    return (
        {**where, "split": train, "held_out": rest},
        {**where, "split": validation or train, "held_out": tenth},
    )


def _split_of(root: Path, pattern: str, names: tuple[str, ...]) -> str:
    """The first of the names of a part that is a folder."""
    before = pattern[: pattern.index(SPLIT)]
    for name in names:
        after = pattern[len(before) + len(SPLIT) :].partition("/")[0]
        if any(root.glob(f"{before}{name}{after}")):
            return name
    raise DataError(f"{root}: no folder {before}{names[0]}, which --images {pattern} means.")
