"""Your own data: a folder of images and a folder of index PNGs."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Container
from pathlib import Path

from fcn_jax.data.errors import DataError, few, legible
from fcn_jax.data.images import ImageOptions
from fcn_jax.data.lists import listed, nfc
from fcn_jax.data.source import FileSource, hold_out
from fcn_jax.data.walk import image_endings, said, walk

_LABELS = (".png",)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Folders(FileSource):
    """Images and labels in two folders, matched by name without its suffix.

    `images/a/x.jpg` goes with `labels/a/x.png`. Images are of any kind that docs/images.md names;
    labels are 8-bit palette or gray PNGs whose pixel values are the classes 0 .. num_classes - 1,
    or 255 = ignored.

    Attributes:
      images: The images' folder, below the data folder.
      labels: The labels' folder, below the data folder.
      num_classes: How many classes, the background included.
      class_names: Their names; "class 0", "class 1", ... if not given.
      split: A list file below the data folder, one name per line (see `lists.listed`); None = all
        images there.
      held_out: True = only a tenth of these, chosen by their names (the smallest SHA-256); False =
        the other nine tenths; None = all. A single image is in both.
      max_value: The number that is white in images of 16 bits (see `ImageOptions`).
      bands: The bands that are red, green and blue, or gray, from 1 (see `ImageOptions`).
      root: The data folder.

    Raises:
      DataError: The names do not match the number of classes; or, on first use, an image has no
        label or a label has no image.
    """

    images: str = "images"
    labels: str = "labels"
    num_classes: int
    class_names: tuple[str, ...] = ()
    split: str | None = None
    held_out: bool | None = None
    max_value: int | None = None
    bands: tuple[int, ...] = ()
    root: Path | str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.num_classes <= 255:
            raise DataError(f"Folders: expected 1 to 255 classes, got {self.num_classes}.")
        names = self.class_names or tuple(f"class {k}" for k in range(self.num_classes))
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
            if not (root / name).is_dir():
                raise DataError(
                    f"{root / name}: no such folder. Expected {root}/{{{self.images}/NAME.jpg, "
                    f"{self.labels}/NAME.png}}; set `images` and `labels` if yours are elsewhere."
                )
        return root

    @functools.cached_property
    def _files(self) -> tuple[dict[str, Path], dict[str, Path], list[str]]:
        """Images and labels by name, those of a label spelled as its image's; what was left out."""
        (images, *left_out), (labels, *more) = (
            _by_name(self.folder / folder, endings)
            for folder, endings in ((self.images, image_endings()), (self.labels, _LABELS))
        )
        spelled = {nfc(name): name for name in images.keys() - labels.keys()}
        labels = {
            name if name in images else spelled.pop(nfc(name), name): path
            for name, path in labels.items()
        }
        return images, labels, [line for line in (*left_out, *more) if line]

    @property
    def left_out(self) -> list[str]:
        """A line for each folder that holds something else than images, or than labels."""
        return self._files[2]

    def _read_ids(self) -> tuple[str, ...]:
        images, labels, _ = self._files
        wanted = sorted(images.keys() | labels.keys())
        if self.split is not None:
            list_file = self.folder / self.split
            wanted = listed(list_file, images, self.folder / self.images, self.folder)
        problems = []
        for what, folder, files in (
            ("no image", self.images, images),
            ("no label (PNG)", self.labels, labels),
        ):
            if names := [name for name in wanted if name not in files]:
                where = self.folder / folder
                problems.append(f"{len(names)} with {what} in {where}: {few(names)}")
        if problems:
            raise DataError(
                f"{self.folder}: images and labels do not match; {'; '.join(problems)}. Names must "
                "be the same up to the suffix; add or remove files, or list the ones to use in a "
                "`split` file."
            )
        if not wanted:
            raise DataError(f"{self.folder / self.images}: no images there.")
        if self.held_out is None or len(wanted) == 1:
            return tuple(wanted)
        tenth = max(len(wanted) // 10, 1)
        return hold_out(wanted, tenth, rest=not self.held_out, where=self.folder)

    def image_path(self, name: str) -> Path:
        """The image called `name`, with any suffix."""
        return self._files[0][name]

    def label_path(self, name: str) -> Path:
        """The label called `name`."""
        return self._files[1][name]


def _by_name(folder: Path, endings: Container[str]) -> tuple[dict[str, Path], str]:
    """The files in a folder and below it by their path there without ending; what was left out."""
    found: dict[str, Path] = {}
    files, left_out = walk(folder, endings)
    for path in files:
        name = legible(path.relative_to(folder).with_suffix("").as_posix())
        if name in found:
            raise DataError(
                f"{legible(path)}: has the same name as {legible(found[name].name)} up to the "
                "ending. Remove one."
            )
        found[name] = path
    return found, said(folder, left_out)
