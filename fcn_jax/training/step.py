"""One update: pure, jitted over a mesh, the state donated."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from fcn_jax.compiling import jit
from fcn_jax.training.state import State, variables_of

Batch = dict[str, Any]
"""`image` uint8 (b, h, w, 3) RGB, `label` uint8 (b, h, w) with 255 ignored, each a dictionary by
name where there are several, and, unless every image fills the canvas, `size` int32 (b, 2)."""


def make_mesh(batch_size: int, devices: list[Any] | None = None) -> Mesh:
    """A mesh with the axes `data` (images) and `space` (rows).

    It has as many devices as divide the batch; one for the reference's batch of one.
    """
    devices = jax.devices() if devices is None else devices
    n = max(n for n in range(1, len(devices) + 1) if batch_size % n == 0)
    axes = (AxisType.Auto, AxisType.Auto)
    return jax.make_mesh((n, 1), ("data", "space"), axis_types=axes, devices=devices[:n])


def replicate(mesh: Mesh, tree: Any) -> Any:
    """The tree, whole on every device of the mesh. Always copies: a step donates its state."""
    return jax.tree.map(
        lambda x: jnp.copy(jax.device_put(x, NamedSharding(mesh, PartitionSpec()))), tree
    )


def shard_batch(mesh: Mesh, batch: Batch) -> Batch:
    """A process's rows of the batch as global arrays, images over `data`, rows over `space`."""
    specs = {"size": PartitionSpec("data")}
    full = PartitionSpec("data", "space")
    return {
        key: jax.tree.map(
            functools.partial(_place, NamedSharding(mesh, specs.get(key, full))), value
        )
        for key, value in batch.items()
    }


def _place(sharding: NamedSharding, value: Any) -> Any:
    return jax.make_array_from_process_local_data(sharding, np.asarray(value))


def _split(batch: Batch, passes: int) -> Batch:
    """Image i to pass `i % passes`, so that every pass stays spread over the devices."""
    return jax.tree.map(lambda x: jnp.moveaxis(x.reshape(-1, passes, *x.shape[1:]), 1, 0), batch)


def make_train_step(
    net: nn.Module,
    optimizer: optax.GradientTransformation,
    loss: Callable[..., Any],
    preprocess: Callable[..., Any],
    *,
    seed: int,
    accumulate: int = 1,
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
    """

    def objective(learning: Any, frozen: Any, stats: Any, batch: Batch, key: Any):
        sizes = batch.get("size")
        scores, changed = net.apply(
            variables_of(learning, frozen, stats),
            preprocess(batch["image"], sizes),
            sizes=sizes,
            train=True,
            rngs={"dropout": key},
            mutable=["batch_stats"],
        )
        labels = jax.tree.map(lambda label: label.astype(jnp.int32), batch["label"])
        return loss(scores, labels, sizes=sizes), changed.get("batch_stats", stats)

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
        value, gradient, stats = run(state, batch, key)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.learning)
        learning = optax.apply_updates(state.learning, updates)
        new = State(state.step + 1, learning, state.frozen, stats, opt_state)
        return new, {"loss": value}

    return train_step
