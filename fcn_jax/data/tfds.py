"""The source that reads a prepared data set of tensorflow-datasets (TFDS), without TensorFlow.

TFDS finds the records and separates their features; `fcn_jax.data.readers` decodes the images. The
decoder of TFDS uses OpenCV if it is installed, which turns the indices of a palette PNG into
colours. `fcn_jax.data.location` decides whether a run reads such a set.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from fcn_jax.data.readers import DataError, as_indices, few, image_size, read_image, read_index_png
from fcn_jax.data.source import Example, check_same_size, ignore_transparent
from fcn_jax.labels import IGNORE

_NAME = re.compile(r"[A-Za-z]\w*(/[\w+\-.]+)?(:\d+\.\d+\.\d+)?")
# The feature that names an image, in the data sets of TFDS and in ours.
_FILE_NAMES = ("file_name", "filename", "image_id")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TFDS:
    """A data set that tensorflow-datasets has prepared as array records, with image and label.

    Only the features named here are read. Labels may be PNGs (of indices or with a palette) or
    integer arrays; images may be PNGs, JPEGs or uint8 arrays. Several threads may read at once.

    Attributes:
      builder: The data set's name in TFDS: `name`, `name/config` or `name/config:1.0.0`; without a
        version the latest prepared one, without a config the default.
      split: A split, or a part of one, such as `train` or `train[:90%]`.
      image: The feature that holds the photograph.
      label: The feature that holds the class indices, one channel.
      classes: The names of the classes, or how many there are, if the data set does not name them.
      values: The class (or 255 = ignored) of each stored value 0, 1, 2, ..., if these are not the
        classes themselves: `(255, 0, 1, 2)` for three classes counted from 1 with 0 = void. A
        stored 255 stays ignored unless it is listed. Needs `classes`.
      root: The folder of prepared data sets; None = TFDS's own (`TFDS_DATA_DIR`, or else
        `~/tensorflow_datasets`).

    Raises:
      DataError: The name, `classes` or `values` are wrong; or, on first use, the data set is not
        there, not in array records, has no such split or feature, or does not name its classes.
    """

    builder: str
    split: str
    image: str = "image"
    label: str = "segmentation_mask"
    classes: int | tuple[str, ...] | None = None
    values: tuple[int, ...] = ()
    root: Path | str | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.builder):
            raise DataError(
                f"tfds: expected NAME, NAME/CONFIG or NAME/CONFIG:1.0.0, got {self.builder!r}."
            )
        if self.classes is None:
            if self.values:
                raise DataError(f"{self.title}: `values` needs the new classes in `classes`.")
            return
        if not 1 <= self.num_classes <= IGNORE:
            raise DataError(f"{self.title}: expected 1 to 255 classes, got {self.num_classes}.")
        wrong = [v for v in self.values if not (0 <= v < self.num_classes or v == IGNORE)]
        if wrong or len(self.values) > 256:
            raise DataError(
                f"{self.title}: expected `values` to hold at most 256 numbers, each 0 to "
                f"{self.num_classes - 1} or {IGNORE} = ignored; got {len(self.values)}, "
                f"among them {wrong[:5]}."
            )

    def at(self, root: Path | str) -> TFDS:
        """The same data set, prepared in the folder `root`."""
        return dataclasses.replace(self, root=Path(root))

    @property
    def title(self) -> str:
        """Its name in messages and on the command line: `tfds:NAME`."""
        return f"tfds:{self.builder}"

    def pinned(self) -> TFDS:
        """The same data set, its config and version in its name."""
        *name, version = self._builder.info.full_name.split("/")
        return dataclasses.replace(self, builder=f"{'/'.join(name)}:{version}")

    @property
    def num_classes(self) -> int:
        """Number of classes; labels are 0 .. num_classes - 1, or 255 = ignored."""
        return self.classes if isinstance(self.classes, int) else len(self.class_names)

    @functools.cached_property
    def class_names(self) -> tuple[str, ...]:
        """The names given, else those that the label feature carries."""
        if isinstance(self.classes, int):
            return tuple(f"class {k}" for k in range(self.classes))
        if self.classes is not None:
            return self.classes
        feature = self._features[self.label]
        if not getattr(feature, "num_classes", None):
            raise DataError(
                f"{self.title}: the feature {self.label!r} does not name its classes. Pass "
                "their names, or how many there are: TFDS(..., classes=21), or "
                f"{self.title}?classes=21 on the command line."
            )
        return tuple(feature.names)

    def size(self, i: int) -> tuple[int, int]:
        """Rows and columns of example `i`, from its image's header."""
        value = self._read(i)[self.image]
        if isinstance(value, bytes):
            return image_size(value, self._where(i, self.image))
        return value.shape[0], value.shape[1]

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, i: int) -> Example:
        i = range(len(self))[i]
        record = self._read(i)
        image = _as_image(record[self.image], self._where(i, self.image))
        where = self._where(i, self.label)
        label = _as_label(record[self.label], where)
        check_same_size(image.shape[:2], label.shape, where)
        names = [record[key].decode() for key in _FILE_NAMES if key in record]
        name = names[0] if names else f"{i:06d}"
        return Example(*ignore_transparent(image, self._classes_of(label, where)), name)

    def _classes_of(self, label: np.ndarray, where: str) -> UInt8[np.ndarray, "h w"]:
        """The class of each stored value."""
        if not self.values:
            return label
        unknown = np.unique(label[(label >= len(self.values)) & (label != IGNORE)])
        if unknown.size:
            raise DataError(
                f"{where}: found {few(unknown)}, but `values` gives the class of 0 to "
                f"{len(self.values) - 1} only. Add theirs, or {IGNORE} to ignore them."
            )
        table = np.full(256, IGNORE, np.uint8)
        table[: len(self.values)] = self.values
        return table[label]

    def _where(self, i: int, feature: str) -> str:
        return f"{self.title}, {self.split} example {i}, {feature!r}"

    def _read(self, i: int) -> dict[str, Any]:
        """The wanted features of one record: encoded bytes of images, arrays of anything else."""
        import tensorflow_datasets as tfds

        raw = self._records[range(len(self))[i]]
        encoded = {
            key: tfds.decode.SkipDecoding()
            for key, feature in self._features.items()
            if isinstance(feature, tfds.features.Image)
        }
        return self._features.deserialize_example_np(raw, decoders=encoded)

    @functools.cached_property
    def _builder(self) -> Any:
        from tensorflow_datasets.core.constants import DATA_DIR
        from tensorflow_datasets.core.read_only_builder import builder_from_files
        from tensorflow_datasets.core.registered import DatasetNotFoundError

        root = Path(self.root or DATA_DIR).expanduser()
        try:
            return builder_from_files(self.builder, data_dir=root)
        except DatasetNotFoundError as error:
            infos = (*root.glob("*/*/dataset_info.json"), *root.glob("*/*/*/dataset_info.json"))
            there = sorted(path.parent.relative_to(root).as_posix() for path in infos)
            raise DataError(
                f"{self.title}: not prepared in {root}; found {', '.join(there) or 'nothing'} "
                f"there. Prepare it: fcn_jax.prepare.tfds.build({self.builder!r}, FOLDER) for this "
                f"library's sets, tfds.builder({self.builder!r}, file_format='array_record')"
                ".download_and_prepare() for those of TFDS."
            ) from error

    @functools.cached_property
    def _records(self) -> Any:
        """The records of the split by number, as bytes."""
        import tensorflow_datasets as tfds

        try:
            return self._builder.as_data_source(
                self.split,
                deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES,
                file_format="array_record",
            )
        except (ValueError, NotImplementedError) as error:  # no such split; another format
            raise DataError(
                f"{self.title}: cannot read {self.split!r} from array records. Splits "
                f"there: {', '.join(self._builder.info.splits)}. TFDS says: {error}"
            ) from error

    @functools.cached_property
    def _features(self) -> Any:
        """The features that are read: image, label, and the image's name if it has one."""
        import tensorflow_datasets as tfds

        features = dict(self._builder.info.features.items())
        for key in (self.image, self.label):
            if key not in features:
                raise DataError(
                    f"{self.title}: no feature {key!r}, only {', '.join(features)}. Name the "
                    "image and the label: TFDS(..., image=..., label=...), or "
                    f"{self.title}?image=...&label=... on the command line."
                )
        if (dtype := features[self.image].np_dtype) != np.uint8:
            raise DataError(f"{self.title}: expected uint8 images, {self.image!r} holds {dtype}.")
        named = [k for k in _FILE_NAMES if isinstance(features.get(k), tfds.features.Text)]
        wanted = (self.image, self.label, *named[:1])
        return tfds.features.FeaturesDict({key: features[key] for key in wanted})


def _as_image(value: Any, where: str) -> UInt8[np.ndarray, "h w _"]:
    """RGB, and alpha where an encoded image declares it."""
    if isinstance(value, bytes):
        return read_image(value, where, alpha=True)
    if value.dtype != np.uint8 or value.ndim != 3 or value.shape[2] not in (1, 3):
        raise DataError(
            f"{where}: expected uint8 (rows, columns, 3 or 1), found {value.dtype} {value.shape}."
        )
    return np.broadcast_to(value, (*value.shape[:2], 3))


def _as_label(value: Any, where: str) -> UInt8[np.ndarray, "h w"]:
    if isinstance(value, bytes):
        return read_index_png(value, where)
    return as_indices(value[..., 0] if value.ndim == 3 and value.shape[2] == 1 else value, where)
