"""A recipe: the science of one run, as a value that compares, prints and is written to disk."""

import dataclasses
import enum
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import optax

from fcn_jax.data.source import Source
from fcn_jax.data.transforms import Augment
from fcn_jax.metrics import Absent
from fcn_jax.preprocessing import Preprocessing


@dataclasses.dataclass(frozen=True, kw_only=True)
class FromScratch:
    """Random trunk, zero scores.

    Attributes:
        preprocessing: what the net is to take.
    """

    preprocessing: Preprocessing


@dataclasses.dataclass(frozen=True, kw_only=True)
class FromWeights:
    """Start from a classifier's converted weights, whose file says what preprocessing it takes.

    Attributes:
        file: name of the file in the weights folder, e.g. `vgg16.safetensors`.
        keep: new layers that the file lacks and that are no zero score layers.
    """

    file: str
    keep: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class FromRun:
    """Start from the best checkpoint of an earlier run, as every stage after the first.

    Attributes:
        run: name of the run's folder, next to this run's.
        keep: new layers that the run lacks and that are no zero score layers.
    """

    run: str
    keep: tuple[str, ...] = ()


Start = FromScratch | FromWeights | FromRun


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
        sets, model = self.train_set, self.model
        if sets.num_classes != model.num_classes:  # type: ignore[attr-defined]
            raise ValueError(
                f"the net has {model.num_classes} classes, "  # type: ignore[attr-defined]
                f"{type(sets).__name__} has {sets.num_classes}; make them the same"
            )


def describe(value: Any) -> Any:
    """A value as JSON: dataclasses and modules with their class, enums and types by name.

    Fields that say where something lies (`root`) and linen's own (`parent`, `name`) are left out.
    """
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, type):
        return value.__name__
    if dataclasses.is_dataclass(value):
        hidden = {"root", "parent", "name"}
        names = [f.name for f in dataclasses.fields(value) if f.init and f.name not in hidden]
        fields = {name: describe(getattr(value, name)) for name in names}
        return {"class": type(value).__name__, **fields}
    if isinstance(value, tuple | list):
        return [describe(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    return getattr(value, "__name__", repr(value))


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
