"""The builders' base class: features, splits, and labels that all decoders read the same way."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from fcn_jax.data.readers import DataError
from fcn_jax.data.source import FileSource, check_same_size
from fcn_jax.labels import IGNORE


class Segmentation(tfds.core.GeneratorBasedBuilder, abc.ABC, skip_registration=True):
    """A builder that takes its examples from one of the library's readers.

    Every example has `image` (a copy of the photograph's file), `segmentation_mask` (uint8 class
    indices, 255 = ignored; a gray PNG) and `file_name` (the reader's id). Examples are in the order
    of the published list.

    Decoders differ on palette PNGs: Pillow gives indices, OpenCV and TensorFlow give colours or
    gray levels. All agree on gray PNGs, so the indices are stored as these.

    The data folder is TFDS's `manual_dir`. The default `file_format` is array records, the only
    format that has random access and does not need TensorFlow.
    """

    VERSION = tfds.core.Version("1.0.0")

    SPLITS: ClassVar[dict[str, str]]  # the reader's split for each of TFDS's
    # A list, as a path below the reader's folder, for each split that is left out without it.
    OPTIONAL: ClassVar[dict[str, str]] = {}
    ABOUT: ClassVar[str]
    HOMEPAGE: ClassVar[str]
    CITATION: ClassVar[str]

    def __init__(self, *, file_format: str | None = "array_record", **kwargs: Any):
        """Takes the arguments of every TFDS builder."""
        super().__init__(file_format=file_format, **kwargs)

    @abc.abstractmethod
    def sources(self, split: str) -> dict[str, FileSource]:
        """The reader of each mask, by name, for one of the reader's splits; same images in all."""

    def _info(self) -> tfds.core.DatasetInfo:
        sources = self.sources(next(iter(self.SPLITS.values())))
        masks = {
            name: tfds.features.LabeledImage(
                labels=list(source.class_names), shape=(None, None, 1), encoding_format="png"
            )
            for name, source in sources.items()
        }
        classes = "\n".join(
            f"`{name}`: {source.num_classes} classes, {', '.join(source.class_names)}; "
            f"{IGNORE} = ignored, neither trained on nor scored."
            for name, source in sources.items()
        )
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"{self.ABOUT}\n\n{classes}",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3)),
                    **masks,
                    "file_name": tfds.features.Text(),
                }
            ),
            supervised_keys=("image", next(iter(masks))),
            homepage=self.HOMEPAGE,
            citation=self.CITATION,
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        root = Path(dl_manager.manual_dir)
        generators = {}
        for name, split in self.SPLITS.items():
            sources = {mask: s.at(root) for mask, s in self.sources(split).items()}
            needed = self.OPTIONAL.get(name)
            if needed is None or (next(iter(sources.values())).folder / needed).exists():
                generators[name] = self._generate_examples(sources)
        return generators

    def _generate_examples(
        self, sources: dict[str, FileSource]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        first = next(iter(sources.values()))
        for i, name in enumerate(first.ids):
            masks = {mask: _gray(source, i) for mask, source in sources.items()}
            yield i, {"image": first.image_path(name), **masks, "file_name": name}


def _gray(source: FileSource, i: int) -> Image.Image:
    """Label `i` as an 8-bit gray image; DataError if its size or a value is wrong."""
    label, where = np.asarray(source.label(i)), source.label_path(source.ids[i])
    check_same_size(source.size(i), label.shape, where)
    wrong = np.unique(label[(label >= source.num_classes) & (label != IGNORE)])
    if wrong.size:
        raise DataError(
            f"{where}: expected labels 0 to {source.num_classes - 1}, or {IGNORE} = ignored; found "
            f"{', '.join(map(str, wrong[:10]))}. Check that the file is the right one and whole."
        )
    return Image.fromarray(label)
