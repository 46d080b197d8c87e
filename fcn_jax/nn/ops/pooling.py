"""Max pooling."""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from fcn_jax.arithmetic import ceil_div
from fcn_jax.nn import savings
from fcn_jax.nn.feature_map import conv_size, pool_size


def _pad_to_windows(x: Array, kernel: int, stride: int, padding: int, ceil_mode: bool) -> Array:
    """`x` with -inf around it, so that windows that the edge clips are complete."""
    pads = [(0, 0)]
    for n in x.shape[1:3]:
        out = (pool_size if ceil_mode else conv_size)(n, kernel, stride, padding)
        pads.append((padding, max((out - 1) * stride + kernel - n - padding, 0)))
    return jnp.pad(x, (*pads, (0, 0)), constant_values=-jnp.inf)


def _windows(x: Array, kernel: int, stride: int, out: tuple[int, int]) -> list[Array]:
    """The `kernel`² strided slices of `x`: slice t holds element t of each of `out` windows."""
    rows, columns = ((n - 1) * stride + 1 for n in out)
    return [
        x[:, i : i + rows : stride, j : j + columns : stride]
        for i in range(kernel)
        for j in range(kernel)
    ]


def max_pool(
    x: Float[Array, "b h w c"],
    kernel: int,
    stride: int,
    padding: int = 0,
    ceil_mode: bool = True,
) -> Float[Array, "b i j c"]:
    """Max pooling; the gradient goes to the first maximum of each window.

    With `ceil_mode`, a last window that is clipped at the edge counts; otherwise it does not.

    The maximum of strided slices, and a gradient by comparison, are several times faster on a CPU
    than `reduce_window` and its select-and-scatter, which is the gradient on a TPU.

    Source: BVLC/caffe pooling_layer.cpp (ceil mode, clipped windows, first maximum wins).
    """
    if savings.current().fast_operations:
        return _max_pool(x, kernel, stride, padding, ceil_mode)
    return _reduced(x, kernel, stride, padding, ceil_mode)


def _reduced(x, kernel, stride, padding, ceil_mode):
    window, strides = (1, kernel, kernel, 1), (1, stride, stride, 1)
    padded = _pad_to_windows(x, kernel, stride, padding, ceil_mode)
    return lax.reduce_window(padded, -jnp.inf, lax.max, window, strides, "VALID")


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4))
def _max_pool(x, kernel, stride, padding, ceil_mode):
    length = pool_size if ceil_mode else conv_size
    out = tuple(length(n, kernel, stride, padding) for n in x.shape[1:3])
    padded = _pad_to_windows(x, kernel, stride, padding, ceil_mode)
    return functools.reduce(jnp.maximum, _windows(padded, kernel, stride, (out[0], out[1])))


def _max_pool_forward(x, kernel, stride, padding, ceil_mode):
    y = _max_pool(x, kernel, stride, padding, ceil_mode)
    return y, (x, y)


def _max_pool_backward(kernel, stride, padding, ceil_mode, residuals, gradient):
    geometry = {"kernel": kernel, "stride": stride, "padding": padding, "ceil_mode": ceil_mode}
    tpu = functools.partial(_by_selection, **geometry)
    default = functools.partial(_by_comparison, **geometry)
    return (lax.platform_dependent(*residuals, gradient, tpu=tpu, default=default),)


def _by_selection(x, _, gradient, kernel, stride, padding, ceil_mode):
    """By XLA's select-and-scatter: comparisons make a TPU change the layout of its maps."""
    return jax.vjp(lambda x: _reduced(x, kernel, stride, padding, ceil_mode), x)[1](gradient)[0]


def _by_comparison(x, y, gradient, kernel, stride, padding, ceil_mode):
    """By strided slices: a window's gradient goes to the first of its elements that equals `y`."""
    b, h, w, c = y.shape
    padded = _pad_to_windows(x, kernel, stride, padding, ceil_mode)
    taken = jnp.zeros(y.shape, bool)
    shares = []
    for values in _windows(padded, kernel, stride, (h, w)):
        hit = (values == y) & ~taken
        taken |= hit
        shares.append(jnp.where(hit, gradient, 0))
    # Cells of one phase (row and column modulo the stride) belong to few window elements: sum the
    # shifted shares of these, and interleave the phases.
    reach = ceil_div(kernel, stride)
    rows, columns = h + reach - 1, w + reach - 1
    lines = []
    for row_phase in range(stride):
        phases = []
        for column_phase in range(stride):
            total = jnp.zeros((b, rows, columns, c), gradient.dtype)
            for i in range(row_phase, kernel, stride):
                for j in range(column_phase, kernel, stride):
                    p, q = i // stride, j // stride
                    before_after = ((0, 0), (p, reach - 1 - p), (q, reach - 1 - q), (0, 0))
                    total += jnp.pad(shares[i * kernel + j], before_after)
            phases.append(total)
        lines.append(jnp.stack(phases, 3).reshape(b, rows, columns * stride, c))
    full = jnp.stack(lines, 2).reshape(b, rows * stride, columns * stride, c)
    missing = [(0, max(m - n, 0)) for m, n in zip(padded.shape[1:3], full.shape[1:3], strict=True)]
    full = jnp.pad(full, ((0, 0), *missing, (0, 0)))
    return full[:, padding : padding + x.shape[1], padding : padding + x.shape[2]]


_max_pool.defvjp(_max_pool_forward, _max_pool_backward)
