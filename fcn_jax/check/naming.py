"""Which names and folders may be meant, where images and labels do not match."""

from __future__ import annotations

import os
import re
import shlex
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fcn_jax.data.folders import Folders
from fcn_jax.data.label_files import label_endings
from fcn_jax.data.patterns import is_pattern
from fcn_jax.data.walk import image_endings

_LABELS = ("label", "mask", "annot", "gt", "ground", "seg", "target")
"""Parts of the names that people give to folders of labels."""


def why_unmatched(
    source: Folders, images: list[str], labels: list[str], matched: Sequence[str] = ()
) -> tuple[str, str, tuple[str, ...]]:
    """What it means that names do not match, what mends it, and the options.

    Patterns hold for all files, so they are advised only if more images have a label then.

    Args:
      source: The data set.
      images: Names of images without a label.
      labels: Names of labels without an image.
      matched: Names of images that have a label.
    """
    lower = {name.lower() for name in images}
    if alike := [name for name in labels if name.lower() in lower]:
        return (
            f"{len(alike)} names differ by capital letters only.",
            "Rename one of the two; names must be the same up to the ending.",
            (),
        )
    bare = {_without_zeros(name) for name in images}
    if alike := [name for name in labels if _without_zeros(name) in bare]:
        return (
            f"The numbers in {len(alike)} names have other zeros in front.",
            "Rename one of the two; names must be the same up to the ending.",
            (),
        )
    every, every_label = [*matched, *images], [*matched, *labels]
    stems = {name.rsplit("/", 1)[-1] for name in every}
    label_stems = {name.rsplit("/", 1)[-1] for name in every_label}
    unique = (len(stems), len(label_stems)) == (len(every), len(every_label))
    if unique and (count := len(stems & label_stems)) > len(matched):
        options = ("--images", f"{source.images}/{{stem}}")
        options += ("--labels", f"{source.labels}/{{stem}}")
        means = f"Labels lie in other sub-folders than images. {_of(count, every)}"
        return means, f"Give {line(options)}", options
    affixes, count = _affixes(every, every_label, len(matched))
    if affixes and not (is_pattern(source.images) or is_pattern(source.labels)):
        (before, after), (label_before, label_after) = affixes
        ending = _ending(source.image_path(name) for name in every)
        options = ("--images", f"{source.images}/{before}{{stem}}{after}{ending}")
        options = () if not before + after else options
        ending = _ending(source.label_path(name) for name in every_label)
        options += ("--labels", f"{source.labels}/{label_before}{{stem}}{label_after}{ending}")
        means = f"Names differ by a fixed beginning or end. {_of(count, every)}"
        return means, f"Give {line(options)}", options
    if not images:
        return "Labels without an image cannot be used.", "Remove these labels, or add images.", ()
    return (
        "Labels are missing, or have other names than their images.",
        "Names must be the same up to the ending. Add the labels, remove the images, or name those "
        "to use in a file: --train-list FILE.",
        (),
    )


def _ending(files: Iterable[Path]) -> str:
    """The ending of files, `.*` if they have several."""
    endings = {file.suffix for file in files}
    return endings.pop() if len(endings) == 1 else ".*"


def _without_zeros(name: str) -> str:
    return re.sub(r"0*(\d+)", r"\1", name)


def _of(count: int, images: Sequence[str]) -> str:
    return f"With these options {count} of {len(images)} images have a label."


def _affixes(images: Sequence[str], labels: Sequence[str], matched: int) -> tuple[Any, int]:
    """What to take from the ends of the names, so that most match; and how many do then.

    ((before, after), the same of labels); None where no more match than the names as they are.
    """
    if not images or not labels:
        return None, 0
    best, most = None, max(matched + 1, min(len(images), len(labels)) // 2)
    for mine in _ends(images):
        bare = {_without(name, mine) for name in images} - {None}
        for other in _ends(labels):
            count = len(bare & ({_without(name, other) for name in labels} - {None}))
            if count > most or (count == most and best is None):
                best, most = (mine, other), count
    return (best if best != (("", ""), ("", "")) else None), most


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
    return () if folders else _in_one_folder([path for path in root.iterdir() if path.is_file()])


def _in_one_folder(files: Sequence[Path]) -> tuple[str, ...]:
    """The options for images and labels in one folder: `x.jpg` with `x_mask.png` or `x.png`."""
    stems = {path.stem for path in files}
    found = Counter(
        (path.stem[len(stem) :], path.suffix)
        for path in files
        for stem in (path.stem[:k] for k in range(1, len(path.stem)))
        if stem in stems and path.stem[len(stem)] in "_-."
    )
    if found:
        (after, ending), count = found.most_common(1)[0]
        endings = {path.suffix for path in files if f"{path.stem}{after}" in stems}
        if 3 * count >= len(files) and len(endings) == 1:
            return "--images", f"*{min(endings)}", "--labels", f"{{stem}}{after}{ending}"
    endings = sorted({path.suffix for path in files}, key=lambda e: e.lower() in (".png", ".npy"))
    if len(endings) == 2:
        first, second = ({p.stem for p in files if p.suffix == ending} for ending in endings)
        if first == second:
            return "--images", f"*{endings[0]}", "--labels", f"*{endings[1]}"
    return ()


def _holds(folder: Path, kinds: Container[str]) -> bool:
    """Whether a folder, or one below it, holds such files."""
    files = (Path(name) for _, _, names in os.walk(folder) for name in names)
    return any(path.suffix.lower() in kinds for path in files)


def line(options: Sequence[str]) -> str:
    """Options as on a command line."""
    return shlex.join(options)
