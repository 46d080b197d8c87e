"""What training carries from step to step."""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from fcn_jax.nets.inputs import placeholder
from fcn_jax.optim import merge, trainable


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
    """Everything that a step changes; a pytree of arrays.

    Attributes:
        step: int32 scalar, updates made so far.
        learning: parameters that learn, flat, by path (`trunk/conv1_1/kernel`), float32.
        frozen: parameters that do not; they have neither gradient nor optimizer state.
        batch_stats: running averages of batch norms, nested; empty without batch norm.
        opt_state: the optimizer's.
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

    Drawn with the `rbg` generator, whose program compiles several times faster than the default's.
    """
    images = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), placeholder(net))
    return jax.jit(net.init)(jax.random.key(seed, impl="rbg"), images)


def zero_variables(net: nn.Module) -> Any:
    """A net's variables, all zero: what weights are put into."""
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
        variables: of the net, nested.
        optimizer: an optax transformation.
        frozen: layers that do not learn (see `fcn_jax.optim.trainable`).
        place: puts a copy of a tree of arrays on the devices; a step donates its state, and
            must not take the caller's variables with it.
        place_optimizer: the same for the optimizer's state, if it goes elsewhere.
    """
    learning, rest = trainable(variables["params"], frozen)
    learning, rest = place(learning), place(rest)
    stats = place(variables.get("batch_stats", {}))
    opt_state = (place_optimizer or place)(jax.jit(optimizer.init)(learning))
    return State(place(jnp.zeros((), jnp.int32)), learning, rest, stats, opt_state)
