"""The array operations under the layers, written for speed: pooling and upsampling.

Everything here is plain `(b, h, w, c)` arrays; grids and true sizes are the layers' business.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from fcn_jax.feature_map import pool_size


def _pad_to_windows(x: Array, kernel: int, stride: int, padding: int) -> Array:
    """-inf around `x` so that every (clipped) window is whole, and never smaller than `x`."""
    pads = [(0, 0)]
    for n in x.shape[1:3]:
        out = pool_size(n, kernel, stride, padding)
        pads.append((padding, max((out - 1) * stride + kernel - n - padding, 0)))
    if not any(sum(p) for p in pads):
        return x
    return jnp.pad(x, (*pads, (0, 0)), constant_values=-jnp.inf)


def _windows(x: Array, kernel: int, stride: int, out: tuple[int, int]) -> list[Array]:
    """The `kernel`² strided slices of `x`, in window order: slice t holds element t of each."""
    (h, w), last = out, lambda n, i: i + (n - 1) * stride + 1
    return [
        x[:, i : last(h, i) : stride, j : last(w, j) : stride]
        for i in range(kernel)
        for j in range(kernel)
    ]


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def max_pool(
    x: Float[Array, "b h w c"], kernel: int, stride: int, padding: int = 0
) -> Float[Array, "b i j c"]:
    """Ceil-mode max pooling; the gradient goes to the first maximum of each window.

    The maximum of strided slices and a gradient by comparison: several times faster on a CPU
    than `reduce_window` and its select-and-scatter.

    Source: BVLC/caffe pooling_layer.cpp (ceil mode, clipped windows, first maximum wins).
    """
    out = tuple(pool_size(n, kernel, stride, padding) for n in x.shape[1:3])
    padded = _pad_to_windows(x, kernel, stride, padding)
    return functools.reduce(jnp.maximum, _windows(padded, kernel, stride, (out[0], out[1])))


def _max_pool_forward(x, kernel, stride, padding):
    y = max_pool(x, kernel, stride, padding)
    return y, (x, y)


def _max_pool_backward(kernel, stride, padding, residuals, gradient):
    x, y = residuals
    b, h, w, c = y.shape
    padded_shape = jax.eval_shape(lambda v: _pad_to_windows(v, kernel, stride, padding), x).shape
    padded = _pad_to_windows(x, kernel, stride, padding)
    taken = jnp.zeros(y.shape, bool)
    shares = []
    for values in _windows(padded, kernel, stride, (h, w)):
        hit = (values == y) & ~taken
        taken |= hit
        shares.append(jnp.where(hit, gradient, 0))
    # Cells of one phase (row and column modulo the stride) are hit through few window elements;
    # sum those, shifted, and interleave the phases.
    reach = -(-kernel // stride)
    rows, columns = h + reach - 1, w + reach - 1
    lines = []
    for a in range(stride):
        phases = []
        for e in range(stride):
            total = jnp.zeros((b, rows, columns, c), gradient.dtype)
            for i in range(a, kernel, stride):
                for j in range(e, kernel, stride):
                    p, q = i // stride, j // stride
                    before_after = ((0, 0), (p, reach - 1 - p), (q, reach - 1 - q), (0, 0))
                    total += jnp.pad(shares[i * kernel + j], before_after)
            phases.append(total)
        lines.append(jnp.stack(phases, 3).reshape(b, rows, columns * stride, c))
    full = jnp.stack(lines, 2).reshape(b, rows * stride, columns * stride, c)
    missing = [(0, max(m - n, 0)) for m, n in zip(padded_shape[1:3], full.shape[1:3], strict=True)]
    full = jnp.pad(full, ((0, 0), *missing, (0, 0)))
    p = padding
    return (full[:, p : p + x.shape[1], p : p + x.shape[2]],)


max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def convolve(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "k k i o"],
    stride: int,
    padding: int,
    groups: int,
) -> Float[Array, "b y x o"]:
    """Convolution (cross-correlation) with zero padding, floor mode.

    Large dense kernels, such as fc6's 7x7, are matrix products on a CPU, where the convolution
    and above all its gradient are many times slower.
    """
    if kernel.shape[0] >= 5 and kernel.shape[2] >= 64 and stride == groups == 1:
        return _large_conv(x, kernel, padding)
    return _plain_conv(x, kernel, stride, padding, groups)


def _plain_conv(x, kernel, stride, padding, groups):
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((padding, padding), (padding, padding)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


@jax.custom_vjp
def add_bias(x: Float[Array, "b h w c"], bias: Float[Array, " c"]) -> Float[Array, "b h w c"]:
    """`x + bias`; on a CPU the bias's gradient is a matrix product, several times faster there."""
    return x + bias


def _add_bias_backward(_, gradient):
    def by_product(g):
        rows = g.reshape(-1, g.shape[-1])
        return jnp.ones((1, rows.shape[0]), g.dtype) @ rows

    total = lax.platform_dependent(
        gradient, cpu=by_product, default=lambda g: jnp.sum(g, (0, 1, 2))[None]
    )
    return gradient, total[0]


add_bias.defvjp(lambda x, bias: (x + bias, None), _add_bias_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _large_conv(x, kernel, padding):
    return lax.platform_dependent(
        x,
        kernel,
        cpu=lambda x, kernel: _conv_by_product(x, kernel, padding),
        default=lambda x, kernel: _plain_conv(x, kernel, 1, padding, 1),
    )


def _conv_by_product(x, kernel, padding):
    k, p = kernel.shape[0], padding
    padded = jnp.pad(x, ((0, 0), (p, p), (p, p), (0, 0)))
    h, w = padded.shape[1] - k + 1, padded.shape[2] - k + 1
    slices = [padded[:, i : i + h, j : j + w] for i in range(k) for j in range(k)]
    patches = jnp.stack(slices, 3).reshape(x.shape[0] * h * w, -1)
    return (patches @ kernel.reshape(-1, kernel.shape[3])).reshape(x.shape[0], h, w, -1)


def _large_conv_backward(padding, residuals, gradient):
    # Chosen per platform once more, so that neither branch keeps what only the other needs.
    def backward(function):
        return lambda x, kernel, g: jax.vjp(function, x, kernel)[1](g)

    return lax.platform_dependent(
        *residuals,
        gradient,
        cpu=backward(lambda x, kernel: _conv_by_product(x, kernel, padding)),
        default=backward(lambda x, kernel: _plain_conv(x, kernel, 1, padding, 1)),
    )


_large_conv.defvjp(
    lambda x, kernel, p: (_large_conv(x, kernel, p), (x, kernel)), _large_conv_backward
)


def bilinear_filter(kernel: int) -> Float[np.ndarray, " k"]:
    """The taps of bilinear upsampling along one axis; kernel 4 gives .25 .75 .75 .25.

    Source: shelhamer/fcn.berkeleyvision.org surgery.py, upsample_filt.
    """
    factor = (kernel + 1) // 2
    centre = factor - 1 if kernel % 2 else factor - 0.5
    return (1 - np.abs(np.arange(kernel) - centre) / factor).astype(np.float32)


def upsample_axis(x: Array, taps: np.ndarray, factor: int, axis: int) -> Array:
    """Transposed convolution along one axis with fixed taps, same for every channel.

    `factor` outputs of one block are all the phases of the filter on the same few inputs, so
    this is `ceil(k / factor)` scaled copies of `x`: no multiplications with inserted zeros.

    Args:
        x: array whose axis `axis` has n cells.
        taps: `(k,)` float32.
        factor: stride of the transposed convolution.
        axis: which axis.

    Returns:
        The array with `factor * (n - 1) + k` cells along `axis`.
    """
    k, n = len(taps), x.shape[axis]
    reach = -(-k // factor)
    phases = np.zeros((reach, factor), np.float32)
    phases.reshape(-1)[:k] = taps
    widths = [(0, 0)] * x.ndim
    widths[axis] = (reach - 1, reach - 1)
    padded = jnp.pad(x, widths)
    blocks = n + reach - 1
    shape = [1] * (x.ndim + 1)
    shape[axis + 1] = factor
    total = 0
    for t in range(reach):
        part = lax.slice_in_dim(padded, reach - 1 - t, reach - 1 - t + blocks, axis=axis)
        phase = jnp.asarray(phases[t].reshape(shape), x.dtype)
        total = total + jnp.expand_dims(part, axis + 1) * phase
    merged = jnp.reshape(total, (*x.shape[:axis], blocks * factor, *x.shape[axis + 1 :]))
    return lax.slice_in_dim(merged, 0, factor * (n - 1) + k, axis=axis)


def transposed_conv(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k k c"], factor: int
) -> Float[Array, "b i j c"]:
    """Transposed convolution with one kernel per channel, by phases (see `upsample_axis`).

    Cell `(i, j)` adds `x[i, j] * kernel` to the cells from `(factor * i, factor * j)` on.
    """
    b, h, w, c = x.shape
    k = kernel.shape[0]
    reach = -(-k // factor)
    extra = reach * factor - k
    phases = jnp.pad(kernel, ((0, extra), (0, extra), (0, 0)))
    phases = phases.reshape(reach, factor, reach, factor, c)
    edge = reach - 1
    padded = jnp.pad(x, ((0, 0), (edge, edge), (edge, edge), (0, 0)))
    rows, columns = h + edge, w + edge
    total = 0
    for s in range(reach):
        for t in range(reach):
            top, left = edge - s, edge - t
            part = padded[:, top : top + rows, left : left + columns]
            total = total + part[:, :, None, :, None] * phases[s, :, t][:, None]
    merged = jnp.reshape(total, (b, rows * factor, columns * factor, c))
    return merged[:, : factor * (h - 1) + k, : factor * (w - 1) + k]
