"""Label maps and lists of class names, as people write them: JSON, CSV or lines of text."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from fcn_jax.data.errors import DataError, few
from fcn_jax.data.label_values import OTHERS, Key, LabelValues
from fcn_jax.data.lists import read_text
from fcn_jax.labels import IGNORE

LABELME_IGNORE = "__ignore__"
"""The line of labelme's `labels.txt` that is no class. Source: labelme's examples."""
_COLUMNS = "value,class,name or r,g,b,class,name (class or name may be missing)"
_IGNORED = ("ignore", "ignored", LABELME_IGNORE)


class LabelMap(NamedTuple):
    """What a label map says.

    Attributes:
      mapping: Pairs of a key and its class (see `LabelValues.mapping`).
      names: A name for each class; () if the map has no names.
    """

    mapping: tuple[tuple[Any, int], ...]
    names: tuple[str, ...]

    @property
    def values(self) -> LabelValues:
        """The mapping as the class of each stored value."""
        return LabelValues(mapping=self.mapping)


class _Entry(NamedTuple):
    key: Key
    number: int | None  # of the class
    name: str


def read_label_map(path: Path | str) -> LabelMap:
    """Reads a label map.

    A CSV has a line of columns: `value`, or `r`, `g` and `b`; `class`; `name`. JSON is a list of
    objects with these fields (`colour` for `r`, `g`, `b`), or one object: `{"7": 0}` (value to
    class), `{"128,64,128": "road"}` (colour to name), `{"road": [128, 64, 128]}`. Without numbers,
    classes are counted in the order of their names. Class 255, null or "ignore" is ignored. The
    value `*` stands for all others. Values may be names too, as those of COCO and labelme.

    Raises:
      DataError: The file is missing or is not a label map: says which line or entry.
    """
    path = Path(path)
    text = read_text(path)
    structured = path.suffix.lower() == ".json" or text.lstrip()[:1] in ("{", "[")
    try:
        entries = list(_of_json(text, path) if structured else _of_csv(text, path))
    except csv.Error as error:
        raise DataError(f"{path}: cannot be read as CSV ({error}). Save it again.") from error
    if not entries:
        raise DataError(f"{path}: the label map is empty; expected {_COLUMNS}.")
    numbers = _numbers(entries, path)
    names: dict[int, str] = {}
    for entry, number in zip(entries, numbers, strict=True):
        if number != IGNORE and entry.name:
            names.setdefault(number, entry.name)
    count = max((number + 1 for number in numbers if number != IGNORE), default=0)
    if not count:
        raise DataError(f"{path}: the label map has no class; every key is ignored.")
    mapping = tuple((entry.key, number) for entry, number in zip(entries, numbers, strict=True))
    return LabelMap(
        mapping, tuple(names.get(k, f"class {k}") for k in range(count)) if names else ()
    )


def read_class_names(path: Path | str) -> tuple[str, ...]:
    """The names of classes: one a line, or a JSON list; labelme's line `__ignore__` is no class.

    Raises:
      DataError: The file is missing or empty, or names a class twice.
    """
    path = Path(path)
    text = read_text(path)
    if path.suffix.lower() == ".json":
        found = _parsed(text, path)
        if isinstance(found, dict):
            found = [found.get(str(k)) for k in range(len(found))]
        if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
            raise DataError(f'{path}: expected a JSON list of names, ["background", "road"].')
    else:
        found = [line.strip() for line in re.split("\r\n|\r|\n", text) if line.strip()]
    names = tuple(str(name) for name in found if name != LABELME_IGNORE)
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise DataError(f"{path}: names {few(twice)} more than once; name each class once.")
    if not names or len(names) > IGNORE:
        raise DataError(f"{path}: expected 1 to 255 names of classes, found {len(names)}.")
    return names


def _numbers(entries: list[_Entry], path: Path) -> list[int]:
    """The class of each entry: as it says, or else in the order of the names."""
    unnumbered = [entry for entry in entries if entry.number is None]
    if unnumbered and any(entry.number not in (None, IGNORE) for entry in entries):
        raise DataError(
            f"{path}: {unnumbered[0].key!r} has no class, others have. Give all a class, or none."
        )
    order = {name: k for k, name in enumerate(dict.fromkeys(e.name for e in unnumbered))}
    if len(order) > IGNORE:
        raise DataError(f"{path}: expected at most 255 classes, found {len(order)} names.")
    return [order[e.name] if e.number is None else e.number for e in entries]


def _of_csv(text: str, path: Path) -> Iterator[_Entry]:
    lines = text.splitlines()
    head = lines[0] if lines else ""
    delimiter = max(",;\t", key=head.count)
    rows = csv.DictReader(lines, delimiter=delimiter, skipinitialspace=True)
    columns = [(name or "").strip().lower() for name in rows.fieldnames or ()]
    known = {"value", "r", "red", "colour", "color"} & set(columns)
    if not known or not {"class", "name"} & set(columns):
        raise DataError(f"{path}, line 1: expected the columns {_COLUMNS}; found {head!r}.")
    rows.fieldnames = columns
    for row in rows:
        cells = {k: (v or "").strip() for k, v in row.items() if k and not isinstance(v, list)}
        if any(cells.values()):
            yield _entry(cells, f"{path}, line {rows.line_num}")


def _of_json(text: str, path: Path) -> Iterator[_Entry]:
    found = _parsed(text, path)
    if isinstance(found, list):
        for number, item in enumerate(found):
            if not isinstance(item, dict):
                raise DataError(f'{path}, entry {number}: expected {{"value": 7, "class": 0}}.')
            yield _entry({str(k).lower(): v for k, v in item.items()}, f"{path}, entry {number}")
        return
    if not isinstance(found, dict):
        raise DataError(f'{path}: expected a JSON object such as {{"7": 0}}, or a list of objects.')
    for key, item in found.items():
        where = f"{path}, {key!r}"
        if isinstance(item, list):
            yield _entry({"colour": item, "name": key}, where)
        else:
            what = "name" if isinstance(item, str) and not item.strip().isdecimal() else "class"
            yield _entry({"value": key, what: item}, where)


def _parsed(text: str, path: Path) -> Any:
    def unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise DataError(f"{path}: names {key!r} twice.")
            found[key] = value
        return found

    try:
        return json.loads(text, object_pairs_hook=unique)
    except DataError:
        raise
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not JSON ({error}).") from error


def _entry(cells: dict[str, Any], where: str) -> _Entry:
    key = _key(cells, where)
    name, given = str(cells.get("name") or "").strip(), cells.get("class", "")
    if given is None or _ignored(given) or _ignored(name):
        return _Entry(key, IGNORE, "")
    if given == "" and name:
        return _Entry(key, None, name)
    number = int(given) if re.fullmatch(r"\d{1,3}", str(given)) else -1
    if not 0 <= number <= IGNORE:
        raise DataError(
            f"{where}: expected a class from 0 to 254, or 255 or `ignore`; found {given!r}."
        )
    return _Entry(key, number, name)


def _ignored(given: Any) -> bool:
    return isinstance(given, str) and given.strip().lower() in _IGNORED


def _key(cells: dict[str, Any], where: str) -> Key:
    """The value, colour or name of an entry."""
    short = [cells.get(band) for band in ("r", "g", "b")]
    colour = [cells.get(b) for b in ("red", "green", "blue")] if None in short else short
    if None in colour:
        colour = cells.get("colour", cells.get("color"))
    if isinstance(colour, list):
        if len(colour) == 3 and all(re.fullmatch(r"\d{1,3}", str(c)) for c in colour):
            red, green, blue = (int(str(c)) for c in colour)
            if max(red, green, blue) <= 255:
                return red, green, blue
        raise DataError(f"{where}: expected a colour of three numbers, 0 to 255; found {colour}.")
    text = str(cells.get("value") if colour is None else colour).strip()
    if isinstance(cells.get("value"), list) or text in ("", "None"):
        raise DataError(f"{where}: expected a value, such as 7, or a colour, such as 128,64,128.")
    if re.fullmatch(r"[+-]?\d{1,18}", text):
        return int(text)
    if hexadecimal := re.fullmatch(r"#([0-9a-fA-F]{6})", text):
        red, green, blue = bytes.fromhex(hexadecimal[1])
        return red, green, blue
    parts = text.strip("()[] ").split(",")
    if text != OTHERS and len(parts) == 3 and all(p.strip().isdecimal() for p in parts):
        return _key({"colour": [p.strip() for p in parts]}, where)
    return text
