"""COCO's JSON files: images, annotations and categories, checked where they are read."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fcn_jax.data.errors import DataError, few
from fcn_jax.data.lists import read_text

Category = tuple[int, str]
"""A category's id, as it is in the annotations, and its name."""


ID = int | str
"""What an image's id may be: some exports have names."""
_KINDS = {int: "a whole number", str: "a text", list: "a list", ID: "a number or a text"}


def read_json(path: Path, *wanted: str) -> dict[str, list[dict[str, Any]]]:
    """The lists of objects in a JSON file.

    Args:
      path: The file.
      wanted: Their names; `images`, `annotations`, `categories`.

    Raises:
      DataError: The file is missing or is not JSON, or a list is missing.
    """
    text = read_text(path)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not JSON ({error}). Copy it again.") from error
    for name in wanted:
        items = found.get(name) if isinstance(found, dict) else None
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise DataError(f"{path}: expected COCO's JSON, with a list {name!r} of objects.")
    return found


def categories_of(path: Path) -> tuple[Category, ...]:
    """The categories of a file by their ids.

    Raises:
      DataError: As `read_json`; or two have one id or one name.
    """
    items = read_json(path, "categories")["categories"]
    found = sorted((field(item, "id", int, path), str(item.get("name", ""))) for item in items)
    for column in zip(*found, strict=True):
        if twice := [one for one in dict.fromkeys(column) if column.count(one) > 1]:
            raise DataError(f"{path}: two categories have the id or the name {few(twice)}.")
    if not found:
        raise DataError(f"{path}: has no categories.")
    return tuple(found)


def field(item: dict[str, Any], name: str, kind: Any, where: Path | str) -> Any:
    """A field of an object.

    Raises:
      DataError: It is missing, or of another kind.
    """
    value = item.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        about = ", ".join(f"{k}={v!r:.40}" for k, v in list(item.items())[:3])
        raise DataError(
            f"{where}: expected {name!r} to be {_KINDS[kind]}, found {value!r:.40} in ({about})."
        )
    return value


def by_image(annotations: Iterable[dict[str, Any]], path: Path) -> dict[Any, list[dict[str, Any]]]:
    """The annotations of each image, by its id."""
    found: dict[Any, list[dict[str, Any]]] = {}
    for item in annotations:
        found.setdefault(field(item, "image_id", ID, path), []).append(item)
    return found


def images_by_name(images: Iterable[dict[str, Any]], path: Path) -> dict[str, dict[str, Any]]:
    """The images, by their file's name without its ending.

    Raises:
      DataError: Two have one name.
    """
    found: dict[str, dict[str, Any]] = {}
    for item in images:
        file = field(item, "file_name", str, path).replace("\\", "/")
        name = file.rpartition(".")[0] or file
        if found.setdefault(name, item) is not item:
            raise DataError(f"{path}: two images are called {name!r}. Name each once.")
    return found


def image_folder(root: Path, candidates: Iterable[str], file: str) -> Path:
    """The first folder below `root` that holds an image.

    Raises:
      DataError: None does.
    """
    folders = [root / candidate for candidate in candidates]
    for folder in folders:
        if (folder / file).is_file():
            return folder
    raise DataError(
        f"{file}: no such image in {few(map(str, folders))}. Name its folder: --images FOLDER"
    )
