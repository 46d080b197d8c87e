"""What the pipeline reads from: a numbered set of images with their labels.

A source is a frozen value that says *which* images (set, year, split) and so can sit in a recipe:
it compares, hashes and prints. *Where* they lie is bound later with `source.at(root)`. Nothing is
read before the first use.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np

from fcn_jax.data.named import Inputs, Labels, each, primary
from fcn_jax.data.readers import DataError, image_size, read_image

_S = TypeVar("_S", bound="FileSource")


class Example(NamedTuple):
    """One image with its label.

    Attributes:
      image: uint8 rows, columns, RGB; 0 to 255. Where a source has several inputs, a dict by name:
        `color` as above; `depth`, uint16 rows, columns, 1, millimetres, 0 = missing; `hha`, uint8
        rows, columns, and disparity, height and angle.
      label: uint8 rows, columns; the class index, 255 = ignored. Where a source has several labels,
        a dict of such arrays by name.
      name: The image's id, unique in its source.
    """

    image: Any
    label: Any
    name: str


@runtime_checkable
class Source(Protocol):
    """A numbered set of labelled images. Any object with these members will do."""

    def __len__(self) -> int:
        """How many examples there are."""
        ...

    def __getitem__(self, i: int, /) -> Example:
        """Example `i`, decoded."""
        ...

    def size(self, i: int, /) -> tuple[int, int]:
        """Rows and columns of example `i`, without decoding it."""
        ...

    def at(self, root: Path | str, /) -> Source:
        """The same source, read from the data folder `root`; itself where nothing is read."""
        ...

    @property
    def num_classes(self) -> Any:
        """Number of classes k, labels being 0 .. k - 1 or 255; a dict by name of several labels."""
        ...

    @property
    def class_names(self) -> Any:
        """A tuple of one name per class; a dict by name of several labels."""
        ...


class FileSource(abc.ABC):
    """A source whose examples are files below one folder.

    A subclass is a frozen dataclass with `root` as its last field; it finds its folder, lists its
    ids and says where an id's image and label lie.

    Attributes:
      inputs: Names of the inputs; an image is a dict where there are several.
      num_classes: As for `Source`.
      class_names: As for `Source`.
      root: The data folder.
    """

    inputs: tuple[str, ...] = ("color",)
    num_classes: Any
    class_names: Any
    root: Path | str | None

    @abc.abstractmethod
    def _find(self, root: Path) -> Path:
        """The folder of this data set at or below `root`; `DataError` if it is not there."""

    @abc.abstractmethod
    def _read_ids(self) -> tuple[str, ...]:
        """The ids of this split, in the order of its list."""

    @abc.abstractmethod
    def image_path(self, name: str) -> Any:
        """Where the image called `name` lies: a path, or a dict of paths by input."""

    @abc.abstractmethod
    def label_path(self, name: str) -> Any:
        """Where the label of the image called `name` lies: a path, or a dict of paths by label."""

    @abc.abstractmethod
    def read_label(self, name: str) -> Labels:
        """The label of the image called `name`: uint8 class indices, 255 = ignored."""

    def read_input(self, name: str) -> Inputs:
        """The image called `name`, decoded: uint8 RGB; a set of other inputs says what they are."""
        return each(lambda _, path: read_image(path), self.image_path(name))

    def at(self: _S, root: Path | str) -> _S:
        """The same source, read from the data folder `root`."""
        return dataclasses.replace(self, root=Path(root))  # type: ignore[type-var]

    @functools.cached_property
    def folder(self) -> Path:
        """The folder of this data set.

        Raises:
          DataError: No data folder was given, or the data set is not in it.
        """
        if self.root is None:
            raise DataError(
                f"{self!r} has no data folder. Pass one: --data FOLDER on the command line, or "
                "source.at(folder) in Python."
            )
        return self._find(Path(self.root).expanduser())

    @functools.cached_property
    def ids(self) -> tuple[str, ...]:
        """The ids of the examples, in order."""
        return self._read_ids()

    def label(self, i: int) -> Labels:
        """The label of example `i` alone, its image left undecoded; 255 = ignored."""
        return self.read_label(self.ids[i])

    def size(self, i: int) -> tuple[int, int]:
        """Rows and columns of example `i`, from its image's header."""
        return image_size(primary(self.image_path(self.ids[i])))

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> Example:
        name = self.ids[i]
        image, label = self.read_input(name), self.read_label(name)
        size = primary(image).shape[:2]

        def check(what: str, array: np.ndarray, path: Path) -> None:
            check_same_size(size, array.shape[:2], path, what)

        each(check, image, self.image_path(name))
        each(check, label, self.label_path(name))
        return Example(image, label, name)


def check_same_size(
    image: tuple[int, ...], label: tuple[int, ...], where: Path | str, what: str = ""
) -> None:
    """Refuses a label, or another input, that is not as large as its image.

    Args:
      image: Rows and columns of the image.
      label: Rows and columns of the label.
      where: Its file.
      what: Its name, where there are several; "" for the label.

    Raises:
      DataError: The sizes (rows, columns) differ.
    """
    if image == label:
        return
    hint = "Nothing is resized: make both the same size."
    if image == label[::-1]:
        hint = "Rows and columns are swapped: is the image rotated by an orientation (EXIF) tag?"
    raise DataError(
        f"{where}: the {what or 'label'} has {label[0]} rows and {label[1]} columns, "
        f"its image {image[0]} rows and {image[1]} columns. {hint}"
    )


def held_out_ids(ids: Sequence[str], count: int, where: Path | str) -> set[str]:
    """The `count` ids whose SHA-256 is smallest: a fixed choice, whatever the order of the list.

    Args:
      ids: What to choose from.
      count: How many.
      where: The list they come from, for the error message.

    Raises:
      DataError: Nothing would be chosen, or nothing left.
    """
    if not 0 < count < len(ids):
        raise DataError(
            f"{where}: cannot hold out {count} of {len(ids)} images; hold out at least one and "
            "leave at least one."
        )
    return set(sorted(ids, key=lambda name: hashlib.sha256(name.encode()).digest())[:count])
