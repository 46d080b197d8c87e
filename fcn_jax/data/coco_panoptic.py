"""COCO's panoptic labels: PNGs of segment ids, and a JSON with the category of each segment."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from fcn_jax.data.chosen_classes import ChosenClasses, tenth_or_rest
from fcn_jax.data.coco import folders_of
from fcn_jax.data.coco_files import ID, by_image, categories_of, field, image_folder, read_json
from fcn_jax.data.coco_files import images_by_name as named
from fcn_jax.data.errors import DataError, few
from fcn_jax.data.label_files import read_stored
from fcn_jax.data.label_values import LabelValues
from fcn_jax.labels import IGNORE


@dataclasses.dataclass(frozen=True, kw_only=True)
class COCOPanoptic(ChosenClasses):
    """A file of COCO panoptic annotations with its images and PNGs.

    A colour of a PNG is a segment, R + 256 G + 256² B; 0 is void, which is ignored. Stored values
    are the ids of the segments' categories.

    Source: cocodataset/panopticapi, `panopticapi/utils.py`.

    Attributes:
      annotations: The JSON below the data folder; its PNGs are in the folder of its name.
      images: The images' folder; "" = as in `COCOInstances`.
      held_out: As in `Folders`, for a file that is not divided.
      class_names: A name for each class.
      label_values: The class of each category's id.
      root: The data folder.

    Raises:
      DataError: On first use, if a file is missing or damaged.
    """

    annotations: str = "annotations/panoptic_train2017.json"
    images: str = ""
    held_out: bool | None = None

    @functools.cached_property
    def _index(self) -> tuple[dict[str, Any], dict[str, Any], Path, Path]:
        """Images and annotations by name, the images' folder and that of the PNGs."""
        path = self.folder / self.annotations
        found = read_json(path, "images", "annotations")
        images, of_image = named(found["images"], path), by_image(found["annotations"], path)
        own = {n: of_image.get(field(image, "id", ID, path), []) for n, image in images.items()}
        if missing := [name for name, items in own.items() if len(items) != 1]:
            raise DataError(f"{path}: expected one annotation for each image; not {few(missing)}.")
        if not images:
            raise DataError(f"{path}: has no images.")
        labels = {name: items[0] for name, items in own.items()}
        first = next(iter(images.values()))["file_name"]
        pngs = [path.with_suffix("").relative_to(self.folder).as_posix(), path.stem]
        png = field(next(iter(labels.values())), "file_name", str, path)
        return (
            images,
            labels,
            image_folder(self.folder, folders_of(self.annotations, self.images), first),
            image_folder(self.folder, pngs, png),
        )

    def _read_ids(self) -> tuple[str, ...]:
        return tenth_or_rest(sorted(self._index[0]), self.held_out, self.folder)

    def image_path(self, name: str) -> Path:
        """The image called `name`."""
        return self._index[2] / self._index[0][name]["file_name"]

    def label_path(self, name: str) -> Path:
        """The PNG of segments of the image called `name`."""
        return self._index[3] / field(self._index[1][name], "file_name", str, self.annotations)

    def read_label(self, name: str) -> UInt8[np.ndarray, "h w"]:
        """The class of each pixel's segment, 255 = ignored."""
        path, stored = self.label_path(name), self.read_stored(name)
        ids, place = np.unique(stored, return_inverse=True)
        category = {0: None}
        for segment in field(self._index[1][name], "segments_info", list, self.annotations):
            number = field(segment, "id", int, path)
            category[number] = field(segment, "category_id", int, path)
        if unknown := [i for i in ids.tolist() if i not in category]:
            raise DataError(
                f"{path}: found the segments {few(unknown)}, which {self.annotations} does not "
                "have. Do the PNGs and the JSON belong together?"
            )
        known = [category[i] for i in ids.tolist()]
        values = np.array([[0 if c is None else c for c in known]], np.int64)
        void = np.array([[c is None for c in known]])
        classes = np.full(values.shape, IGNORE, np.uint8)
        classes[~void] = self.label_values.classes(values[~void][None], path)[0]
        return classes[0][place.reshape(stored.shape)]

    def read_stored(self, name: str) -> np.ndarray:
        """The id of each pixel's segment, int32 (h, w); 0 = void."""
        path = self.label_path(name)
        colours = read_stored(path, colours=True)
        if colours.ndim != 3:
            raise DataError(f"{path}: expected colours of segments, found numbers.")
        red, green, blue = (colours[..., band].astype(np.int32) for band in range(3))
        return red + 256 * green + 65536 * blue


def classes_of(path: Path) -> tuple[tuple[str, ...], LabelValues]:
    """Names and values of a file's own classes: its categories by id.

    Raises:
      DataError: The categories are not sound.
    """
    categories = categories_of(path)
    mapping = tuple((number, k) for k, (number, _) in enumerate(categories))
    return tuple(name for _, name in categories), LabelValues(mapping=mapping)
