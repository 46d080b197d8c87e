"""A recipe: the science of one run, as a value that compares, prints and is written to disk."""

import dataclasses
import enum
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import optax
from flax.core import FrozenDict

from fcn_jax.data.source import Source
from fcn_jax.data.transforms import Augment
from fcn_jax.metrics import Absent
from fcn_jax.preprocessing import Inputs


@dataclasses.dataclass(frozen=True, kw_only=True)
class FromScratch:
    """Random trunk, zero scores.

    Attributes:
        preprocessing: what the net is to take.
    """

    preprocessing: Inputs


@dataclasses.dataclass(frozen=True, kw_only=True)
class FromWeights:
    """Start from a classifier's converted weights, whose file says what preprocessing it takes.

    Attributes:
        file: name of the file in the weights folder, e.g. `vgg16.safetensors`.
        keep: new layers that the file lacks and that are no zero score layers.
        expand: layers with more input channels than the file's, by the file's name for them
            (`{"conv1_1_bgrd": "conv1_1"}`); the others get the mean (see `surgery.expand_input`).
        preprocessing: for nets with other inputs than one colour image, or another mean than the
            file's; colours must come in the file's order and scale.
    """

    file: str
    keep: tuple[str, ...] = ()
    expand: Mapping[str, str] = FrozenDict()
    preprocessing: Inputs | None = None

    def __post_init__(self):
        object.__setattr__(self, "expand", FrozenDict(self.expand))  # hashable


@dataclasses.dataclass(frozen=True, kw_only=True)
class FromRun:
    """Start from the best checkpoint of an earlier run, as every stage after the first.

    Attributes:
        run: name of the run's folder, next to this run's.
        keep: new layers that the run lacks and that are no zero score layers.
    """

    run: str
    keep: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class FromRuns:
    """Start each stream of a `LateFusion` from the best checkpoint of an earlier run.

    Attributes:
        runs: name of the run's folder, next to this run's, by the stream's name.
    """

    runs: Mapping[str, str]

    def __post_init__(self):
        object.__setattr__(self, "runs", FrozenDict(self.runs))  # hashable


Start = FromScratch | FromWeights | FromRun | FromRuns


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides what a run computes; nothing of where it runs. No defaults.

    Attributes:
        model: the net.
        train_set: trained on.
        validation_set: evaluated on.
        start: where the parameters come from.
        optimizer: called without arguments, gives an optax transformation.
        loss: `loss(scores, labels, sizes=sizes)`, such as `fcn_jax.losses.Softmax`.
        batch_size: images per forward pass.
        accumulate: forward passes per update (Caffe's `iter_size`).
        steps: updates.
        with_replacement: draw every image from the whole set, as the reference does, rather than
            in shuffled epochs.
        augment: what is done to the images, or None.
        frozen: layers that do not learn.
        absent: which classes the mean IU leaves out.
        evaluate_every: steps between evaluations; 0 for one at the end.
        checkpoint_every: steps between checkpoints; evaluations save one too.
        seed: of initial parameters, order, augmentation and dropout.
    """

    model: nn.Module
    train_set: Source
    validation_set: Source
    start: Start
    optimizer: Callable[[], optax.GradientTransformation]
    loss: Callable[..., Any]
    batch_size: int
    accumulate: int
    steps: int
    with_replacement: bool
    augment: Augment | None
    frozen: tuple[str, ...]
    absent: Absent
    evaluate_every: int
    checkpoint_every: int
    seed: int

    def __post_init__(self):
        for field in ("batch_size", "accumulate", "steps"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} must be at least 1, found {getattr(self, field)}")
        for field in ("evaluate_every", "checkpoint_every"):
            if getattr(self, field) < 0:
                raise ValueError(f"{field} must be at least 0, found {getattr(self, field)}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be in [0, 2**32), found {self.seed}")
        net, data = by_name(self.model.num_classes), by_name(self.train_set.num_classes)  # type: ignore[attr-defined]
        if net != data:
            raise ValueError(
                f"the net has {_classes(net)}, {type(self.train_set).__name__} has "
                f"{_classes(data)}; make them the same"
            )


def by_name(value: Any) -> dict[str, Any]:
    """A dictionary as it is, anything else under the name ""."""
    return dict(value) if isinstance(value, Mapping) else {"": value}


def _classes(counts: dict[str, int]) -> str:
    return " and ".join(f"{k} {name} classes".replace("  ", " ") for name, k in counts.items())


def describe(value: Any) -> Any:
    """A value as JSON: dataclasses and modules with their class, enums and types by name.

    Linen's own fields (`parent`, `name`) and where a data set lies (`root`) are left out.
    """
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, type):
        return value.__name__
    if (parts := _parts(value)) is not None:
        of_class = parts.pop("class")
        fields = {name: describe(item) for name, item in parts.items()}
        return fields if of_class is None else {"class": of_class, **fields}
    if isinstance(value, tuple | list):
        return [describe(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    return getattr(value, "__name__", repr(value))


_RETIRED = {"border_skipping", "row_tiles", "rematerialise"}
"""Fields of nets and trunks before version 0.2, which say nothing of what a net computes."""


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
    parts = _parts(value)
    if parts is None or not isinstance(stored, dict) or stored.get("class") != parts.pop("class"):
        if stored != (here := describe(value)):
            yield f"{path}: the folder has {json.dumps(stored)}, this recipe {json.dumps(here)}"
        return
    for key in dict.fromkeys([*stored, *parts]):
        inner = f"{path}.{key}" if path else key
        if key not in stored:
            stored_then = describe(_default(value, key))
            yield from differences(stored_then, parts[key], inner)
        elif key in parts:
            yield from differences(stored[key], parts[key], inner)
        elif key not in _RETIRED | {"class"}:
            yield f"{inner}: the folder has {json.dumps(stored[key])}, this recipe nothing"


def _default(value: Any, name: str) -> Any:
    """The default of a dataclass's field; None where it has none."""
    fields = dataclasses.fields(value) if dataclasses.is_dataclass(value) else ()
    field = next((f for f in fields if f.name == name), None)
    if field is None or field.default is field.default_factory:
        return None
    if field.default is not dataclasses.MISSING:
        return field.default
    return field.default_factory() if callable(field.default_factory) else None


def _parts(value: Any) -> dict[str, Any] | None:
    """What a dataclass or a mapping consists of, with its class (None for a mapping)."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        hidden = {"parent", "name"} if isinstance(value, nn.Module) else {"root"}
        names = [f.name for f in dataclasses.fields(value) if f.init and f.name not in hidden]
        return {"class": type(value).__name__, **{name: getattr(value, name) for name in names}}
    if isinstance(value, Mapping):
        return {"class": None, **value}
    return None


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
