"""Batch normalisation with the statistics of the batch, and its gradient."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from fcn_jax.nn import savings
from fcn_jax.nn.ops.sums import channel_sums


def moments(
    x: Float[Array, "b h w c"], inside: Bool[Array, "b h w 1"] | None
) -> tuple[Float[Array, " c"], Float[Array, " c"], Float[Array, ""]]:
    """Mean and variance of each channel over the cells inside, and the number of cells."""
    add = channel_sums if savings.current().fast_operations else _plain_sums
    if inside is None:
        count = jnp.float32(x[..., 0].size)
        mean = add(x) / count
        return mean, add(jnp.square(x - mean)) / count, count
    count = jnp.maximum(jnp.sum(inside), 1).astype(jnp.float32)
    mean = add(jnp.where(inside, x, 0)) / count
    return mean, add(jnp.where(inside, jnp.square(x - mean), 0)) / count, count


def normalize_batch(
    x: Float[Array, "b h w c"],
    inside: Bool[Array, "b h w 1"] | None,
    scale: Float[Array, " c"],
    bias: Float[Array, " c"],
    epsilon: float,
) -> tuple[Float[Array, "b h w c"], Any]:
    """The normalised batch, and its `moments` (which have no gradient).

    The gradient takes the sums of two products; by JAX's rules it would take more of them, with
    reductions that are slow on a CPU.

    Args:
        x: float32.
        inside: the cells that count; the result is zero at all others. None if all count.
        scale: of each channel.
        bias: of each channel.
        epsilon: added to the variance.
    """
    run: Any = _normalize if savings.current().fast_operations else _plain_normalize
    out, found = run(epsilon, x, inside, scale, bias)
    return out, jax.tree.map(lax.stop_gradient, found)


def _plain_sums(x):
    return jnp.sum(x, (0, 1, 2))


def _only(inside, x):
    return x if inside is None else jnp.where(inside, x, 0)


def _plain_normalize(epsilon, x, inside, scale, bias) -> tuple[Any, Any]:
    found = mean, var, _ = moments(x, inside)
    factor = lax.rsqrt(var + epsilon) * scale
    return _only(inside, (x - mean) * factor + bias), found


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _normalize(epsilon, x, inside, scale, bias) -> Any:
    return _plain_normalize(epsilon, x, inside, scale, bias)


def _forward(epsilon, x, inside, scale, bias):
    out, found = _plain_normalize(epsilon, x, inside, scale, bias)
    return (out, found), (x, inside, scale, found)


def _backward(epsilon, kept, gradients):
    """Source: Ioffe and Szegedy 2015, section 3, with the mean and the variance put in."""
    x, inside, scale, (mean, var, count) = kept
    g, spread = _only(inside, gradients[0]), lax.rsqrt(var + epsilon)
    of_bias = channel_sums(g)
    of_scale = channel_sums(g * (x - mean)) * spread
    normal = (x - mean) * spread
    of_x = spread * scale * (g - (of_bias + normal * of_scale) / count)
    return _only(inside, of_x), None, of_scale, of_bias


_normalize.defvjp(_forward, _backward)
