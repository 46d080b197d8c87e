"""The state that training carries from step to step."""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from fcn_jax.devices.mesh import data_sharding, replicated_sharding
from fcn_jax.nets.inputs import placeholder
from fcn_jax.optim import merge, trainable


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
    """Everything that a step changes; a pytree of arrays.

    Attributes:
        step: int32 scalar, updates made so far.
        learning: parameters that learn, flat, by path (`trunk/conv1_1/kernel`), float32.
        frozen: the other parameters; they have neither gradient nor optimizer state.
        batch_stats: running averages of batch norms, nested; empty without batch norm.
        opt_state: state of the optimizer.
    """

    step: Any
    learning: Any
    frozen: Any
    batch_stats: Any
    opt_state: Any

    @property
    def variables(self) -> dict[str, Any]:
        """The nested variables that `net.apply` takes."""
        return variables_of(self.learning, self.frozen, self.batch_stats)

    def replace(self, **changes: Any) -> "State":
        """A copy with some attributes changed."""
        return dataclasses.replace(self, **changes)


def variables_of(learning: Any, frozen: Any, batch_stats: Any) -> dict[str, Any]:
    """The nested variables of a net from the parts of a state."""
    variables: dict[str, Any] = {"params": merge(learning, frozen)}
    return {**variables, "batch_stats": batch_stats} if batch_stats else variables


def initial_variables(net: nn.Module, seed: int) -> Any:
    """A net's variables at the start.

    They are drawn with the `rbg` generator: its program compiles several times faster than that of
    JAX's default generator.
    """
    images = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), placeholder(net))
    return jax.jit(net.init)(jax.random.key(seed, impl="rbg"), images)


def zero_variables(net: nn.Module) -> Any:
    """A net's variables, all zero, to be replaced by weights."""
    shapes = jax.eval_shape(net.init, jax.random.key(0), placeholder(net))
    return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)


def create_state(
    variables: Any,
    optimizer: optax.GradientTransformation,
    *,
    frozen: tuple[str, ...] = (),
    place: Callable[[Any], Any] = lambda tree: jax.tree.map(jnp.copy, tree),
    place_optimizer: Callable[[Any], Any] | None = None,
) -> State:
    """The state before the first step.

    Args:
        variables: the net's variables, nested.
        optimizer: an optax transformation.
        frozen: layers that do not learn (see `fcn_jax.optim.trainable`).
        place: puts a copy of a tree of arrays on the devices. It must copy: a step donates its
            state, and the caller's variables must stay.
        place_optimizer: the same for the optimizer's state; `place` by default.
    """
    learning, rest = trainable(variables["params"], frozen)
    learning, rest = place(learning), place(rest)
    stats = place(variables.get("batch_stats", {}))
    opt_state = (place_optimizer or place)(jax.jit(optimizer.init)(learning))
    return State(place(jnp.zeros((), jnp.int32)), learning, rest, stats, opt_state)


def not_finite(state: State) -> list[str]:
    """The names of the arrays that hold a value that is infinite or not a number."""
    named = [
        (jax.tree_util.keystr(path, simple=True, separator="/"), leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
        if jnp.issubdtype(leaf.dtype, jnp.floating)
    ]
    finite = _finite([leaf for _, leaf in named])
    return [name for (name, _), good in zip(named, finite, strict=True) if not good]


@jax.jit
def _finite(arrays: list[Any]) -> Any:
    """Whether all values of each array are finite: bool, one per array."""
    return [jnp.isfinite(array).all() for array in arrays]


def state_shardings(state: State, mesh: Mesh, *, shard_optimizer: bool) -> State:
    """The sharding of every array of a state: replicated on every device of the mesh.

    Args:
        state: arrays or their shapes.
        mesh: the devices.
        shard_optimizer: the optimizer's state is divided along `data` instead.
    """
    replicated = jax.tree.map(lambda _: replicated_sharding(mesh), state)
    divided = jax.tree.map(lambda x: data_sharding(mesh, x), state.opt_state)
    return replicated.replace(opt_state=divided) if shard_optimizer else replicated
