"""Lists of images, as text editors and other programs write them."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from fcn_jax.data.errors import DataError, few, legible
from fcn_jax.data.readers import check_file
from fcn_jax.data.walk import image_endings


def read_list(path: Path) -> tuple[str, ...]:
    """Reads a split: one id per line; blank lines are skipped.

    Raises:
      DataError: The list is missing (the message names the lists beside it), empty, not text, or
        names an id twice.
    """
    ids = tuple(text for _, text in numbered_lines(path))
    check_once(path, ids)
    return ids


def numbered_lines(path: Path) -> list[tuple[int, str]]:
    r"""The lines of a list that are not blank, without spaces around, and their numbers from 1.

    The text is UTF-8 or UTF-16; other bytes become `\xe9`.

    Raises:
      DataError: The list is missing (the message names the lists beside it), empty or not text.
    """
    if not path.exists():
        beside = sorted(legible(p.name) for p in path.parent.glob("*.txt"))
        raise DataError(
            f"{path}: no such list. Lists in that folder: {', '.join(beside) or 'none'}."
        )
    text = read_text(path)
    lines = enumerate(re.split("\r\n|\r|\n", text), start=1)
    filled = [(number, line.strip()) for number, line in lines if line.strip()]
    if not filled:
        raise DataError(f"{path}: the list is empty; expected one id per line.")
    return filled


def read_text(path: Path) -> str:
    r"""The text of a file in UTF-8 or UTF-16; other bytes become `\xe9`.

    Raises:
      DataError: The file is missing or cannot be read.
    """
    check_file(path)
    try:
        return _decoded(path.read_bytes())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text ({error}). Save it as UTF-8.") from error


def _decoded(content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    if b"\0" in content[:2]:  # an ASCII letter in UTF-16
        return content.decode("utf-16-be" if content[0] == 0 else "utf-16-le")
    return content.decode("utf-8-sig", "backslashreplace")


def check_once(path: Path, ids: Iterable[str]) -> None:
    """Raises DataError if a list names an id twice."""
    seen, twice = set(), {}
    for name in ids:
        twice |= {name: None} if name in seen else {}
        seen.add(name)
    if twice:
        raise DataError(f"{path}: names {few(twice)} more than once; name each id once.")


def listed(path: Path, names: Iterable[str], folder: Path, root: Path) -> tuple[str, ...]:
    """The names that a list means.

    Args:
      path: The list. A line is a name, with or without ending, below `folder` or below `root`; or
        a whole path.
      names: What the files below `folder` are called, without ending.
      folder: Where the files are.
      root: The data folder.

    Raises:
      DataError: As `read_list`; or a line means none of the names: says which line.
    """
    known = set(names)
    spelled = {nfc(name): name for name in known}
    found, wrong = [], []
    for number, line in numbered_lines(path):
        meanings = list(_meanings(line, folder, root))
        exact = [name for name in meanings if name in known]
        alike = [spelled[form] for form in map(nfc, meanings) if form in spelled]
        if exact or alike:
            found.append((exact or alike)[0])
        else:
            wrong.append(f"line {number}: {line!r}")
    if wrong:
        raise DataError(
            f"{path}, {wrong[0]}: names no image in {folder}. Expected a name such as "
            f"{min(known, default='a/x')!r}, with or without its ending, one per line."
            + (f" The same holds for {few(wrong[1:], 5)}." if wrong[1:] else "")
        )
    check_once(path, found)
    return tuple(found)


def _meanings(line: str, folder: Path, root: Path) -> Iterator[str]:
    """The names that a line of a list may mean, the likeliest first."""
    paths = [Path(line)]
    for base in (Path.absolute, Path.resolve):
        whole, below = base(root / line), base(folder)
        paths += [whole.relative_to(below)] if whole.is_relative_to(below) else []
    for path in paths:
        yield path.as_posix()
        if path.suffix.lower() in image_endings():
            yield path.with_suffix("").as_posix()


def nfc(name: str) -> str:
    """A name as one of several equal spellings in Unicode: `é` may be one character or two."""
    return unicodedata.normalize("NFC", name)
