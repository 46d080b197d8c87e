"""Your own data: a folder of images and a folder of labels, or patterns that name both."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from fcn_jax.data.chosen_classes import check_enough, tenth_or_rest
from fcn_jax.data.errors import DataError, few, legible
from fcn_jax.data.images import ImageOptions
from fcn_jax.data.label_files import label_endings
from fcn_jax.data.label_values import AS_STORED, LabelValues
from fcn_jax.data.lists import listed, nfc
from fcn_jax.data.patterns import apart, find, fixed_folder, is_pattern, matched
from fcn_jax.data.source import FileSource, numbered_names
from fcn_jax.data.walk import image_endings, said, walk


class Pairs(NamedTuple):
    """Images and labels by the name of their image.

    Attributes:
      images: The images' files.
      labels: The labels' files; under the label's own name where there is no such image.
      left_out: A line for each folder that holds something else.
    """

    images: dict[str, Path]
    labels: dict[str, Path]
    left_out: list[str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Folders(FileSource):
    """Images and labels in two folders, matched by name without its ending; or by patterns.

    `images/a/x.jpg` goes with `labels/a/x.png`. Images are of any kind that docs/images.md names.
    Labels are PNG, BMP, TIFF or `.npy` (docs/labels.md); their values are the classes 0 ..
    num_classes - 1, or 255 = ignored, unless `label_values` says otherwise.

    Attributes:
      images: The images' folder below the data folder, or a pattern (see `patterns.find`).
      labels: The labels' folder, or a pattern.
      num_classes: How many classes, the background included.
      class_names: Their names; "class 0", "class 1", ... if not given.
      split: A list file below the data folder, one name per line (see `lists.listed`); None = all
        images there.
      held_out: True = only a tenth of these, chosen by their names (the smallest SHA-256); False =
        the other nine tenths; None = all. A single image is in both.
      max_value: The number that is white in images of 16 bits (see `ImageOptions`).
      bands: The bands that are red, green and blue, or gray, from 1 (see `ImageOptions`).
      label_values: The class of each value that a label stores.
      root: The data folder.

    Raises:
      DataError: The names do not match the number of classes; or, on first use, an image has no
        label; or a label has no image, if both are in folders.
    """

    images: str = "images"
    labels: str = "labels"
    num_classes: int
    class_names: tuple[str, ...] = ()
    split: str | None = None
    held_out: bool | None = None
    max_value: int | None = None
    bands: tuple[int, ...] = ()
    label_values: LabelValues = AS_STORED
    root: Path | str | None = None

    def __post_init__(self) -> None:
        check_enough("Folders", self.num_classes, self.label_values)
        names = self.class_names or numbered_names(self.num_classes)
        if len(names) != self.num_classes:
            raise DataError(
                f"Folders: {self.num_classes} classes, but {len(names)} class_names; give one each."
            )
        object.__setattr__(self, "class_names", names)
        object.__setattr__(self, "bands", tuple(self.bands))  # JSON gives a list
        _ = self.image_options  # refuses what means nothing

    @property
    def image_options(self) -> ImageOptions:
        """How the images are read."""
        return ImageOptions(max_value=self.max_value, bands=self.bands)

    def _find(self, root: Path) -> Path:
        for name in (self.images, self.labels):
            if not is_pattern(name) and not (root / name).is_dir():
                raise DataError(
                    f"{root / name}: no such folder. Expected {root}/{{{self.images}/NAME.jpg, "
                    f"{self.labels}/NAME.png}}; set `images` and `labels` if yours are elsewhere."
                )
        return root

    @functools.cached_property
    def _files(self) -> Pairs:
        if is_pattern(self.images) or is_pattern(self.labels):
            return self._of_patterns()
        images, left_out = _by_name(self.folder / self.images, labels=False)
        labels, more = _by_name(self.folder / self.labels, labels=True)
        spelled = {nfc(name): name for name in images.keys() - labels.keys()}
        labels = {
            name if name in images else spelled.pop(nfc(name), name): path
            for name, path in labels.items()
        }
        return Pairs(images, labels, [line for line in (left_out, more) if line])

    def _of_patterns(self) -> Pairs:
        images, labels = apart(
            find(self.folder, self.images, image_endings()),
            find(self.folder, self.labels, label_endings()),
            self.images,
            self.labels,
        )
        by_image = matched(images, labels)
        unused = [label for label in labels if label.path not in set(by_image.values())]
        line = f"{self.labels}: left out {len(unused)} labels without an image"
        return Pairs(
            _unique((found.name, found.path) for found in images),
            by_image | {f"{label.name} (label)": label.path for label in unused},
            [line] if unused else [],
        )

    @property
    def left_out(self) -> list[str]:
        """A line for each folder that holds something else than images, or than labels."""
        return self._files.left_out

    @property
    def unmatched(self) -> tuple[list[str], list[str]]:
        """Names of the images without a label, and of the labels without an image."""
        images, labels, _ = self._files
        return sorted(images.keys() - labels.keys()), sorted(labels.keys() - images.keys())

    @property
    def labelled(self) -> list[str]:
        """Names of the images that have a label."""
        images, labels, _ = self._files
        return sorted(images.keys() & labels.keys())

    def _read_ids(self) -> tuple[str, ...]:
        images, labels, _ = self._files
        patterns = is_pattern(self.images) or is_pattern(self.labels)
        wanted = sorted(images.keys() if patterns else images.keys() | labels.keys())
        if self.split is not None:
            list_file = self.folder / self.split
            wanted = listed(list_file, images, self.folder / fixed_folder(self.images), self.folder)
        problems = []
        for what, folder, files in (
            ("no image", self.images, images),
            ("no label", self.labels, labels),
        ):
            if names := [name for name in wanted if name not in files]:
                where = self.folder / folder
                problems.append(f"{len(names)} with {what} in {where}: {few(names)}")
        if problems:
            raise DataError(
                f"{self.folder}: images and labels do not match; {'; '.join(problems)}. Names must "
                "be the same up to the suffix, or give patterns (--images, --labels); add or "
                "remove files, or list the ones to use in a `split` file."
            )
        if not wanted:
            raise DataError(f"{self.folder / self.images}: no images there.")
        return tenth_or_rest(wanted, self.held_out, self.folder)

    def image_path(self, name: str) -> Path:
        """The image called `name`, with any suffix."""
        return self._files.images[name]

    def label_path(self, name: str) -> Path:
        """The label called `name`."""
        return self._files.labels[name]


def _by_name(folder: Path, *, labels: bool) -> tuple[dict[str, Path], str]:
    """The files in a folder and below it by their path there without ending; what was left out.

    Beside a label in PNG, files of its name with another ending are left out.
    """
    files, left_out = walk(folder, label_endings() if labels else image_endings())

    def name(path: Path) -> str:
        return legible(path.relative_to(folder).with_suffix("").as_posix())

    if labels:
        in_png = {name(path) for path in files if path.suffix.lower() == ".png"}
        beside = [p for p in files if p.suffix.lower() != ".png" and name(p) in in_png]
        left_out.update(f"ending in {legible(path.suffix)} beside a PNG" for path in beside)
        files = [path for path in files if path not in set(beside)]
    return _unique((name(path), path) for path in files), said(folder, left_out)


def _unique(named: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for name, path in named:
        if name in found:
            raise DataError(
                f"{legible(path)}: has the same name as {legible(found[name].name)} up to the "
                "ending. Remove one."
            )
        found[name] = path
    return found
