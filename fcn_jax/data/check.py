"""Checks every label before training, so that a mistake costs a minute and not a run."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import compress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32, Int64

from fcn_jax.data.chosen_classes import ChosenClasses
from fcn_jax.data.errors import DataError, few
from fcn_jax.data.folders import Folders
from fcn_jax.data.kinds import as_labels, count_label, label_kinds
from fcn_jax.data.named import as_plain, primary, zip_named
from fcn_jax.data.source import FileSource, Source, check_same_size
from fcn_jax.labels import LabelKind

_LAYOUTS = (Folders, ChosenClasses)
_Counts = Int64[np.ndarray, " _"]  # pixels of each class, and last the ignored; see `count_label`


class Checked(NamedTuple):
    """What a sound data set holds.

    Attributes:
      pixels: int64, pixels of each class over the whole set; the last entry counts the ignored. If
        there are several labels, a dict by name. Of other kinds of labels: see `count_label`.
      sizes: int32, rows and columns of each example.
      unlabelled: Names of the examples whose label (all of their labels) is ignored (255) or
        missing everywhere: nothing is learned from them, which is worth a warning.
      absent: A tuple of the classes that no pixel of this set has; of several labels, a dict.
      contents: Of each example, by name: size and checksum (see `_last_bytes`) of its image's file,
        and a hash of its label. Empty for a source that reads no files.
      several_frames: Names of the examples whose image has several frames or pages: the first of
        them is read.
    """

    pixels: Any
    sizes: Int32[np.ndarray, "n 2"]
    unlabelled: tuple[str, ...]
    absent: Any
    contents: dict[str, list[str]]
    several_frames: tuple[str, ...] = ()


def check_labels(
    source: Source,
    *,
    threads: int = 8,
    progress: Callable[[int, int], None] | None = None,
    decode_images: bool = False,
    learned: bool = True,
) -> Checked:
    """Checks all examples: files exist and are readable, sizes equal, every label value a class.

    Args:
      source: What is checked. Of a `FileSource`, labels are decoded and images only opened.
      threads: Reading threads.
      progress: Called with (examples done, examples in all), every 50 examples and at the end.
      decode_images: Decode the images as well, which takes several times as long and finds files
        that are cut off.
      learned: Whether the set is learned from, and so must hold something to learn.

    Returns:
      Pixel counts, sizes, and what is unusual but not wrong.

    Raises:
      DataError: At the first example, in the source's order, that is wrong: names the file, what
        was found there and what to do.
    """
    n = len(source)
    if n == 0:
        raise DataError(f"{source!r}: there are no examples.")
    totals = {name: np.zeros(k + 1, np.int64) for name, k in zip_named(source.num_classes)}
    sizes = np.zeros((n, 2), np.int32)
    unlabelled, several_frames, contents = [], [], {}
    pool = ThreadPoolExecutor(max(1, threads))
    try:
        looks = pool.map(lambda i: _look(source, i, decode_images), range(n))
        for i, (example, size, several, counts, content) in enumerate(looks):
            sizes[i] = size
            several_frames += [example] if several else []
            contents[example] = content
            for name, count in counts.items():
                totals[name] += count
            if not any(count[:-1].any() for count in counts.values()):
                unlabelled.append(example)
            if progress is not None and ((i + 1) % 50 == 0 or i + 1 == n):
                progress(i + 1, n)
    finally:
        pool.shutdown(cancel_futures=True)

    folder = getattr(source, "folder", type(source).__name__)
    pixels, absent = {}, {}
    for name, total, kind, names in zip_named(totals, label_kinds(source), source.class_names):
        _check_labelled(f"{folder}{_of(name)}", total, kind, learned)
        pixels[name] = total
        absent[name] = tuple(compress(names, total == 0)) if kind is not LabelKind.NUMBERS else ()
    if source.at(".") is source:  # it reads no files
        contents = {}
    return Checked(
        pixels=as_plain(pixels),
        sizes=sizes,
        unlabelled=tuple(unlabelled),
        absent=as_plain(absent),
        contents=contents,
        several_frames=tuple(several_frames),
    )


def frames_line(names: Sequence[str]) -> str:
    """A line that says which images have several frames."""
    have = "1 image has" if len(names) == 1 else f"{len(names)} images have"
    return f"{have} several frames, of which the first is read: {few(names, 5)}"


def is_single_image(train_set: Source, validation_set: Source) -> bool:
    """Whether a tenth of one image is held out: it is trained on and validated on."""
    if not isinstance(train_set, FileSource) or not isinstance(validation_set, FileSource):
        return False
    parts = [getattr(source, "held_out", None) for source in (train_set, validation_set)]
    held_out = parts[0] is False and parts[1] is True
    return held_out and len(train_set) == 1 and train_set.ids == validation_set.ids


def check_apart(train_set: Source, validation_set: Source) -> None:
    """Refuses parts of a user's set that share images: scores would count images that were learned.

    A single image, of which no tenth can be held out, may be in both.

    Raises:
        DataError: both are of a layout (see `layouts`), and an image is in both.
    """
    if isinstance(train_set, _LAYOUTS) and isinstance(validation_set, _LAYOUTS):
        if is_single_image(train_set, validation_set):
            return
        train, validation = (
            {Path(primary(source.image_path(name))).resolve() for name in source.ids}
            for source in (train_set, validation_set)
        )
        if both := sorted(train & validation):
            raise DataError(
                f"{both[0]} is in the training list and in the validation list ({len(both)} images "
                "in all); leave each image in one of them."
            )


def _check_labelled(where: str, counts: _Counts, kind: LabelKind, learned: bool) -> None:
    # An attribute that no image has is known all the same.
    if counts[:-1].sum() == 0 and (kind is not LabelKind.ATTRIBUTES or counts[-1]):
        purpose = "learn" if learned else "score"
        what = "255 (ignored)" if kind is LabelKind.CLASSES else "missing"
        raise DataError(f"{where}: every label is {what} everywhere; nothing to {purpose}.")
    if kind is not LabelKind.CLASSES:
        return
    if learned and len(counts) > 2 and counts[1:-1].sum() == 0 and counts[-1] > 0:
        raise DataError(
            f"{where}: of {len(counts) - 1} classes only class 0 occurs, beside 255. Are these "
            "masks drawn with 0 and 255? Here 255 means ignored: save the object's pixels as 1, or "
            "give them their class with --label-map FILE, a CSV of value,class,name: "
            "0,0,background and 255,1,object."
        )


def _look(
    source: Source, i: int, decode_images: bool
) -> tuple[str, tuple[int, int], bool, dict[str, _Counts], list[str]]:
    """Name and size of example `i`, whether it has several frames, counts by label, content."""
    several, kinds = False, label_kinds(source)
    if isinstance(source, FileSource):
        example = source.ids[i]
        files = zip_named(source.image_path(example))
        headers = [header for _, header in zip_named(source.headers(example))]
        images = [(*file, header.size) for file, header in zip(files, headers, strict=True)]
        size, several = headers[0].size, any(header.several for header in headers)
        content = " ".join(_last_bytes(path) for _, path in files)
        decode = decode_images or any(header.alpha for header in headers)  # alpha hides labels
        label = as_labels(source[i].label if decode else source.label(i))
        labels = zip_named(label, source.label_path(example), source.num_classes, kinds)
    else:
        image, label, example = source[i]
        size, where = source.size(i), f"{example} ({source!r})"
        images = [(name, where, array.shape[:2]) for name, array in zip_named(image)]
        content = str(size)
        label = as_labels(label)
        wheres = {name: where for name, _ in zip_named(label)}
        labels = zip_named(label, wheres, source.num_classes, kinds)
    for name, where, found in images:
        check_same_size(size, found, where, name or "image")
    counts, digest = {}, hashlib.sha256()
    for name, label, where, k, kind in labels:
        if label.ndim > 1:
            check_same_size(size, label.shape[:2], where, name)
        counts[name] = count_label(label, kind, k, f"{where}{_of(name)}")
        digest.update(label.tobytes())
    return example, size, several, counts, [content, digest.hexdigest()[:16]]


def _last_bytes(path: Path | str, most: int = 4096) -> str:
    """The number of bytes of a file, and a checksum of the last of them.

    They notice an edited photograph or PNG, which ends in a checksum of its own, at a fraction of
    the time that reading the whole file takes.
    """
    with open(path, "rb") as file:
        length = file.seek(0, os.SEEK_END)
        file.seek(max(0, length - most))
        return f"{length}-{zlib.crc32(file.read()):08x}"


def _of(name: str) -> str:
    return f" ({name})" if name else ""
