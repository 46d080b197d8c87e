"""What the pipeline reads from: a numbered set of images with their labels.

A source is a frozen value that says *which* images (set, year, split) and so can sit in a recipe:
it compares, hashes and prints. *Where* they lie is bound later with `source.at(root)`. Nothing is
read before the first use.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from fcn_jax.data.files import DataError, image_size, read_image

_S = TypeVar("_S", bound="FileSource")


class Example(NamedTuple):
    """One image with its label.

    Attributes:
      image: uint8 rows, columns, RGB; 0 to 255.
      label: uint8 rows, columns; the class index, 255 = ignored.
      name: The image's id, unique in its source.
    """

    image: UInt8[np.ndarray, "h w 3"]
    label: UInt8[np.ndarray, "h w"]
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
    def num_classes(self) -> int:
        """Number of classes; labels are 0 .. num_classes - 1, or 255 = ignored."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name per class."""
        ...


class FileSource(abc.ABC):
    """A source whose examples are files below one folder.

    A subclass is a frozen dataclass with `root` as its last field; it finds its folder, lists its
    ids and says where an id's image and label lie.
    """

    root: Path | str | None
    num_classes: int
    class_names: tuple[str, ...]

    @abc.abstractmethod
    def _find(self, root: Path) -> Path:
        """The folder of this data set at or below `root`; `DataError` if it is not there."""

    @abc.abstractmethod
    def _read_ids(self) -> tuple[str, ...]:
        """The ids of this split, in the order of its list."""

    @abc.abstractmethod
    def image_path(self, name: str) -> Path:
        """Where the image called `name` lies."""

    @abc.abstractmethod
    def label_path(self, name: str) -> Path:
        """Where the label of the image called `name` lies."""

    @abc.abstractmethod
    def read_label(self, name: str) -> UInt8[np.ndarray, "h w"]:
        """The label of the image called `name`: uint8 class indices, 255 = ignored."""

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

    def label(self, i: int) -> UInt8[np.ndarray, "h w"]:
        """The label of example `i` alone, its image left undecoded; 255 = ignored."""
        return self.read_label(self.ids[i])

    def size(self, i: int) -> tuple[int, int]:
        """Rows and columns of example `i`, from its image's header."""
        return image_size(self.image_path(self.ids[i]))

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> Example:
        name = self.ids[i]
        image, label = read_image(self.image_path(name)), self.read_label(name)
        check_same_size(image.shape[:2], label.shape, self.label_path(name))
        return Example(image, label, name)


def check_same_size(image: tuple[int, ...], label: tuple[int, ...], where: Path | str) -> None:
    """Refuses a label that is not as large as its image.

    Raises:
      DataError: The sizes (rows, columns) differ.
    """
    if image == label:
        return
    hint = "Labels are not resized: make both the same size."
    if image == label[::-1]:
        hint = "Rows and columns are swapped: is the image rotated by an orientation (EXIF) tag?"
    raise DataError(
        f"{where}: the label has {label[0]} rows and {label[1]} columns, "
        f"its image {image[0]} rows and {image[1]} columns. {hint}"
    )
