"""Which images and labels a data set has, even where they do not match."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fcn_jax.check.findings import Finding
from fcn_jax.check.look import Item
from fcn_jax.data.chosen_classes import tenth_or_rest
from fcn_jax.data.errors import DataError, few
from fcn_jax.data.folders import Folders
from fcn_jax.data.label_files import label_endings
from fcn_jax.data.named import primary
from fcn_jax.data.patterns import is_pattern
from fcn_jax.data.source import FileSource
from fcn_jax.data.walk import image_endings

_PARTS = ("train", "training", "val", "valid", "validation", "test")
_LABELS = ("label", "mask", "annot", "gt", "ground", "seg", "target")
"""Parts of the names that people give to folders of labels."""


class Pairs(NamedTuple):
    """What there is to look at.

    Attributes:
      items: Every image that has a label.
      findings: What is wrong with files and names.
    """

    items: list[Item]
    findings: list[Finding]


def pairs(sources: dict[str, FileSource]) -> Pairs:
    """The images and labels of the parts of a data set, by the part's name."""
    items, findings = [], []
    for part, source in sources.items():
        try:
            ids = source.ids
        except DataError as error:
            ids, found = _what_matches(source, str(error))
            findings += [one for one in found if one not in findings]
        items += [_item(part, source, name) for name in ids]
    first = next(iter(sources.values()))
    if isinstance(first, Folders) and first.split is None and first.held_out is not None:
        findings += _divided_already(first, [item.name for item in items])
    return Pairs(items, findings)


def _item(part: str, source: FileSource, name: str) -> Item:
    plain = type(source).read_label is FileSource.read_label  # one file of values for each image
    return Item(
        name=f"{part}: {name}" if part else name,
        part=part,
        image=Path(primary(source.image_path(name))),
        label=Path(source.label_path(name)) if plain else None,
        read_image=lambda: photograph(primary(source.read_input(name))),
        read_label=lambda: primary(source.read_label(name)),
    )


def photograph(image: np.ndarray) -> np.ndarray:
    """Any input as uint8 RGB; depth becomes gray."""
    if image.dtype != np.uint8:
        image = (image * (255 / max(int(image.max()), 1))).astype(np.uint8)
    return np.ascontiguousarray(image[..., :3] if image.shape[-1] >= 3 else image[..., [0, 0, 0]])


def _what_matches(source: FileSource, error: str) -> tuple[Sequence[str], list[Finding]]:
    """The ids that can be read nevertheless, and why not all."""
    if isinstance(source, Folders):
        try:
            images, labels = source.unmatched
            matched = source.labelled
        except DataError:
            return (), [_not_found(source, error)]
        if images or labels:
            ids = tenth_or_rest(matched, source.held_out, source.folder) if matched else ()
            return ids, [_unmatched(source, images, labels, len(matched))]
    return (), [
        Finding(
            kind="files missing",
            severity="wrong",
            found=error,
            means="The files do not lie as this layout says.",
            mend="Put the missing files there, or give another --layout, --images or --labels.",
        )
    ]


def _unmatched(source: Folders, images: list[str], labels: list[str], count: int) -> Finding:
    found = [
        f"{len(names)} {what} have no {other}: {few(names, 5)}" if len(names) > 1
        else f"{what[:-1]} {names[0]} has no {other}"
        for names, what, other in ((images, "images", "label"), (labels, "labels", "image"))
        if names
    ]  # fmt: skip
    means, mend, options = _why_unmatched(source, images, labels)
    return Finding(
        kind="not matched",
        severity="wrong",
        found=f"{count} images have a label; {'; '.join(found)}.",
        means=means,
        mend=mend,
        options=options,
    )


def _why_unmatched(
    source: Folders, images: list[str], labels: list[str]
) -> tuple[str, str, tuple[str, ...]]:
    lower = {name.lower() for name in images}
    if alike := [name for name in labels if name.lower() in lower]:
        return (
            f"{len(alike)} names differ by capital letters only.",
            "Rename one of the two; names must be the same up to the ending.",
            (),
        )
    affixes = _affixes(images, labels)
    if affixes and not (is_pattern(source.images) or is_pattern(source.labels)):
        (before, after), (label_before, label_after) = affixes
        options = ("--images", f"{source.images}/{before}{{stem}}{after}.*")
        options = () if not before + after else options
        options += ("--labels", f"{source.labels}/{label_before}{{stem}}{label_after}.*")
        return "Names differ by a fixed beginning or end.", f"Give {_line(options)}", options
    if not images:
        return "Labels without an image cannot be used.", "Remove these labels, or add images.", ()
    return (
        "Labels are missing, or have other names than their images.",
        "Names must be the same up to the ending. Add the labels, remove the images, or name those "
        "to use in a file: --train-list FILE.",
        (),
    )


def _affixes(images: Sequence[str], labels: Sequence[str]) -> Any:
    """What to take from the ends of the names, so that most match: ((before, after), the same)."""
    if not images or not labels:
        return None
    best, most = None, max(1, min(len(images), len(labels)) // 2)
    for mine in _ends(images):
        bare = {_without(name, mine) for name in images} - {None}
        for other in _ends(labels):
            count = len(bare & ({_without(name, other) for name in labels} - {None}))
            if count > most or (count == most and best is None):
                best, most = (mine, other), count
    return best if best != (("", ""), ("", "")) else None


def _ends(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Beginnings and ends that most names share, up to a `_`, `-` or `.`."""
    yield "", ""
    stems = [name.rsplit("/", 1)[-1] for name in names]
    starts, ends = Counter[str](), Counter[str]()
    for stem in stems:
        cuts = [k for k, letter in enumerate(stem) if letter in "_-. "]
        starts.update(stem[: k + 1] for k in cuts)
        ends.update(stem[k:] for k in cuts)
    for found, make in ((ends, lambda t: ("", t)), (starts, lambda t: (t, ""))):
        yield from (
            make(text) for text, n in found.items() if 2 * n >= len(stems) and len(stems) > 1
        )
        if len(stems) == 1:
            yield from map(make, found)


def _without(name: str, ends: tuple[str, str]) -> str | None:
    folder, _, stem = name.rpartition("/")
    before, after = ends
    if not (stem.startswith(before) and stem.endswith(after)) or len(stem) <= len(before + after):
        return None
    return f"{folder}/{stem[len(before) : len(stem) - len(after)]}"


def _not_found(source: Folders, error: str) -> Finding:
    """Why the folders of images or labels cannot be read, and which folders may be meant."""
    root = Path(str(source.root)).expanduser()
    options = guessed_folders(root)
    guess = f" There are others with images: give {_line(options)}" if options else ""
    return Finding(
        kind="files missing",
        severity="wrong",
        found=error,
        means="Images and labels are looked for in other folders than they are in." if options
        else "The data folder is another one, or two files have the name of one.",
        mend=f"Name the folders with --images and --labels, or rename files.{guess}",
        options=options,
    )  # fmt: skip


def guessed_folders(root: Path) -> tuple[str, ...]:
    """The options that name the folders of images and of labels, by their names; () if unclear."""
    if not root.is_dir():
        return ()
    kinds = image_endings() | label_endings()
    folders = [path.name for path in sorted(root.iterdir()) if _holds(path, kinds)]
    labels = [name for name in folders if any(word in name.lower() for word in _LABELS)]
    images = [name for name in folders if name not in labels]
    if len(labels) == 1 and len(images) == 1:
        return "--images", images[0], "--labels", labels[0]
    return ()


def _holds(folder: Path, kinds: Container[str]) -> bool:
    """Whether a folder, or one below it, holds such files."""
    files = (Path(name) for _, _, names in os.walk(folder) for name in names)
    return any(path.suffix.lower() in kinds for path in files)


def _divided_already(source: Folders, names: Iterable[str]) -> Iterator[Finding]:
    """Says that the folders' own parts are not used."""
    parts = {name.split(": ")[-1].partition("/")[0] for name in names if "/" in name}
    if len(parts & set(_PARTS)) >= 2 and not is_pattern(source.images):
        options = "--images", f"{source.images}/{{split}}", "--labels", f"{source.labels}/{{split}}"
        yield Finding(
            kind="parts not used",
            severity="look",
            found=f"{source.images} holds the folders {few(sorted(parts))}, and a tenth of all "
            "images together is held out.",
            means="The set is divided already, and training does not follow it.",
            mend=f"To train and validate on these parts, give {_line(options)}",
            options=options,
        )


def _line(options: Sequence[str]) -> str:
    return " ".join(f"'{one}'" if set(one) & set("{}* ") else one for one in options)
