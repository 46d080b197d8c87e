"""What published layouts share: their classes are fields, so that a label map can choose others."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from fcn_jax.data.errors import DataError, few
from fcn_jax.data.images import ImageOptions
from fcn_jax.data.label_values import AS_STORED, LabelValues
from fcn_jax.data.source import FileSource, hold_out


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChosenClasses(FileSource):
    """A source whose class names and label values are fields.

    Attributes:
      class_names: A name for each class.
      label_values: The class of each stored value.
      max_value: The number that is white in images of 16 bits (see `ImageOptions`).
      bands: The bands that are red, green and blue, or gray, from 1 (see `ImageOptions`).
      root: The data folder.

    Raises:
      DataError: There are fewer names than `label_values` has classes.
    """

    class_names: tuple[str, ...]
    label_values: LabelValues = AS_STORED
    max_value: int | None = None
    bands: tuple[int, ...] = ()
    root: Path | str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_names", tuple(self.class_names))  # JSON gives lists
        object.__setattr__(self, "bands", tuple(self.bands))
        check_enough(type(self).__name__, self.num_classes, self.label_values)
        _ = self.image_options  # refuses what means nothing

    @property
    def num_classes(self) -> int:
        """How many classes; labels are 0 .. num_classes - 1, or 255 = ignored."""
        return len(self.class_names)

    @property
    def image_options(self) -> ImageOptions:
        """How the images are read."""
        return ImageOptions(max_value=self.max_value, bands=self.bands)


def check_enough(owner: str, num_classes: int, values: LabelValues) -> None:
    """Refuses a number of classes that is out of range, or below that of the label values.

    Raises:
      DataError: Says what to change.
    """
    if not 1 <= num_classes <= 255:
        raise DataError(f"{owner}: expected 1 to 255 classes, got {num_classes}.")
    if num_classes < values.num_classes:
        raise DataError(
            f"{owner}: the label map has the classes 0 to {values.num_classes - 1}, and "
            f"num_classes is {num_classes}. Make them agree: --num-classes {values.num_classes}"
        )


def check_labelled(source: FileSource, names: Sequence[str]) -> tuple[str, ...]:
    """The names, whose labels are all there.

    Raises:
      DataError: There is no image, or an image has no label.
    """
    if not names:
        what = f"{type(source).__name__} {getattr(source, 'split', '')}".rstrip()
        raise DataError(f"{source.folder}: {what} has no images there.")
    if missing := [name for name in names if not source.label_path(name).is_file()]:
        raise DataError(
            f"{source.folder}: {len(missing)} of {len(names)} images have no label: "
            f"{few(missing, 5)}; expected one at {source.label_path(missing[0])}."
        )
    return tuple(names)


def tenth_or_rest(names: Sequence[str], held_out: bool | None, where: Path) -> tuple[str, ...]:
    """The tenth of the names that is held out, or the others, or all (see `Folders.held_out`)."""
    if held_out is None or len(names) == 1:
        return tuple(names)
    return hold_out(names, max(len(names) // 10, 1), rest=not held_out, where=where)
