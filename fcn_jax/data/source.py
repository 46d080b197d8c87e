"""What the pipeline reads from: a numbered set of images with their labels.

A source is a frozen value that says *which* images (set, year, split), so it can be part of a
recipe: it compares, hashes and prints. *Where* the files are is set later with `source.at(root)`.
Nothing is read before the first use.
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

from fcn_jax.data.errors import DataError
from fcn_jax.data.images import AS_STORED
from fcn_jax.data.kinds import as_labels, missing
from fcn_jax.data.label_files import read_label, read_stored
from fcn_jax.data.label_values import AS_STORED as STORED_CLASSES
from fcn_jax.data.label_values import LabelValues
from fcn_jax.data.named import Images, Labels, as_plain, primary, zip_named
from fcn_jax.data.readers import image_size, read_header, read_image
from fcn_jax.labels import LabelKind

_S = TypeVar("_S", bound="FileSource")


class Example(NamedTuple):
    """One image with its label.

    Attributes:
      image: uint8 rows, columns, RGB; 0 to 255. If a source has several inputs, a dict by name:
        `color` as above; `depth`, uint16 rows, columns, 1, millimetres, 0 = missing; `hha`, uint8
        rows, columns, and disparity, height and angle.
      label: uint8 rows, columns; the class index, 255 = ignored. If a source has several labels, a
        dict of such arrays by name. Labels that are no classes of pixels: see `LabelKind`.
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
        """The same source, read from the data folder `root`; itself if it reads no files."""
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
    ids and gives the paths of an id's image and label.

    Attributes:
      inputs: Names of the inputs; if several, an image is a dict by these names.
      image_options: What the image files do not say of their pixels.
      label_values: The class of each value that a label stores.
      label_kinds: What the labels are (`fcn_jax.labels.LabelKind`); a dict by name if several.
      num_classes: As for `Source`.
      class_names: As for `Source`.
      root: The data folder.
    """

    inputs: tuple[str, ...] = ("color",)
    image_options = AS_STORED
    label_values: LabelValues = STORED_CLASSES
    label_kinds: Any = LabelKind.CLASSES
    num_classes: Any
    class_names: Any
    root: Path | str | None

    def _find(self, root: Path) -> Path:
        """The folder of this data set at or below `root`; `DataError` if it is not there."""
        return root

    @abc.abstractmethod
    def _read_ids(self) -> tuple[str, ...]:
        """The ids of this split, in the order of its list."""

    @abc.abstractmethod
    def image_path(self, name: str) -> Any:
        """The path of the image called `name`; a dict of paths by input if several."""

    @abc.abstractmethod
    def label_path(self, name: str) -> Any:
        """The path of the label of the image called `name`; a dict of paths by label if several."""

    def read_label(self, name: str) -> Labels:
        """The label of the image called `name`: class indices, 255 = ignored (docs/labels.md)."""
        return read_label(self.label_path(name), self.label_values)

    def read_stored(self, name: str) -> np.ndarray:
        """What the label's file stores: values (h, w), or colours (h, w, 3) (see `label_files`)."""
        return read_stored(self.label_path(name), colours=self.label_values.by_colour)

    def read_input(self, name: str) -> Images:
        """The image called `name`, decoded: uint8 RGB; a set of other inputs says what they are.

        A fourth channel is alpha, where the file declares it.
        """
        images = {
            what: read_image(path, options=self.image_options, alpha=True)
            for what, path in zip_named(self.image_path(name))
        }
        return as_plain(images)

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
        """The label of example `i` without decoding its image; 255 = ignored."""
        return self.read_label(self.ids[i])

    def headers(self, name: str) -> Any:
        """What the image's file says before its pixels (`Header`); a dict by input if several."""
        paths = zip_named(self.image_path(name))
        return as_plain({what: read_header(path) for what, path in paths})

    def size(self, i: int) -> tuple[int, int]:
        """Rows and columns of example `i`, from its image's header."""
        return image_size(primary(self.image_path(self.ids[i])))

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> Example:
        name = self.ids[i]
        image, label = self.read_input(name), as_labels(self.read_label(name))
        size = primary(image).shape[:2]
        for arrays, paths in ((image, self.image_path(name)), (label, self.label_path(name))):
            for what, array, path in zip_named(arrays, paths):
                if array.ndim > 1:
                    check_same_size(size, array.shape[:2], path, what)
        return Example(*ignore_transparent(image, label), name)


def ignore_transparent(images: Images, labels: Labels) -> tuple[Images, Labels]:
    """Images without their alpha channel; labels of pixels are ignored (missing) where it is 0."""
    rgb, seen = {}, dict(zip_named(labels))
    for name, image in zip_named(images):
        rgb[name] = image
        if image.shape[-1] == 4:
            rgb[name] = np.ascontiguousarray(image[..., :3])
            clear = image[..., 3] == 0
            seen = {what: _without(label, clear) for what, label in seen.items()}
    return as_plain(rgb), as_plain(seen)


def _without(label: np.ndarray, clear: np.ndarray) -> np.ndarray:
    if label.ndim < 2:
        return label
    label = label.copy()
    label[clear] = missing(label)
    return label


def check_same_size(
    image: tuple[int, ...], label: tuple[int, ...], where: Path | str, what: str = ""
) -> None:
    """Refuses a label or another input whose size differs from its image's.

    Args:
      image: Rows and columns of the image.
      label: Rows and columns of the label.
      where: Its file.
      what: Its name, if there are several; "" for the label.

    Raises:
      DataError: The sizes (rows, columns) differ.
    """
    if image == label:
        return
    hint = "Nothing is resized: make both the same size."
    if image == label[::-1]:
        hint = (
            "Rows and columns are swapped: is one of the two turned by its orientation (EXIF) tag? "
            "If the label was drawn on the image as it is stored, remove the image's tag: "
            "exiftool -Orientation= IMAGE"
        )
    raise DataError(
        f"{where}: the {what or 'label'} has {label[0]} rows and {label[1]} columns, "
        f"its image {image[0]} rows and {image[1]} columns. {hint}"
    )


def numbered_names(count: int) -> tuple[str, ...]:
    """Names of classes that have none: "class 0", "class 1", ..."""
    return tuple(f"class {k}" for k in range(count))


def hold_out(ids: Sequence[str], count: int, *, rest: bool, where: Path | str) -> tuple[str, ...]:
    """The `count` ids with the smallest SHA-256, or the rest; independent of the list's order.

    Args:
      ids: What to choose from.
      count: How many are held out.
      rest: True: all other ids; False: those held out. Both in the order of `ids`.
      where: The list they come from, for the error message.

    Raises:
      DataError: One of the two would be empty.
    """
    if not 0 < count < len(ids):
        raise DataError(
            f"{where}: cannot hold out {count} of {len(ids)} images; hold out at least one and "
            "leave at least one."
        )
    chosen = set(sorted(ids, key=lambda name: hashlib.sha256(name.encode()).digest())[:count])
    return tuple(name for name in ids if (name in chosen) != rest)
