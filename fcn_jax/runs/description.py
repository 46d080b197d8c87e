"""Values of dataclasses and modules as JSON: written, compared and built again.

Classes are recorded with their module. Only those of the installed packages `fcn_jax` and
`experiments` are built again, so reading a description runs no code that came with it.
"""

import ast
import dataclasses
import enum
import importlib
import importlib.util
import json
import pkgutil
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from fcn_jax.moved import new_name

_RETIRED = {"border_skipping", "row_tiles", "rematerialise"}
"""Fields of nets and trunks before version 0.2, which say nothing of what a net computes."""
_PACKAGES = ("fcn_jax", "experiments")
# Where a class without a module is looked for: descriptions before version 0.2 have none.
_HOMES = (
    "nets",
    "nets.trunks",
    "nets.decoders",
    "nn.upsampling",
    "data",
    "preprocessing",
    "metrics",
)


class NotOursError(ValueError):
    """A description names a class that is not one of the installed packages'."""


def describe(value: Any) -> Any:
    """A value as JSON: dataclasses and modules with their class, enums and types by name.

    Linen's own fields (`parent`, `name`) and where a data set lies (`root`) are left out.
    """
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, type):
        return _class_name(value) if dataclasses.is_dataclass(value) else value.__name__
    if isinstance(value, Mapping):
        return {name: describe(item) for name, item in value.items()}
    if dataclasses.is_dataclass(value):
        fields = {name: describe(item) for name, item in _fields(value).items()}
        return {"class": _class_name(type(value)), **fields}
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
    if isinstance(value, type) and isinstance(stored, str) and _same_class(stored, value):
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
        return _fields(value) if _same_class(str(stored.get("class")), type(value)) else None
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


def _class_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _same_class(stored: str, kind: type) -> bool:
    """Whether a stored name means this class, which may have moved, or be known without module."""
    module, _, name = stored.rpartition(".")
    if name != kind.__qualname__:
        return False
    ours = is_ours(module), is_ours(kind.__module__)
    return not module or not any(ours) or (new_name(module) or module) == kind.__module__


def is_ours(module: str) -> bool:
    """Whether a module belongs to the installed packages, by its name."""
    return module.split(".")[0] in _PACKAGES


def build(described: Any, hint: Any = None, default: Any = None) -> Any:
    """The value that `describe` described: nets, data sets, preprocessings, and what they hold.

    Args:
        described: JSON, maybe of an earlier version.
        hint: the type that the field is declared with, if it is a field.
        default: the field's default.

    Raises:
        NotOursError: it names a class that is not one of `fcn_jax` or `experiments`.
        ValueError: a field is unknown, or has a value that its class refuses.
    """
    if isinstance(described, dict) and "class" in described:
        kind = _find_class(str(described["class"]))
        hints = typing.get_type_hints(kind)
        fields: dict[str, Any] = {field.name: field for field in dataclasses.fields(kind)}
        given = {key: item for key, item in described.items() if key not in _RETIRED | {"class"}}
        if unknown := [key for key in given if key not in fields or not fields[key].init]:
            raise ValueError(
                f"{kind.__name__} has no field {unknown[0]!r} in this version of fcn_jax; use the "
                "version that wrote it"
            )
        made = {key: build(item, hints[key], fields[key].default) for key, item in given.items()}
        try:
            return kind(**made)
        except TypeError as error:
            raise ValueError(f"{kind.__name__}: {error}") from None
    if isinstance(described, dict):
        return {key: build(item) for key, item in described.items()}
    if isinstance(described, list):
        return tuple(build(item) for item in described)
    if isinstance(described, str):
        return _named(described, hint, default)
    return described


def _named(text: str, hint: Any, default: Any) -> Any:
    """What a string stands for: itself, a member of an enum, a class, or a number type."""
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        if text not in hint.__members__:
            raise ValueError(f"{hint.__name__} must be one of {list(hint.__members__)}: {text!r}")
        return hint[text]
    if typing.get_origin(hint) is type:
        return _find_class(text)
    if default is jnp.float32:
        return jnp.dtype(text).type
    return text


def _find_class(name: str) -> Any:
    """The dataclass of the installed packages that a description names.

    Raises:
        NotOursError: there is none.
    """
    module, _, short = name.rpartition(".")
    if module and not (is_ours(module) and _is_installed(module.split(".")[0])):
        raise NotOursError(f"the class {name} is not part of fcn_jax")
    for home in [new_name(module) or module] if module else _home_modules():
        try:
            found = getattr(importlib.import_module(home), short, None)
        except ImportError:
            continue
        if getattr(found, "__module__", None) == home and dataclasses.is_dataclass(found):
            return found
    raise NotOursError(f"fcn_jax has no class {name}")


def _is_installed(package: str) -> bool:
    """Whether importing a package gives the one beside fcn_jax, not one of the working folder."""
    spec = importlib.util.find_spec(package)
    beside = Path(__file__).resolve().parents[2]
    return spec is not None and Path(str(spec.origin)).resolve().parent == beside / package


def _home_modules() -> Iterator[str]:
    for home in _HOMES:
        package = importlib.import_module(f"fcn_jax.{home}")
        yield package.__name__
        for info in pkgutil.iter_modules(getattr(package, "__path__", [])):
            yield f"{package.__name__}.{info.name}"


def from_text(text: str) -> Any:
    """The description of a module that was written as Python's `repr` of it.

    Weights files before version 0.2 hold their net so: `FCN(trunk=VGG16(), num_classes=21)`.

    Raises:
        ValueError: it is anything else.
    """

    def read(node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name):
                return name
            case ast.Tuple(elts=items) | ast.List(elts=items):
                return [read(item) for item in items]
            case ast.Dict(keys=keys, values=values) if None not in keys:
                pairs = zip(keys, values, strict=True)
                return {read(key): read(value) for key, value in pairs if key is not None}
            case ast.Call(func=ast.Name(id=name), args=[], keywords=keywords):
                return {"class": name, **{str(k.arg): read(k.value) for k in keywords}}
        raise ValueError(f"expected the text of a net, found {ast.unparse(node)!r}")

    try:
        return read(ast.parse(text, mode="eval").body)
    except (SyntaxError, RecursionError, MemoryError):
        raise ValueError(f"expected the text of a net, found {text[:80]!r}") from None
