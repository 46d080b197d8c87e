"""Depthwise convolution on a CPU: a sum of shifted maps, each times its tap of the kernel.

XLA's own convolution of as many groups as channels does about 0.5 billion operations a second on a
CPU core, and its gradients are slower still; a sum of products does 20.
"""

import functools
from collections.abc import Iterator

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from fcn_jax.arithmetic import ceil_div


def shifted_products(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "k k 1 c"],
    stride: int,
    padding: tuple[int, int],
    dilation: int,
) -> Float[Array, "b y x c"]:
    """The convolution; arguments as in `convolve`."""
    reach = (kernel.shape[0] - 1) * dilation + 1
    h, w = ((n + sum(padding) - reach) // stride + 1 for n in x.shape[1:3])
    padded = _padded(x, padding, padding)
    products = (
        _cells(padded, i * dilation, j * dilation, h, w, stride) * kernel[i, j, 0]
        for i, j in _taps(kernel.shape[0])
    )
    return functools.reduce(jnp.add, products)


def gradients(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "k k 1 c"],
    g: Float[Array, "b y x c"],
    stride: int,
    padding: tuple[int, int],
    dilation: int,
) -> tuple[Float[Array, "b h w c"], Float[Array, "k k 1 c"]]:
    """The gradients of `x` and of the kernel, from that of the result, `g`."""
    of_kernel = _of_kernel(_padded(x, padding, padding), g, kernel.shape[0], stride, dilation)
    return _of_input(x, kernel, g, stride, padding, dilation), of_kernel[:, :, None]


def _of_kernel(padded, g, k, stride, dilation):
    """Row by row: a row of `g` and the rows that it sees stay in the cache for all taps."""
    b, h, w, c = g.shape

    def add_row(row, total):
        seen = lax.dynamic_slice_in_dim(padded, row * stride, (k - 1) * dilation + 1, 1)
        g_row = lax.dynamic_slice_in_dim(g, row, 1, 1)
        taps = (_cells(seen, i * dilation, j * dilation, 1, w, stride) for i, j in _taps(k))
        return total + jnp.stack([jnp.sum(tap * g_row, (1, 2)) for tap in taps])

    total = lax.fori_loop(0, h, add_row, jnp.zeros((k * k, b, c), g.dtype))
    return total.sum(1).reshape(k, k, c)


def _of_input(x, kernel, g, stride, padding, dilation):
    """By phases: cells `stride` apart see the same taps."""
    phases = [
        _phase(kernel.shape[0], start, padding[0], stride, dilation) for start in range(stride)
    ]
    shifts = [shift for taps in phases for _, shift in taps]
    low = max(-min(shifts), 0)
    rows, columns = (ceil_div(n, stride) for n in x.shape[1:3])
    high = [max(n + max(shifts) - m, 0) for n, m in zip((rows, columns), g.shape[1:3], strict=True)]
    padded = _padded(g, (low, high[0]), (low, high[1]))

    def cells(rows_of, columns_of):
        products = (
            _cells(padded, low + a, low + b, rows, columns, 1) * kernel[i, j, 0]
            for i, a in rows_of
            for j, b in columns_of
        )
        return sum(products, jnp.zeros((), g.dtype))

    shape = (len(x), rows, columns, x.shape[3])
    if stride == 1:
        return cells(phases[0], phases[0])
    parts = [[jnp.broadcast_to(cells(a, b), shape) for b in phases] for a in phases]
    whole = jnp.stack([jnp.stack(row, 3) for row in parts], 2)
    whole = whole.reshape(len(x), rows * stride, columns * stride, -1)
    return whole[:, : x.shape[1], : x.shape[2]]


def _phase(k, start, low, stride, dilation):
    """The taps that see cells `start`, `start + stride`, …; and how far before them `g` lies."""
    distances = ((i, start + low - i * dilation) for i in range(k))
    return [(i, distance // stride) for i, distance in distances if distance % stride == 0]


def _taps(k: int) -> Iterator[tuple[int, int]]:
    return ((i, j) for i in range(k) for j in range(k))


def _padded(x, rows, columns):
    """A copy: with the padding in the sum, every product would look whether it is outside."""
    return lax.optimization_barrier(jnp.pad(x, ((0, 0), rows, columns, (0, 0))))


def _cells(x, top, left, h, w, stride):
    """The `h` x `w` cells from a corner on, `stride` apart."""
    return x[
        :, top : top + (h - 1) * stride + 1 : stride, left : left + (w - 1) * stride + 1 : stride
    ]
