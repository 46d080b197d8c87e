"""Your own data: a folder of images and a folder of index PNGs."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

from fcn_jax.data.readers import DataError, few, read_list
from fcn_jax.data.source import FileSource, hold_out

_IMAGES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"))
_LABELS = frozenset((".png",))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Folders(FileSource):
    """Images and labels in two folders, matched by name without its suffix.

    `images/a/x.jpg` goes with `labels/a/x.png`. Labels are 8-bit palette or gray PNGs whose pixel
    values are the classes 0 .. num_classes - 1, or 255 = ignored.

    Attributes:
      images: The images' folder, below the data folder.
      labels: The labels' folder, below the data folder.
      num_classes: How many classes, the background included.
      class_names: Their names; "class 0", "class 1", ... if not given.
      split: A list file below the data folder, one name per line; None = all images there.
      held_out: True = only a tenth of these, chosen by their names (the smallest SHA-256); False =
        the other nine tenths; None = all.
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

    def _find(self, root: Path) -> Path:
        for name in (self.images, self.labels):
            if not (root / name).is_dir():
                raise DataError(
                    f"{root / name}: no such folder. Expected {root}/{{{self.images}/NAME.jpg, "
                    f"{self.labels}/NAME.png}}; set `images` and `labels` if yours are elsewhere."
                )
        return root

    @functools.cached_property
    def _files(self) -> tuple[dict[str, Path], dict[str, Path]]:
        return (
            _by_stem(self.folder / self.images, _IMAGES),
            _by_stem(self.folder / self.labels, _LABELS),
        )

    def _read_ids(self) -> tuple[str, ...]:
        images, labels = self._files
        wanted = sorted(images.keys() | labels.keys())
        if self.split is not None:
            wanted = read_list(self.folder / self.split)
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
        if self.held_out is None:
            return tuple(wanted)
        tenth = max(len(wanted) // 10, 1)
        return hold_out(wanted, tenth, rest=not self.held_out, where=self.folder)

    def image_path(self, name: str) -> Path:
        """The image called `name`, with any suffix."""
        return self._files[0][name]

    def label_path(self, name: str) -> Path:
        """The label called `name`."""
        return self._files[1][name]


def _by_stem(folder: Path, suffixes: frozenset[str]) -> dict[str, Path]:
    """Paths of the files in a folder and below it, by their path in it without the suffix."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in suffixes or path.name.startswith("."):
            continue
        stem = path.relative_to(folder).with_suffix("").as_posix()
        if stem in found:
            raise DataError(
                f"{path}: has the same name as {found[stem].name} up to the suffix. Remove one."
            )
        found[stem] = path
    return found
