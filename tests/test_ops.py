import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from naive import scatter_add

from fcn_jax.nn.ops import (
    add_bias,
    bilinear_filter,
    convolve,
    max_pool,
    relu,
    transposed_conv,
    upsample_axis,
)
from fcn_jax.nn.ops.pooling import _by_comparison, _by_selection


def windows(n, kernel, stride, padding):
    """The cells of every window along one axis, as Caffe clips them."""
    out = 1 if n + 2 * padding < kernel else -(-(n + 2 * padding - kernel) // stride) + 1
    while out > 1 and (out - 1) * stride - padding >= n:
        out -= 1
    starts = [i * stride - padding for i in range(out)]
    return [range(max(s, 0), min(s + kernel, n)) for s in starts]


def slow_max_pool(x, gradient_of, kernel, stride, padding):
    """Caffe's loop: the maximum of each window, and its gradient to the first maximum."""
    b, h, w, c = x.shape
    rows, columns = windows(h, kernel, stride, padding), windows(w, kernel, stride, padding)
    y = np.zeros((b, len(rows), len(columns), c), x.dtype)
    gradient, weights = np.zeros_like(x), gradient_of(y.shape)
    for n, i, j, k in np.ndindex(y.shape):
        best = None
        for r in rows[i]:
            for q in columns[j]:
                if best is None or x[n, r, q, k] > x[n, best[0], best[1], k]:
                    best = (r, q)
        y[n, i, j, k] = x[n, best[0], best[1], k]
        gradient[n, best[0], best[1], k] += weights[n, i, j, k]
    return y, gradient, weights


@settings(max_examples=16)
@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(2, 3),
    st.integers(1, 3),
    st.integers(0, 1),
    st.integers(0, 9),
)
def test_max_pool_is_caffe_s_loop(h, w, kernel, stride, padding, seed):
    rng = np.random.default_rng(seed)
    # Few values, so that ties are everywhere; all negative, so that zero padding would show.
    x = rng.integers(-3, 0, (2, h, w, 1)).astype(np.float32)
    y, gradient, weights = slow_max_pool(
        x, lambda shape: rng.normal(size=shape).astype(np.float32), kernel, stride, padding
    )

    def both(x, weights):
        found, pullback = jax.vjp(lambda v: max_pool(v, kernel, stride, padding), x)
        return found, pullback(weights)[0]

    found = jax.jit(both, compiler_options={"xla_backend_optimization_level": 0})(x, weights)
    np.testing.assert_array_equal(found[0], y)
    np.testing.assert_allclose(found[1], gradient, atol=1e-6)


@pytest.mark.parametrize("ceil_mode", [True, False])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (3, 2, 0), (3, 2, 1)])
def test_both_gradients_of_max_pool_are_one(kernel, stride, padding, ceil_mode):
    rng = np.random.default_rng(1)
    x = jnp.asarray(rng.integers(0, 3, (2, 9, 8, 5)).astype(np.float32))  # with ties
    y = max_pool(x, kernel, stride, padding, ceil_mode)
    gradient = jnp.asarray(rng.normal(size=y.shape).astype(np.float32))
    found = [
        way(x, y, gradient, kernel, stride, padding, ceil_mode)
        for way in (_by_selection, _by_comparison)
    ]
    np.testing.assert_allclose(*found, atol=1e-6)


def test_relu_and_its_gradient():
    x = jnp.asarray([-1.0, -0.0, 0.0, 2.0, jnp.inf, -jnp.inf, jnp.nan])
    np.testing.assert_array_equal(relu(x), jax.nn.relu(x))
    gradients = [jax.vjp(f, x)[1](jnp.arange(1.0, 8.0))[0] for f in (relu, jax.nn.relu)]
    np.testing.assert_array_equal(*gradients)


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 6, 7, 10, 16, 63, 64])
def test_bilinear_filter_is_the_reference_s(kernel):
    factor = (kernel + 1) // 2
    centre = factor - 1 if kernel % 2 == 1 else factor - 0.5
    expected = [1 - abs(i - centre) / factor for i in range(kernel)]
    np.testing.assert_allclose(bilinear_filter(kernel), expected, rtol=1e-6)


def test_bilinear_filter_s_known_taps():
    np.testing.assert_array_equal(bilinear_filter(4), np.float32([0.25, 0.75, 0.75, 0.25]))
    assert bilinear_filter(64)[0] == 0.015625
    assert bilinear_filter(63)[0] == 0.03125


@pytest.mark.parametrize("factor, kernel", [(2, 4), (2, 3), (3, 5), (3, 2), (2, 5), (1, 3)])
def test_upsampling_is_scatter_add(factor, kernel):
    rng = np.random.default_rng(kernel)
    x = rng.normal(size=(2, 3, 4, 2)).astype(np.float32)
    taps = rng.normal(size=kernel).astype(np.float32)  # asymmetric: orientation shows
    found = upsample_axis(upsample_axis(jnp.asarray(x), taps, factor, 1), taps, factor, 2)
    dense = np.einsum("k,l,cd->klcd", taps, taps, np.eye(2))
    np.testing.assert_allclose(found, scatter_add(x, dense, factor), atol=1e-5)
    each = rng.normal(size=(kernel, kernel, 2)).astype(np.float32)
    found = transposed_conv(jnp.asarray(x), jnp.asarray(each), factor)
    dense = np.einsum("klc,cd->klcd", each, np.eye(2))
    np.testing.assert_allclose(found, scatter_add(x, dense, factor), atol=1e-5)


LARGE = [(6, 7, 64, 5, 1, padding, 1) for padding in (0, 2)]
GROUPED = [(6, 7, 6, 3, 1, 1, 2), (6, 7, 6, 2, 2, 0, 3), (6, 7, 12, 3, 1, 1, 6)]
STRIDED = [
    (h, w, 3, kernel, stride, padding, 1)
    for h, w in [(11, 12), (14, 19)]
    for kernel, stride in [(7, 2), (11, 4), (2, 3), (1, 2)]
    for padding in (0, 3)
]


@pytest.mark.parametrize("h, w, channels, k, stride, padding, groups", LARGE + STRIDED + GROUPED)
def test_every_way_to_convolve_is_the_convolution(h, w, channels, k, stride, padding, groups):
    """Value and both gradients, against the plain convolution on either side of the switch."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, h, w, channels)), jnp.float32)
    kernel = rng.normal(size=(k, k, channels // groups, 3 * groups)) / k / channels**0.5
    kernel = jnp.asarray(kernel, jnp.float32)

    def plain(x, kernel):
        pads = ((padding, padding), (padding, padding))
        numbers, strides = ("NHWC", "HWIO", "NHWC"), (stride, stride)
        return lax.conv_general_dilated(
            x, kernel, strides, pads, dimension_numbers=numbers, feature_group_count=groups
        )

    def both(x, kernel):
        y, pullback = jax.vjp(lambda x, k: convolve(x, k, stride, padding, groups), x, kernel)
        expected, plain_pullback = jax.vjp(plain, x, kernel)
        weights = jnp.asarray(rng.normal(size=expected.shape), jnp.float32)
        return (y, *pullback(weights)), (expected, *plain_pullback(weights))

    for found, expected in zip(*jax.jit(both)(x, kernel), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_bias_s_gradient_is_the_sum_over_the_cells():
    rng = np.random.default_rng(0)
    x, bias = rng.normal(size=(2, 3, 4, 5)), rng.normal(size=5)
    weights = jnp.asarray(rng.normal(size=x.shape), jnp.float32)
    y, pullback = jax.vjp(add_bias, jnp.asarray(x, jnp.float32), jnp.asarray(bias, jnp.float32))
    np.testing.assert_allclose(y, x + bias, atol=1e-6)
    of_x, of_bias = pullback(weights)
    np.testing.assert_array_equal(of_x, weights)
    np.testing.assert_allclose(of_bias, np.asarray(weights).sum((0, 1, 2)), atol=1e-5)
