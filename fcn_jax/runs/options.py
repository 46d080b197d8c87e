"""Plain fields of a recipe as options of a command line, and recipes with fields changed."""

import dataclasses
import enum
import inspect
from collections.abc import Callable
from typing import Any

import flax.linen as nn

from fcn_jax.data.source import Source

_PLAIN = (bool, int, float, str)


def plain_fields(value: Any) -> Any:
    """A dataclass type with the plain fields of a dataclass value, as options of a command line.

    Numbers, truth values and strings are plain; dataclasses (but not modules and sources) are
    nested. The defaults are the value's own.
    """
    fields: list[tuple[str, Any, Any]] = []
    for field in dataclasses.fields(value):
        item = getattr(value, field.name)
        if isinstance(item, _PLAIN) and not isinstance(item, enum.Enum):
            fields.append((field.name, type(item), dataclasses.field(default=item)))
        elif dataclasses.is_dataclass(item) and not isinstance(item, nn.Module | Source | type):
            inner = plain_fields(item)
            if dataclasses.fields(inner):
                fields.append((field.name, inner, dataclasses.field(default_factory=inner)))
    return dataclasses.make_dataclass(type(value).__name__, fields, frozen=True, kw_only=True)


def override(value: Any, changes: dict[str, Any]) -> Any:
    """A copy of a dataclass with fields changed; nested dictionaries change nested dataclasses."""
    new = {
        name: override(getattr(value, name), change) if isinstance(change, dict) else change
        for name, change in changes.items()
    }
    return dataclasses.replace(value, **new)


def changed_fields(value: Any, options: Any) -> dict[str, Any]:
    """The options (of `plain_fields`) that differ from the value, nested, for `override`."""
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(options):
        mine, theirs = getattr(value, field.name), getattr(options, field.name)
        if dataclasses.is_dataclass(theirs):
            if inner := changed_fields(mine, theirs):
                changes[field.name] = inner
        elif mine != theirs:
            changes[field.name] = theirs
    return changes


def parameters(function: Callable[..., Any]) -> Any:
    """A dataclass type with the parameters of a function, as options of a command line.

    `data` is none of them: the place has that option (see `takes_data`).
    """
    fields = []
    for item in inspect.signature(function).parameters.values():
        if item.name == "data":
            continue
        default = {} if item.default is item.empty else {"default": item.default}
        fields.append((item.name, item.annotation, dataclasses.field(**default)))
    made = dataclasses.make_dataclass("Recipe", fields, frozen=True, kw_only=True)
    made.__doc__ = function.__doc__  # the help of the options
    return made


def takes_data(function: Callable[..., Any]) -> bool:
    """Whether a function that makes a recipe looks into the data folder, its parameter `data`."""
    return "data" in inspect.signature(function).parameters
