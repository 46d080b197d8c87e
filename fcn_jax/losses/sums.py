"""Losses that are a function of sums over all pixels, such as a ratio of two sums."""

import dataclasses
import functools
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer

from fcn_jax.losses.per_pixel import NetScores
from fcn_jax.nn.coarse_scores import CoarseScores, loss_over_tiles, sum_over_tiles


def loss_of_sums(
    term: Callable[[Array, Array], Any],
    finish: Callable[[Any], Array],
    scores: NetScores,
    labels: Integer[Array, "b h w"],
) -> Float[Array, ""]:
    """`finish(term(scores, labels))`; of coarse scores, `term` gets a few rows at a time.

    Coarse scores are taken in row tiles twice, as `finish` needs the sums of all rows before a row
    has a gradient: once for the sums, and once for the gradient of the sums, weighted with the
    gradient of `finish`. Scores of every pixel are never in memory.

    Args:
        term: from scores (b, r, w, k) and labels (b, r, w) of some rows to a tree of float32 sums
            over these rows.
        finish: from the sums over all rows to a scalar.
        scores: of every pixel, or coarse.
        labels: class or 255 of every pixel.
    """
    if not isinstance(scores, CoarseScores):
        return finish(term(scores, labels))
    return _of_tiles(term, finish, scores, labels)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _of_tiles(term, finish, scores, labels):
    return finish(sum_over_tiles(term, scores, labels))


def _forward(term, finish, scores, labels):
    value, slopes = jax.value_and_grad(finish)(sum_over_tiles(term, scores, labels))

    def weighted(scores: Array, labels: Array) -> Array:
        parts = jax.tree.map(lambda slope, s: jnp.sum(slope * s), slopes, term(scores, labels))
        return jax.tree.reduce(operator.add, parts)

    def total(values: Any, weights: Any) -> Array:
        own = dataclasses.replace(scores, values=values, weights=weights)
        return loss_over_tiles(weighted, own, labels)

    values, weights = jax.grad(total, argnums=(0, 1))(scores.values, scores.weights)
    return value, dataclasses.replace(
        scores, values=values, weights=weights, extent=None, sizes=None
    )


def _backward(term, finish, gradient, cotangent):
    return jax.tree.map(lambda g: g * cotangent, gradient), None


_of_tiles.defvjp(_forward, _backward)


def mean_where(
    values: Float[Array, "..."], counted: Bool[Array, "..."], axis: int | None = None
) -> Float[Array, "..."]:
    """The mean of the counted values; 0 where none counts."""
    total = jnp.sum(jnp.where(counted, values, 0.0), axis=axis)
    return total / jnp.maximum(jnp.sum(counted, axis=axis), 1)


def power(base: Float[Array, "..."], exponent: float) -> Float[Array, "..."]:
    """`base ** exponent` of values that are not negative, with gradient 0 where the base is 0.

    There the gradient would be infinite for exponents below 1, and so NaN further down.
    """
    positive = base > 0
    return jnp.where(positive, jnp.where(positive, base, 1.0) ** exponent, 0.0**exponent)
