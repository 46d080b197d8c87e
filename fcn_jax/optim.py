"""Optimizers as values: frozen dataclasses that a recipe holds and a run calls.

`CaffeSGD(...)()` builds an `optax.GradientTransformation`. Any other callable without arguments
that returns one is an optimizer too, such as `functools.partial(optax.lion, 1e-4)`. The train step
accumulates gradients over k forward passes: an optimizer gets their sum divided by k, as with
Caffe's `iter_size`, so weight decay is applied once.

Parameters are named by their path, `trunk/conv1_1/kernel`; a layer, by one or more consecutive
components of it: `trunk`, `conv1_1`, `fire2/squeeze1x1`.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax
from flax import traverse_util


@dataclasses.dataclass(frozen=True, kw_only=True)
class CaffeSGD:
    """Caffe's stochastic gradient descent, which is not `optax.sgd`.

    `g += weight_decay * decay_mult * w`, `v = momentum * v + learning_rate * lr_mult * g`,
    `w -= v`. The learning rate is inside the velocity: after it drops, old velocity keeps the old
    rate, where `optax.sgd` would shrink it at once. Weight decay passes through the momentum.
    See `equivalent_momentum` for the momentum of another batch size.

    Attributes:
        learning_rate: a number, or an optax schedule from the number of updates to a rate.
        momentum: fraction of the velocity that is kept, in [0, 1).
        weight_decay: factor of the weights in the gradient.
        bias_multiplier: learning rate of a bias over that of a kernel (`lr_mult`).
        bias_decay: weight decay of a bias over that of a kernel (`decay_mult`).
        plain: layers whose biases are treated as kernels: Caffe's default where a layer has no
            `param` block, as in the trunk of voc-fcn-alexnet.

    Raises:
        ValueError: a value is out of its range. `init` raises it for a layer in `plain` that the
            net does not have.

    Source: `SGDSolver::ApplyUpdate` of Caffe; `net.py` of the reference for 2 and 0.
    """

    learning_rate: float | optax.Schedule
    momentum: float
    weight_decay: float
    bias_multiplier: float = 2.0
    bias_decay: float = 0.0
    plain: tuple[str, ...] = ()

    def __post_init__(self):
        if not callable(self.learning_rate):
            _check_range("learning_rate", self.learning_rate, 0)
        _check_range("momentum", self.momentum, 0, 1)
        _check_range("weight_decay", self.weight_decay, 0)

    def __call__(self) -> optax.GradientTransformation:
        """Builds the transformation; its update is to be added to the parameters."""

        def is_bias(path: str) -> bool:
            return f"/{path}".endswith("/bias") and not _in_any(path, self.plain)

        def lr_mult(path: str) -> float:
            return self.bias_multiplier if is_bias(path) else 1.0

        def decay_mult(path: str) -> float:
            return self.bias_decay if is_bias(path) else 1.0

        return optax.chain(
            _check_layers(self.plain),
            _by_path(lambda path, g, w: g + self.weight_decay * decay_mult(path) * w),
            optax.scale_by_learning_rate(self.learning_rate),
            _by_path(lambda path, g, w: lr_mult(path) * g),
            optax.trace(decay=self.momentum),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdamW:
    """Adam with decoupled weight decay, a linear warm-up and a cosine to the end.

    Attributes:
        learning_rate: the rate at the end of the warm-up.
        weight_decay: decoupled decay of kernels; biases and other vectors have none.
        warmup_steps: updates of linear warm-up; the first has `learning_rate / warmup_steps`.
        total_steps: updates of the whole run, warm-up included.
        end_factor: the cosine's end, right after the last update, as a factor of `learning_rate`.
        b1: decay of the first moment.
        b2: decay of the second moment.
        multipliers: learning rate factors by layer, `(("trunk", 0.1),)`; where several name a
            parameter, their product counts.
        clip_norm: the largest global norm of the gradient, or None.

    Raises:
        ValueError: a value is out of its range. `init` raises it for a layer in `multipliers` that
            the net does not have.

    Source: Loshchilov and Hutter, "Decoupled weight decay regularization", 2019.
    """

    learning_rate: float
    weight_decay: float
    warmup_steps: int
    total_steps: int
    end_factor: float = 0.0
    b1: float = 0.9
    b2: float = 0.999
    multipliers: tuple[tuple[str, float], ...] = ()
    clip_norm: float | None = None

    def __post_init__(self):
        _check_range("learning_rate", self.learning_rate, 0)
        _check_range("weight_decay", self.weight_decay, 0)
        _check_range("end_factor", self.end_factor, 0)
        _check_range("total_steps", self.total_steps, 1)
        _check_range("warmup_steps", self.warmup_steps, 0, self.total_steps)
        _check_range("b1", self.b1, 0, 1)
        _check_range("b2", self.b2, 0, 1)

    def __call__(self) -> optax.GradientTransformation:
        """Builds the transformation; its update is to be added to the parameters."""

        def lr_mult(path: str) -> float:
            factors = (value for layer, value in self.multipliers if in_layer(path, layer))
            return math.prod(factors, start=1.0)

        schedule = optax.warmup_cosine_decay_schedule(
            init_value=self.learning_rate / max(self.warmup_steps, 1),
            peak_value=self.learning_rate,
            warmup_steps=max(self.warmup_steps - 1, 0),
            decay_steps=self.total_steps,
            end_value=self.learning_rate * self.end_factor,
        )
        return optax.chain(
            _check_layers(tuple(name for name, _ in self.multipliers)),
            optax.clip_by_global_norm(self.clip_norm) if self.clip_norm else optax.identity(),
            optax.scale_by_adam(b1=self.b1, b2=self.b2),
            optax.add_decayed_weights(
                self.weight_decay, lambda params: jax.tree.map(lambda p: p.ndim > 1, params)
            ),
            _by_path(lambda path, g, w: lr_mult(path) * g),
            optax.scale_by_learning_rate(schedule),
        )


def equivalent_momentum(momentum: float, batch_size: int, *, new_batch_size: int = 1) -> float:
    """Momentum that gives past images the same weight at another batch size: `p**(k' / k)`.

    0.9 over 20 images is 0.9947 over single images, which the paper rounds to 0.99.

    Source: FCN (TPAMI) section 4.2.
    """
    return momentum ** (new_batch_size / batch_size)


def trainable(params: Mapping, frozen: tuple[str, ...]) -> tuple[dict, dict]:
    """Splits nested parameters into those that learn and those that do not.

    Args:
        params: nested mapping of names to arrays.
        frozen: layers that do not learn; `("trunk",)` leaves only the score layers.

    Returns:
        Two flat dicts from path, `trunk/conv1_1/kernel`, to array: learning, frozen. `merge`
        undoes the split.

    Raises:
        ValueError: a name in `frozen` that no parameter has.
    """
    flat = traverse_util.flatten_dict(params, sep="/")
    _check_names(frozen, list(flat))
    rest = {path: value for path, value in flat.items() if _in_any(path, frozen)}
    return {path: value for path, value in flat.items() if path not in rest}, rest


def merge(learning: Mapping[str, Any], frozen: Mapping[str, Any]) -> dict:
    """Nested parameters from the two flat dicts of `trainable`.

    Raises:
        ValueError: a parameter is in both.
    """
    if both := sorted(learning.keys() & frozen.keys()):
        raise ValueError(f"{both} are in both dicts; pass the two dicts that `trainable` returned")
    return traverse_util.unflatten_dict({**learning, **frozen}, sep="/")


def in_layer(path: str, layer: str) -> bool:
    """Whether the parameter at `path` belongs to a layer, `conv1_1` or `trunk/conv1_1`."""
    return f"/{layer}/" in f"/{path}/"


def _in_any(path: str, layers: tuple[str, ...]) -> bool:
    return any(in_layer(path, layer) for layer in layers)


def _path(keys: tuple) -> str:
    return jax.tree_util.keystr(keys, simple=True, separator="/")


def _by_path(function: Callable[[str, Any, Any], Any]) -> optax.GradientTransformation:
    """Replaces each update by `function(path, update, parameter)`."""

    def update(updates: Any, params: Any) -> Any:
        return jax.tree_util.tree_map_with_path(
            lambda keys, *leaves: function(_path(keys), *leaves), updates, params
        )

    return optax.stateless(update)


def _check_layers(layers: tuple[str, ...]) -> optax.GradientTransformation:
    """Changes nothing; its `init` raises ValueError if a layer has no parameter."""

    def init(params: Any) -> optax.EmptyState:
        leaves = jax.tree_util.tree_leaves_with_path(params)
        _check_names(layers, [_path(keys) for keys, _ in leaves])
        return optax.EmptyState()

    return optax.GradientTransformation(init, optax.identity().update)


def _check_names(layers: tuple[str, ...], paths: list[str]) -> None:
    unknown = [layer for layer in layers if not any(in_layer(path, layer) for path in paths)]
    if unknown:
        known = sorted({path.rsplit("/", 1)[0] for path in paths})
        raise ValueError(
            f"no parameter belongs to {unknown}; expected a layer of {known}, or consecutive"
            " components of one. Correct the name."
        )


def _check_range(name: str, value: Any, low: int, high: Any = math.inf) -> None:
    if not low <= value < high:
        raise ValueError(f"{name} must be in [{low}, {high}); found {value}. Correct the recipe.")
