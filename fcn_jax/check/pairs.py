"""Which images and labels a data set has, even where they do not match."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fcn_jax.check.findings import Finding
from fcn_jax.check.look import Item
from fcn_jax.check.naming import guessed_folders, line, why_unmatched
from fcn_jax.data.chosen_classes import tenth_or_rest
from fcn_jax.data.errors import DataError, few
from fcn_jax.data.folders import Folders
from fcn_jax.data.named import primary
from fcn_jax.data.patterns import is_pattern
from fcn_jax.data.source import FileSource

_PARTS = ("train", "training", "val", "valid", "validation", "test")


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
    """Any input as uint8 RGB, and alpha if it has that; depth becomes gray."""
    if image.dtype != np.uint8:
        image = (image * (255 / max(int(image.max()), 1))).astype(np.uint8)
    bands = slice(4) if image.shape[-1] == 4 else slice(3)
    return np.ascontiguousarray(
        image[..., bands] if image.shape[-1] >= 3 else image[..., [0, 0, 0]]
    )


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
            return ids, [_unmatched(source, images, labels, matched)]
    return (), [
        Finding(
            kind="files missing",
            severity="wrong",
            found=error,
            means="The files do not lie as this layout says.",
            mend="Put the missing files there, or give another --layout, --images or --labels.",
        )
    ]


def _unmatched(
    source: Folders, images: list[str], labels: list[str], matched: list[str]
) -> Finding:
    found = [
        f"{len(names)} {what} have no {other}: {few(names, 5)}" if len(names) > 1
        else f"{what[:-1]} {names[0]} has no {other}"
        for names, what, other in ((images, "images", "label"), (labels, "labels", "image"))
        if names
    ]  # fmt: skip
    means, mend, options = why_unmatched(source, images, labels, matched)
    return Finding(
        kind="not matched",
        severity="wrong",
        found=f"{len(matched)} images have a label; {'; '.join(found)}.",
        means=means,
        mend=mend,
        options=options,
    )


def _not_found(source: Folders, error: str) -> Finding:
    """Why the folders of images or labels cannot be read, and which folders may be meant."""
    root = Path(str(source.root)).expanduser()
    missing = [name for name in (source.images, source.labels) if not (root / name).is_dir()]
    options = guessed_folders(root) if missing else ()
    guess = f" There are others with images: give {line(options)}" if options else ""
    return Finding(
        kind="files missing",
        severity="wrong",
        found=error,
        means="Images and labels are looked for in other folders than they are in." if options
        else "The data folder is another one, or files lie in another way."
        if missing
        else "It is not clear which file is meant.",
        mend=f"Name the folders with --images and --labels.{guess}"
        if missing
        else "Do what the message says.",
        options=options,
    )  # fmt: skip


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
            mend=f"To train and validate on these parts, give {line(options)}",
            options=options,
        )
