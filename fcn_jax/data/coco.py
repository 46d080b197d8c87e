"""COCO's instances as labels: every pixel of an object has the class of its category."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from fcn_jax.data.chosen_classes import ChosenClasses, tenth_or_rest
from fcn_jax.data.coco_files import (
    ID,
    by_image,
    categories_of,
    field,
    image_folder,
    images_by_name,
    read_json,
)
from fcn_jax.data.coco_masks import mask_of
from fcn_jax.data.errors import DataError
from fcn_jax.data.label_values import LabelValues
from fcn_jax.data.source import check_same_size
from fcn_jax.labels import IGNORE

BACKGROUND = -1
"""The stored value of pixels of no object; some files have a category 0."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class COCOInstances(ChosenClasses):
    """A file of COCO instances with its images.

    Pixels of no object have the stored value -1, others the id of their category. Where objects of
    different classes overlap, pixels are ignored: the file does not say which is in front. A crowd
    (`iscrowd`) is of its category.

    Source: the overlap, torchvision's `references/segmentation/coco_utils.py`. Differs: there,
    objects of one class that overlap are ignored too.

    Attributes:
      annotations: The JSON below the data folder.
      images: The images' folder; "" = where the JSON's images are: the folder of the split's name,
        `images`, with or without it, or beside the JSON.
      held_out: As in `Folders`, for a file that is not divided.
      class_names: A name for each class.
      label_values: The class of -1 and of each category's id.
      root: The data folder.

    Raises:
      DataError: On first use, if a file is missing or damaged.
    """

    annotations: str = "annotations/instances_train2017.json"
    images: str = ""
    held_out: bool | None = None

    @functools.cached_property
    def _index(self) -> tuple[dict[str, Any], dict[Any, list[dict[str, Any]]], Path]:
        """Images by name, annotations by image id, the images' folder."""
        path = self.folder / self.annotations
        found = read_json(path, "images", "annotations")
        images = images_by_name(found["images"], path)
        if not images:
            raise DataError(f"{path}: has no images.")
        first = next(iter(images.values()))["file_name"].replace("\\", "/")
        where = image_folder(self.folder, folders_of(self.annotations, self.images), first)
        return images, by_image(found["annotations"], path), where

    def _read_ids(self) -> tuple[str, ...]:
        return tenth_or_rest(sorted(self._index[0]), self.held_out, self.folder)

    def image_path(self, name: str) -> Path:
        """The image called `name`."""
        return self._index[2] / self._index[0][name]["file_name"].replace("\\", "/")

    def label_path(self, name: str) -> Path:
        """The JSON."""
        return self.folder / self.annotations

    def read_label(self, name: str) -> UInt8[np.ndarray, "h w"]:
        """The classes of the objects' pixels, 255 = ignored."""
        images, annotations, _ = self._index
        path, image = self.label_path(name), images[name]
        size = field(image, "height", int, path), field(image, "width", int, path)
        check_same_size(self.headers(name).size, size, path, f"drawing on {name}")
        found = np.full(size, -1, np.int16)
        for item in annotations.get(field(image, "id", ID, path), []):
            where = f"{path}, annotation {item.get('id')}"
            category = np.array([[field(item, "category_id", int, where)]])
            number = self.label_values.classes(category, where)[0, 0]
            mask = mask_of(item.get("segmentation"), size, where)
            clash = mask & (found >= 0) & (found != number)
            found[mask] = number
            found[clash] = IGNORE
        background = self.label_values.classes(np.array([[BACKGROUND]]), path)[0, 0]
        return np.where(found < 0, np.int16(background), found).astype(np.uint8)


def folders_of(annotations: str, images: str) -> list[str]:
    """The folders that may hold the images of a JSON, such as `instances_train2017.json`."""
    if images:
        return [images]
    split = Path(annotations).stem.rpartition("_")[2]
    beside = Path(annotations).parent.as_posix()
    return [split, f"images/{split}", "images", beside, "."]


def classes_of(path: Path) -> tuple[tuple[str, ...], LabelValues]:
    """Names and values of a file's own classes: the background, then its categories by id.

    Raises:
      DataError: The categories are not sound.
    """
    categories = categories_of(path)
    mapping = ((BACKGROUND, 0), *((number, k) for k, (number, _) in enumerate(categories, 1)))
    return ("background", *(name for _, name in categories)), LabelValues(mapping=mapping)
