"""One update: pure, jitted over a mesh, the state donated."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fcn_jax.devices.compiling import jit
from fcn_jax.devices.mesh import make_mesh as make_mesh
from fcn_jax.devices.mesh import over_data, spread_rows, spreads_rows
from fcn_jax.devices.mesh import replicate as replicate
from fcn_jax.devices.mesh import shard_batch as shard_batch
from fcn_jax.nn.coarse_scores import scores_of
from fcn_jax.nn.savings import use_for_rows
from fcn_jax.training.state import State, variables_of

Batch = dict[str, Any]
"""`image` uint8 (b, h, w, 3) RGB, `label` uint8 (b, h, w) with 255 ignored, each a dictionary by
name where there are several, and, unless every image fills the canvas, `size` int32 (b, 2)."""


def _split(batch: Batch, passes: int) -> Batch:
    """Image i to pass `i % passes`, so that every pass stays spread over the devices."""
    return jax.tree.map(lambda x: jnp.moveaxis(x.reshape(-1, passes, *x.shape[1:]), 1, 0), batch)


def _kept_in_place(state: State, mesh: Mesh | None, shard_optimizer: bool) -> State:
    """The state laid out as it came: whole everywhere, but for an optimizer state over `data`."""
    if mesh is None:
        return state
    whole = NamedSharding(mesh, PartitionSpec())
    places = jax.tree.map(lambda _: whole, state)
    if shard_optimizer:
        over = jax.tree.map(lambda x: over_data(mesh, x), state.opt_state)
        places = places.replace(opt_state=over)
    return jax.lax.with_sharding_constraint(state, places)


def _objective(net: nn.Module, loss: Any, preprocess: Any, mesh: Mesh | None) -> Callable[..., Any]:
    """Loss and new batch statistics of one pass."""

    def objective(learning: Any, frozen: Any, stats: Any, batch: Batch, key: Any):
        sizes = batch.get("size")
        scores, changed = scores_of(
            net,
            variables_of(learning, frozen, stats),
            spread_rows(mesh, preprocess(batch["image"], sizes)),
            sizes=sizes,
            train=True,
            rngs={"dropout": key},
            mutable=["batch_stats"],
        )
        labels = jax.tree.map(lambda label: label.astype(jnp.int32), batch["label"])
        scores, labels = spread_rows(mesh, (scores, labels))
        return loss(scores, labels, sizes=sizes), changed.get("batch_stats", stats)

    return objective


def make_train_step(
    net: nn.Module,
    optimizer: optax.GradientTransformation,
    loss: Callable[..., Any],
    preprocess: Callable[..., Any],
    *,
    seed: int,
    accumulate: int = 1,
    mesh: Mesh | None = None,
    shard_optimizer: bool = False,
) -> Callable[[State, Batch], tuple[State, dict[str, Any]]]:
    """The jitted step `(state, batch) -> (state, {"loss": float32 scalar})`.

    Args:
        net: the net; its scores go to the loss.
        optimizer: an optax transformation; its state is in `State.opt_state`.
        loss: `loss(scores, labels, sizes=sizes)` to a scalar.
        preprocess: `preprocess(images, sizes)`, uint8 to the net's input.
        seed: dropout at step n derives from (seed, n) alone.
        accumulate: passes per update. The batch holds `accumulate` times as many images as one
            pass; losses and gradients are summed and divided by it, as Caffe's `iter_size`.
        mesh: the devices, with the axes `data` and `space` (see
            `fcn_jax.devices.mesh`); None leaves it to the arguments' own places.
        shard_optimizer: the optimizer's state comes and stays spread over `data`.
    """
    objective = _objective(net, loss, preprocess, mesh)
    differentiate = jax.value_and_grad(objective, has_aux=True)

    def one_pass(state: State, batch: Batch, key: Any):
        (value, stats), gradient = differentiate(
            state.learning, state.frozen, state.batch_stats, batch, key
        )
        return value, gradient, stats

    def many_passes(state: State, batch: Batch, key: Any):
        def body(carry: Any, item: Any):
            total, sums, stats = carry
            index, part = item
            value, gradient, stats = one_pass(
                state.replace(batch_stats=stats), part, jax.random.fold_in(key, index)
            )
            return (total + value, jax.tree.map(jnp.add, sums, gradient), stats), None

        start = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, state.learning), state.batch_stats)
        passes = jnp.arange(accumulate), _split(batch, accumulate)
        (total, sums, stats), _ = jax.lax.scan(body, start, passes)
        return total / accumulate, jax.tree.map(lambda g: g / accumulate, sums), stats

    @jit(donate_argnums=0)
    def train_step(state: State, batch: Batch) -> tuple[State, dict[str, Any]]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        run = one_pass if accumulate == 1 else many_passes
        with use_for_rows(spreads_rows(mesh)):
            value, gradient, stats = run(state, batch, key)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.learning)
        learning = optax.apply_updates(state.learning, updates)
        new = State(state.step + 1, learning, state.frozen, stats, opt_state)
        return _kept_in_place(new, mesh, shard_optimizer), {"loss": value}

    return train_step
