"""One update of the parameters: a pure function, jitted over a mesh; the state is donated."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from fcn_jax.devices.compiling import jit
from fcn_jax.devices.mesh import spread_rows, spreads_rows
from fcn_jax.losses import takes_coarse_scores
from fcn_jax.nn.coarse_scores import scores_of
from fcn_jax.nn.savings import use_for_rows
from fcn_jax.training.state import State, state_shardings, variables_of

Batch = dict[str, Any]
"""`image` uint8 (b, h, w, 3) RGB and `label` uint8 (b, h, w) with 255 ignored, or float32 depths;
each is a dictionary by name if the net has several. `size` int32 (b, 2) unless every image fills
the canvas."""


def _split(batch: Batch, passes: int) -> Batch:
    """Gives image i to pass `i % passes`, so that every pass stays spread over the devices."""
    return jax.tree.map(lambda x: jnp.moveaxis(x.reshape(-1, passes, *x.shape[1:]), 1, 0), batch)


def _wide(label: Any) -> Any:
    """Classes as int32; measurements, such as depths, as they are."""
    return label.astype(jnp.int32) if jnp.issubdtype(label.dtype, jnp.integer) else label


def _objective(net: nn.Module, loss: Any, preprocess: Any, mesh: Mesh | None) -> Callable[..., Any]:
    """Loss and new batch statistics of one pass."""

    def objective(learning: Any, frozen: Any, stats: Any, batch: Batch, key: Any):
        sizes = batch.get("size")
        apply = functools.partial(scores_of, net) if takes_coarse_scores(loss) else net.apply
        scores, changed = apply(
            variables_of(learning, frozen, stats),
            spread_rows(mesh, preprocess(batch["image"], sizes)),
            sizes=sizes,
            train=True,
            rngs={"dropout": key},
            mutable=["batch_stats"],
        )
        labels = jax.tree.map(_wide, batch["label"])
        scores, labels = spread_rows(mesh, (scores, labels))
        return loss(scores, labels, sizes=sizes), changed.get("batch_stats", stats)

    return objective


def _check_loss(loss: Callable[..., Any]) -> None:
    """Raises ValueError for a function of other arguments, such as optax's per-pixel losses."""
    try:
        inspect.signature(loss).bind(None, None, sizes=None)
    except TypeError:
        raise ValueError(
            f"{loss} cannot be called as loss(scores, labels, sizes=sizes); make such a loss of a "
            "function (logits, labels) -> (b, h, w) by fcn_jax.losses.PerPixel"
        ) from None


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
        net: a net; its scores go to the loss.
        optimizer: an optax transformation; its state is in `State.opt_state`.
        loss: `loss(scores, labels, sizes=sizes)` to a scalar.
        preprocess: `preprocess(images, sizes)`, uint8 to the net's input.
        seed: dropout at step n derives from (seed, n) alone.
        accumulate: passes per update. The batch holds `accumulate` times as many images as one
            pass; losses and gradients are summed and divided by it, as Caffe's `iter_size`.
        mesh: the devices, with the axes `data` and `space` (see `fcn_jax.devices.mesh`); None
            leaves every array where it is.
        shard_optimizer: the optimizer's state is divided along `data`, before and after the step.
    """
    _check_loss(loss)
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
        if mesh is not None:
            shardings = state_shardings(new, mesh, shard_optimizer=shard_optimizer)
            new = jax.lax.with_sharding_constraint(new, shardings)
        return new, {"loss": value}

    return train_step
