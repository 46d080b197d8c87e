"""Values of dataclasses and modules as JSON: written, and compared with what was written before."""

import dataclasses
import enum
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn

_RETIRED = {"border_skipping", "row_tiles", "rematerialise"}
"""Fields of nets and trunks before version 0.2, which say nothing of what a net computes."""


def describe(value: Any) -> Any:
    """A value as JSON: dataclasses and modules with their class, enums and types by name.

    Linen's own fields (`parent`, `name`) and where a data set lies (`root`) are left out.
    """
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, Mapping):
        return {name: describe(item) for name, item in value.items()}
    if dataclasses.is_dataclass(value):
        fields = {name: describe(item) for name, item in _fields(value).items()}
        return {"class": type(value).__name__, **fields}
    if isinstance(value, tuple | list):
        return [describe(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    return getattr(value, "__name__", repr(value))


def differences(stored: Any, value: Any, path: str = "") -> Iterator[str]:
    """A line for each place in which a stored description and a value differ.

    A field that the description lacks had the field's default then: it was added since.

    Args:
        stored: JSON, as `describe` gave it, maybe in an earlier version.
        value: what it is compared with.
        path: of the value, for the lines.
    """
    if isinstance(value, tuple | list) and isinstance(stored, list) and len(value) == len(stored):
        for i, (before, now) in enumerate(zip(stored, value, strict=True)):
            yield from differences(before, now, f"{path}[{i}]")
        return
    parts = _comparable(stored, value)
    if parts is None or not isinstance(stored, dict):
        if stored != (here := describe(value)):
            yield f"{path}: the folder has {json.dumps(stored)}, this recipe {json.dumps(here)}"
        return
    for key in dict.fromkeys([*stored, *parts]):
        inner = f"{path}.{key}" if path else key
        if key not in stored:
            yield from differences(describe(_default(value, key)), parts[key], inner)
        elif key in parts:
            yield from differences(stored[key], parts[key], inner)
        elif key not in _RETIRED | {"class"}:
            yield f"{inner}: the folder has {json.dumps(stored[key])}, this recipe nothing"


def _comparable(stored: Any, value: Any) -> dict[str, Any] | None:
    """The parts of a value that a stored description of the same kind can be compared with."""
    if isinstance(stored, dict) and isinstance(value, Mapping):
        return dict(value)
    if isinstance(stored, dict) and dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _fields(value) if stored.get("class") == type(value).__name__ else None
    return None


def _default(value: Any, name: str) -> Any:
    """The default of a dataclass's field; None if it has none."""
    fields = dataclasses.fields(value) if dataclasses.is_dataclass(value) else ()
    field = next((f for f in fields if f.name == name), None)
    if field is None or field.default is field.default_factory:
        return None
    if field.default is not dataclasses.MISSING:
        return field.default
    return field.default_factory() if callable(field.default_factory) else None


def _fields(value: Any) -> dict[str, Any]:
    """The fields of a dataclass that describe it."""
    hidden = {"parent", "name"} if isinstance(value, nn.Module) else {"root"}
    names = [f.name for f in dataclasses.fields(value) if f.init and f.name not in hidden]
    return {name: getattr(value, name) for name in names}
