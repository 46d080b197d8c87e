"""Depthwise convolutions, 1x1 convolutions and batch norms: as fast operations and as XLA's."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcn_jax.nn import savings
from fcn_jax.nn.ops import convolve
from fcn_jax.nn.ops.normalizing import normalize_batch
from fcn_jax.nn.ops.sums import channel_sums


def compare(function, *arrays, close):
    """Result and gradients, with fast operations and without."""

    def both():
        out, pull = jax.vjp(function, *arrays)
        weights = jnp.cos(jnp.arange(out.size, dtype=out.dtype)).reshape(out.shape)
        return out, pull(weights)

    options = {"xla_backend_optimization_level": 0}
    fast = jax.jit(both, compiler_options=options)()
    with savings.use(fast_operations=False):
        close(fast, jax.jit(both, compiler_options=options)())


def draw(*shape):
    return jnp.asarray(np.random.default_rng(len(shape)).normal(size=shape), jnp.float32)


GEOMETRIES = [
    (kernel, stride, padding, 1)
    for (kernel, padding), stride in itertools.product(
        [(3, (1, 1)), (3, (0, 2)), (5, (1, 3)), (5, (2, 2)), (3, (0, 0))], (1, 2)
    )
] + [(3, 1, (2, 2), 2), (3, 3, (1, 1), 1), (5, 2, (4, 3), 2), (7, 1, (3, 3), 1)]


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), GEOMETRIES)
def test_depthwise_is_the_grouped_convolution(kernel, stride, padding, dilation, close):
    reach = (kernel - 1) * dilation + 1
    for h, w in ((1, 2), (8, 7), (13, 20)):
        if min(h, w) + sum(padding) >= reach:
            compare(
                lambda x, k: convolve(x, k, stride, padding, 6, dilation),
                draw(2, h, w, 6),
                draw(kernel, kernel, 1, 6),
                close=close,
            )


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_pointwise_is_the_convolution(stride, close):
    for h, w in ((1, 1), (7, 6)):
        run = lambda x, k: convolve(x, k, stride, 0, 1)  # noqa: E731
        compare(run, draw(2, h, w, 5), draw(1, 1, 5, 7), close=close)


@pytest.mark.parametrize("ragged", [False, True])
def test_batch_norm_and_its_gradient(ragged, close):
    x = draw(3, 9, 7, 5) * 3 + 2
    inside = None
    if ragged:
        inside = jnp.asarray(np.random.default_rng(0).random((3, 9, 7, 1)) < 0.6)
        x = jnp.where(inside, x, 0)

    def run(x, scale, bias):
        return normalize_batch(x, inside, scale, bias, 1e-3)[0]

    compare(run, x, draw(5), draw(5) + 1, close=close)
    _, (mean, var, count) = normalize_batch(x, inside, draw(5), draw(5), 1e-3)
    cells = np.asarray(x)[np.ones(x.shape[:3], bool) if inside is None else inside[..., 0]]
    assert count == len(cells)
    np.testing.assert_allclose(mean, cells.mean(0), rtol=1e-5)
    np.testing.assert_allclose(var, cells.var(0), rtol=1e-5)


@pytest.mark.parametrize("rows", [1, 5, 8, 21])
def test_sums_of_channels_lose_no_digits(rows):
    x = np.random.default_rng(0).uniform(1, 2, (2, rows, 700, 3)).astype(np.float32)
    exact = x.astype(np.float64).sum((0, 1, 2))
    np.testing.assert_allclose(channel_sums(jnp.asarray(x)), exact, rtol=1e-6)
