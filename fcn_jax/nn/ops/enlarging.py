"""Transposed convolutions by phases, without multiplications with inserted zeros."""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from fcn_jax.arithmetic import ceil_div
from fcn_jax.nn import savings


def bilinear_filter(kernel: int) -> Float[np.ndarray, " k"]:
    """The taps of bilinear upsampling along one axis; kernel 4 gives .25 .75 .75 .25.

    Source: shelhamer/fcn.berkeleyvision.org surgery.py, upsample_filt.
    """
    factor = (kernel + 1) // 2
    centre = factor - 1 if kernel % 2 else factor - 0.5
    return (1 - np.abs(np.arange(kernel) - centre) / factor).astype(np.float32)


def upsample_axis(x: Array, taps: np.ndarray, factor: int, axis: int) -> Array:
    """Transposed convolution along one axis with fixed taps, same for every channel.

    The `factor` outputs of one block are all phases of the filter on the same few inputs, so the
    result is the sum of `ceil(k / factor)` scaled copies of `x`.

    Args:
        x: array whose axis `axis` has n cells.
        taps: `(k,)` float32.
        factor: stride of the transposed convolution.
        axis: which axis.

    Returns:
        The array with `factor * (n - 1) + k` cells along `axis`.
    """
    k, n = len(taps), x.shape[axis]
    if not savings.current().fast_operations:
        lines = jnp.moveaxis(x, axis, -1)
        kernel = jnp.asarray(taps[:, None, None, None], x.dtype)
        out = spread_conv(lines.reshape(-1, n, 1, 1), kernel, (factor, 1))
        return jnp.moveaxis(out.reshape(*lines.shape[:-1], -1), -1, axis)
    reach = ceil_div(k, factor)
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


def upsampling_matrix(
    taps: Float[np.ndarray, " k"], factor: int, cells: int
) -> Float[np.ndarray, "m n"]:
    """The transposed convolution of `upsample_axis` as a matrix, from `cells` cells to all."""
    matrix = np.zeros((factor * (cells - 1) + len(taps), cells), np.float32)
    for cell in range(cells):
        matrix[factor * cell : factor * cell + len(taps), cell] = taps
    return matrix


def transposed_conv(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k k c"], factor: int
) -> Float[Array, "b i j c"]:
    """Transposed convolution with one kernel per channel, by phases (see `upsample_axis`).

    Cell `(i, j)` adds `x[i, j] * kernel` to the cells from `(factor * i, factor * j)` on.
    """
    (b, h, w, c), k = x.shape, kernel.shape[0]
    if not savings.current().fast_operations:
        return spread_conv(x, kernel[:, :, None], (factor, factor), groups=c)
    reach = ceil_div(k, factor)
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


def spread_conv(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "m n i o"],
    factors: tuple[int, int],
    groups: int = 1,
) -> Float[Array, "b y x o"]:
    """Transposed convolution as XLA has it: a convolution over inserted zeros.

    Cell `(i, j)` adds `x[i, j] * kernel` to the cells from `(factors[0] * i, factors[1] * j)` on.
    """
    m, n = kernel.shape[:2]
    return lax.conv_general_dilated(
        x,
        kernel[::-1, ::-1],
        (1, 1),
        ((m - 1, m - 1), (n - 1, n - 1)),
        lhs_dilation=factors,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )
