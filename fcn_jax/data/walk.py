"""One walk through folders, for training, prediction and checks; what is left out is counted."""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Container, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageFile

from fcn_jax.data.errors import DataError, few, legible

_OTHER_PROGRAM = ("EPS", "MPEG")  # kinds that Pillow opens, but does not decode by itself


class Walk(NamedTuple):
    """What was found in a folder and below it.

    Attributes:
      files: The files with a wanted ending, sorted.
      left_out: How many others there were, by the reason.
    """

    files: list[Path]
    left_out: Counter[str]


@functools.cache
def image_endings() -> frozenset[str]:
    """Endings of all kinds of files that Pillow decodes, such as `.jpg`, in lower case."""
    Image.preinit()  # first, so that Pillow tries JPEG and PNG first: it opens them faster then
    Image.init()
    kinds = {
        kind
        for kind, (opens, _) in Image.OPEN.items()
        if not (isinstance(opens, type) and issubclass(opens, ImageFile.StubImageFile))
    }
    endings = Image.registered_extensions().items()
    return frozenset(end for end, kind in endings if kind in kinds.difference(_OTHER_PROGRAM))


def walk(folder: Path, endings: Container[str]) -> Walk:
    """The files in a folder and below it.

    Whatever begins with a dot is left out. Links are followed, but not to a folder that they lie
    in. What is neither file nor folder is not opened.

    Args:
      folder: Where to start; its own name may begin with a dot.
      endings: The wanted endings in lower case, with the dot.

    Raises:
      DataError: The folder itself cannot be read.
    """
    files, left_out = [], Counter()
    todo = [(folder, frozenset({_identity(folder)}))]
    while todo:
        inside, above = todo.pop()
        try:
            names = os.listdir(inside)
        except OSError as error:
            if inside == folder:
                raise DataError(f"{folder}: cannot be read ({error.strerror}).") from error
            left_out["folders that cannot be read"] += 1
            continue
        for path in (inside / name for name in names):
            if path.name.startswith("."):
                left_out["hidden"] += 1
            elif os.path.isdir(path):
                if _identity(path) in above:
                    left_out["links to a folder that they lie in"] += 1
                else:
                    todo.append((path, above | {_identity(path)}))
            elif not os.path.isfile(path):
                gone = not os.path.exists(path)
                left_out["broken links" if gone else "neither files nor folders"] += 1
            elif (ending := path.suffix.lower()) in endings:
                files.append(path)
            else:
                left_out[f"ending in {legible(ending)}" if ending else "without an ending"] += 1
    return Walk(sorted(files), left_out)


def _identity(folder: Path) -> tuple[int, int]:
    found = os.stat(folder)
    return found.st_dev, found.st_ino


def said(folder: Path, left_out: Counter[str]) -> str:
    """A line that says what was left out in a folder; "" if nothing was."""
    counts = few(f"{count} {reason}" for reason, count in left_out.most_common())
    return f"{legible(folder)}: left out {counts}" if counts else ""


def find_folder(root: Path, candidates: Sequence[str], *, marker: str, layout: str) -> Path:
    """The first of `root / candidate` that holds `marker`.

    Args:
      root: The data folder the user named.
      candidates: Folders below it, best first; "." is the root itself.
      marker: A file or folder whose presence identifies the right one.
      layout: What the right one looks like, for the error message.

    Raises:
      DataError: None of them holds it; says where it looked and what it looked for.
    """
    for candidate in candidates:
        if (root / candidate / marker).exists():
            return root / candidate
    inside = sorted(root.glob(f"*/{marker}"))
    hint = f"\nIt is in {inside[0].parents[marker.count('/')]}; give that folder" if inside else ""
    looked = "\n".join(f"  {root / candidate}" for candidate in candidates)
    missing = "" if root.is_dir() else f" ({root} is not a folder)"
    raise DataError(
        f"{root}: no {marker} found{missing}. Looked in\n{looked}\nExpected layout: {layout}{hint}"
    )
