"""labelme's files: for each image a JSON of shapes with labels."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from fcn_jax.data.chosen_classes import ChosenClasses, tenth_or_rest
from fcn_jax.data.errors import DataError, legible
from fcn_jax.data.label_map import LABELME_IGNORE
from fcn_jax.data.label_values import LabelValues
from fcn_jax.data.labelme_shapes import decoded, mask_of
from fcn_jax.data.lists import read_text
from fcn_jax.data.readers import Header, read_header, read_image
from fcn_jax.data.walk import walk
from fcn_jax.labels import IGNORE

BACKGROUND = ("_background_", "background")
"""Labels that mean pixels of no shape. Source: labelme's `labels.txt`."""


class Drawing(NamedTuple):
    """A JSON of labelme.

    Attributes:
      path: The file.
      image: The image's file; None if the image is in the JSON alone.
      size: Rows and columns of the image that was drawn on, or None where the JSON lacks them.
      shapes: What was drawn, the earliest first.
    """

    path: Path
    image: Path | None
    size: tuple[Any, Any]
    shapes: list[dict[str, Any]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelMe(ChosenClasses):
    """The images and shapes that labelme has saved in a folder and below it.

    A later shape is painted over an earlier one. The image is the file that `imagePath` names, from
    the JSON's folder, or the file of that name beside the JSON; or else `imageData`, the image in
    the JSON itself.

    Source: the shapes, `labelme/utils/shape.py` of labelme 5.5.

    Attributes:
      images: The folder of the JSONs below the data folder.
      held_out: As in `Folders`.
      class_names: A name for each class.
      label_values: The class of each label, and of "_background_".
      root: The data folder.

    Raises:
      DataError: On first use, if a file is missing or damaged.
    """

    images: str = "."
    held_out: bool | None = None

    @functools.cached_property
    def _drawings(self) -> dict[str, Drawing]:
        return drawings(self.folder / self.images)

    def _read_ids(self) -> tuple[str, ...]:
        return tenth_or_rest(sorted(self._drawings), self.held_out, self.folder)

    def label_path(self, name: str) -> Path:
        """The JSON of the image called `name`."""
        return self._drawings[name].path

    def image_path(self, name: str) -> Path:
        """The image called `name`; its JSON, if the image is only there."""
        drawing = self._drawings[name]
        return drawing.image or drawing.path

    def _content(self, name: str) -> Path | bytes:
        """The image's file, or its content."""
        image, path = self._drawings[name].image, self.label_path(name)
        return image or decoded(_read(path)["imageData"], legible(path), "imageData")

    def headers(self, name: str) -> Header:
        """What the image's file says before its pixels."""
        return read_header(self._content(name), legible(self.image_path(name)))

    def size(self, i: int) -> tuple[int, int]:
        """Rows and columns of example `i`, from its image's header."""
        return self.headers(self.ids[i]).size

    def read_input(self, name: str) -> UInt8[np.ndarray, "h w _"]:
        """The image called `name`, uint8 RGB, and alpha where the file declares it."""
        where = legible(self.image_path(name))
        return read_image(self._content(name), where, options=self.image_options, alpha=True)

    def read_label(self, name: str) -> UInt8[np.ndarray, "h w"]:
        """The classes of the shapes' pixels, 255 = ignored."""
        drawing, size, values = self._drawings[name], self.headers(name).size, self.label_values
        where = legible(drawing.path)
        if None not in drawing.size and drawing.size != size:
            raise DataError(
                f"{where}: was drawn on an image of {drawing.size[0]} rows and {drawing.size[1]} "
                f"columns; {self.image_path(name).name} has {size[0]} and {size[1]}. Use the image "
                "that it was drawn on."
            )
        label = np.full(size, background_of(values, where), np.uint8)
        for number, shape in enumerate(drawing.shapes):
            inside = mask_of(shape, size, f"{where}, shape {number}")
            label[inside] = values.class_of(str(shape.get("label")), f"{where}, shape {number}")
        return label


def drawings(folder: Path) -> dict[str, Drawing]:
    """Labelme's JSONs in a folder and below it, by their path there without ending.

    Other JSONs are left out.

    Raises:
      DataError: There is none; or one is damaged, or its image is missing.
    """
    found = {}
    for path in walk(folder, {".json"}).files:
        content = _read(path)
        if isinstance(content, dict) and "shapes" in content:
            name = legible(path.relative_to(folder).with_suffix("").as_posix())
            found[name] = _drawing(path, content)
    if not found:
        raise DataError(f"{folder}: no JSON of labelme there, which has `shapes`.")
    return found


def _drawing(path: Path, content: dict[str, Any]) -> Drawing:
    shapes = content["shapes"]
    if not isinstance(shapes, list) or not all(isinstance(shape, dict) for shape in shapes):
        raise DataError(f"{legible(path)}: expected `shapes` to be a list of objects.")
    named = str(content.get("imagePath") or "").replace("\\", "/")
    files = (path.parent / named, path.parent / named.rpartition("/")[2]) if named else ()
    image = next((file for file in files if file.is_file()), None)
    if image is None and not content.get("imageData"):
        raise DataError(
            f"{legible(path)}: names the image {named!r}, which is not there, and holds no "
            "imageData. Copy the image beside the JSON."
        )
    return Drawing(path, image, (content.get("imageHeight"), content.get("imageWidth")), shapes)


def background_of(values: LabelValues, where: str) -> int:
    """The class of pixels of no shape, 255 = ignored.

    Raises:
      DataError: The mapping does not name the background.
    """
    named = dict(values.mapping)
    if (label := next((b for b in BACKGROUND if b in named), None)) is None:
        raise DataError(
            f"{where}: which class have pixels of no shape? Name {BACKGROUND[0]} in --class-names "
            "or --label-map; there, 255 ignores them."
        )
    return named[label]


def labels_of(drawn: Iterable[Drawing]) -> tuple[str, ...]:
    """All labels of shapes, sorted; not those that mean background or ignored."""
    found = {str(shape.get("label")) for drawing in drawn for shape in drawing.shapes}
    return tuple(sorted(found.difference(BACKGROUND, {LABELME_IGNORE})))


def values_of(class_names: tuple[str, ...]) -> LabelValues:
    """The values of classes that are labels; `__ignore__` is ignored."""
    mapping = (*((name, k) for k, name in enumerate(class_names)), (LABELME_IGNORE, IGNORE))
    return LabelValues(mapping=mapping)


def _read(path: Path) -> Any:
    """The content of a JSON file."""
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{legible(path)}: is not JSON ({error}). Copy it again.") from error
