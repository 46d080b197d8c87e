"""Convolution and bias."""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from fcn_jax.nn import savings

_FEW = 4  # groups; or channels: colours, or colours and depth


def convolve(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "k k i o"],
    stride: int,
    padding: int,
    groups: int,
) -> Float[Array, "b y x o"]:
    """Convolution (cross-correlation) with zero padding, floor mode.

    Large dense kernels, fc6 and fc7, are matrix products on a CPU, where the convolution and
    above all its gradient are slower, that of fc6 many times. Strided kernels on few channels,
    such as conv1 of AlexNet, GoogLeNet and SqueezeNet, see blocks of `stride`² cells as one cell.
    A few groups, such as AlexNet's two, are as many convolutions: on a CPU the gradient of a
    grouped kernel takes six to eight times as long. The gradient of any kernel takes two to four
    times as long there if the zeros around the map are only imagined: it is given a padded copy.
    """
    if not savings.current().fast_operations:
        return _plain_conv(x, kernel, stride, padding, groups)
    if 1 < groups <= _FEW:
        parts = zip(jnp.split(x, groups, -1), jnp.split(kernel, groups, -1), strict=True)
        return jnp.concatenate([convolve(x, k, stride, padding, 1) for x, k in parts], -1)
    if is_product(kernel.shape, stride, groups):
        return _large_conv(x, kernel, padding)
    if stride > 1 and groups == 1 and kernel.shape[2] <= _FEW:
        return _conv_by_blocks(x, kernel, stride, padding)
    if padding:
        return _padded_conv(x, kernel, stride, padding, groups)
    return _plain_conv(x, kernel, stride, padding, groups)


def is_product(shape: tuple[int, ...], stride: int, groups: int) -> bool:
    """Whether a kernel `(k, k, i, o)` is on a CPU the matrix of a product."""
    k, _, i, o = shape
    large = i >= 64 if k >= 5 else k == 1 and i * o >= 2**22
    return large and stride == groups == 1


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _padded_conv(x, kernel, stride, padding, groups):
    return _plain_conv(x, kernel, stride, padding, groups)


def _padded_conv_backward(stride, padding, groups, residuals, gradient):
    def plainly(x, kernel, g):
        conv = functools.partial(_plain_conv, stride=stride, padding=padding, groups=groups)
        return jax.vjp(conv, x, kernel)[1](g)

    def from_padded(x, kernel, g):
        def conv(kernel):
            padded = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
            return _plain_conv(padded, kernel, stride, 0, groups)

        return plainly(x, kernel, g)[0], jax.vjp(conv, kernel)[1](g)[0]

    return lax.platform_dependent(*residuals, gradient, cpu=from_padded, default=plainly)


_padded_conv.defvjp(
    lambda x, kernel, *static: (_padded_conv(x, kernel, *static), (x, kernel)),
    _padded_conv_backward,
)


def _conv_by_blocks(x, kernel, stride, padding):
    """A convolution of stride 1 over blocks of cells, the channels of a block side by side.

    The kernel is padded to whole blocks. Accelerators fill their lanes better; on a CPU the
    gradient of the weights is three to five times faster at batch 1, where XLA has no fast
    convolution for the strided one.
    """
    k, s, c = kernel.shape[0], stride, x.shape[3]
    blocks = -(-k // s)
    widths = [(0, 0)]
    for n in x.shape[1:3]:
        cells = ((n + 2 * padding - k) // s + blocks) * s
        widths.append((padding, cells - n - padding))  # negative: cells that no window sees
    x = lax.pad(x, jnp.zeros((), x.dtype), [(*width, 0) for width in (*widths, (0, 0))])
    b, h, w, _ = x.shape
    x = x.reshape(b, h // s, s, w // s, s, c).transpose(0, 1, 3, 2, 4, 5)
    more = (0, blocks * s - k)
    kernel = jnp.pad(kernel, (more, more, (0, 0), (0, 0)))
    kernel = kernel.reshape(blocks, s, blocks, s, c, -1).transpose(0, 2, 1, 3, 4, 5)
    x = x.reshape(b, h // s, w // s, s * s * c)
    return _plain_conv(x, kernel.reshape(blocks, blocks, s * s * c, -1), 1, 0, 1)


def _plain_conv(x, kernel, stride, padding, groups):
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((padding, padding), (padding, padding)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def add_bias(x: Float[Array, "b h w c"], bias: Float[Array, " c"]) -> Float[Array, "b h w c"]:
    """`x + bias`; on a CPU the bias's gradient is a matrix product, several times faster there."""
    return _add_bias(x, bias) if savings.current().fast_operations else x + bias


@jax.custom_vjp
def _add_bias(x, bias):
    return x + bias


def _add_bias_backward(_, gradient):
    def by_product(g):
        rows = g.reshape(-1, g.shape[-1])
        return jnp.ones((1, rows.shape[0]), g.dtype) @ rows

    total = lax.platform_dependent(
        gradient, cpu=by_product, default=lambda g: jnp.sum(g, (0, 1, 2))[None]
    )
    return gradient, total[0]


_add_bias.defvjp(lambda x, bias: (x + bias, None), _add_bias_backward)


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
