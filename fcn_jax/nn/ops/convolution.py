"""Convolution, and what follows it: bias and ReLU."""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from fcn_jax.arithmetic import ceil_div
from fcn_jax.nn import savings
from fcn_jax.nn.feature_map import Padding, low_high
from fcn_jax.nn.ops import depthwise

_FEW = 4  # groups; or channels of an image: colours, or colours and depth


def convolve(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "k k i o"],
    stride: int,
    padding: Padding,
    groups: int,
    dilation: int = 1,
) -> Float[Array, "b y x o"]:
    """Convolution (cross-correlation) with zero padding, floor mode.

    A few groups (AlexNet's two) are computed as separate convolutions: on a CPU the gradient of a
    grouped kernel takes six to eight times as long. Depthwise convolutions are sums of shifted
    products there (see `depthwise.py`). The gradients of a 1x1 convolution are matrix products,
    where XLA would transpose the maps and the kernel first. Large dense kernels (fc6, fc7) are
    matrix products on a CPU, where the convolution is slower, and its gradient even more, that of
    fc6 many times. Strided kernels on few channels (conv1 of AlexNet, GoogLeNet and SqueezeNet)
    take blocks of `stride`² cells as one cell. For all others a CPU computes the kernel's gradient
    on a padded copy of the map, in a half to a quarter of the time that it takes when XLA adds the
    zeros.

    Args:
        x: the map.
        kernel: the kernel; `i` is `c / groups`.
        stride: cells between outputs.
        padding: zero cells on every side, or before and after.
        groups: channel groups.
        dilation: cells between the kernel's taps.
    """
    padding = low_high(padding)
    geometry = stride, padding, groups, dilation
    if not savings.current().fast_operations:
        return _plain_conv(x, kernel, *geometry)
    if groups > _FEW and kernel.shape[2:] == (1, groups):
        return _depthwise(x, kernel, stride, padding, dilation)
    if 1 < groups <= _FEW:
        parts = zip(jnp.split(x, groups, -1), jnp.split(kernel, groups, -1), strict=True)
        one = stride, padding, 1, dilation
        return jnp.concatenate([convolve(x, k, *one) for x, k in parts], -1)
    if dilation == 1 and is_product(kernel.shape, stride, groups):
        return _large_conv(x, kernel, padding)
    if stride > 1 and groups == dilation == 1 and kernel.shape[2] <= _FEW:
        return _conv_by_blocks(x, kernel, stride, padding)
    if kernel.shape[0] == groups == 1 and not any(padding):
        return _pointwise_conv(x, kernel, stride)
    if any(padding):
        return _padded_conv(x, kernel, *geometry)
    return _plain_conv(x, kernel, *geometry)


def is_product(shape: tuple[int, ...], stride: int, groups: int) -> bool:
    """Whether a convolution with a kernel `(k, k, i, o)` is a matrix product on a CPU."""
    k, _, i, o = shape
    large = i >= 64 if k >= 5 else k == 1 and i * o >= 2**22
    return large and stride == groups == 1


def _plain_conv(x, kernel, stride, padding, groups, dilation=1):
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        (padding, padding),
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _with_gradient(function, cpu, default, x, kernel):
    """`function(x, kernel)`; its gradient is `cpu(x, kernel, g)` on a CPU, else `default(...)`."""
    return function(x, kernel)


_with_gradient.defvjp(
    lambda function, cpu, default, x, kernel: (function(x, kernel), (x, kernel)),
    lambda _, cpu, default, kept, g: lax.platform_dependent(*kept, g, cpu=cpu, default=default),
)


def _gradient_of(function):
    return lambda *arrays: jax.vjp(function, *arrays[:-1])[1](arrays[-1])


def _pad(x, padding):
    return jnp.pad(x, ((0, 0), padding, padding, (0, 0)))


def _padded_conv(x, kernel, stride, padding, groups, dilation):
    def plain(x, kernel):
        return _plain_conv(x, kernel, stride, padding, groups, dilation)

    def on_cpu(x, kernel, g):
        def on_padded(kernel):
            return _plain_conv(_pad(x, padding), kernel, stride, (0, 0), groups, dilation)

        of_kernel = _gradient_of(on_padded)
        return _gradient_of(plain)(x, kernel, g)[0], of_kernel(kernel, g)[0]

    return _with_gradient(plain, on_cpu, _gradient_of(plain), x, kernel)


def _pointwise_conv(x, kernel, stride):
    def plain(x, kernel):
        return _plain_conv(x, kernel, stride, (0, 0), 1)

    def on_cpu(x, kernel, g):
        seen, rows = x[:, ::stride, ::stride].reshape(-1, x.shape[3]), g.reshape(-1, g.shape[3])
        of_kernel = (seen.T @ rows).reshape(kernel.shape)
        if stride > 1:
            return _gradient_of(plain)(x, kernel, g)[0], of_kernel
        return (rows @ kernel[0, 0].T).reshape(x.shape), of_kernel

    return _with_gradient(plain, on_cpu, _gradient_of(plain), x, kernel)


def _depthwise(x, kernel, stride, padding, dilation):
    def by_products(x, kernel):
        return depthwise.shifted_products(x, kernel, stride, padding, dilation)

    def on_cpu(x, kernel, g):
        return depthwise.gradients(x, kernel, g, stride, padding, dilation)

    def plain(x, kernel):
        return _plain_conv(x, kernel, stride, padding, x.shape[3], dilation)

    chosen = functools.partial(lax.platform_dependent, cpu=by_products, default=plain)
    return _with_gradient(chosen, on_cpu, _gradient_of(plain), x, kernel)


def _large_conv(x, kernel, padding):
    def by_product(x, kernel):
        k, padded = kernel.shape[0], _pad(x, padding)
        h, w = padded.shape[1] - k + 1, padded.shape[2] - k + 1
        slices = [padded[:, i : i + h, j : j + w] for i in range(k) for j in range(k)]
        patches = jnp.stack(slices, 3).reshape(x.shape[0] * h * w, -1)
        return (patches @ kernel.reshape(-1, kernel.shape[3])).reshape(x.shape[0], h, w, -1)

    def plain(x, kernel):
        return _plain_conv(x, kernel, 1, padding, 1)

    chosen = functools.partial(lax.platform_dependent, cpu=by_product, default=plain)
    # The gradient is chosen again, so that neither branch keeps what only the other needs.
    return _with_gradient(chosen, _gradient_of(by_product), _gradient_of(plain), x, kernel)


def _conv_by_blocks(x, kernel, stride, padding):
    """A convolution of stride 1 over blocks of cells, whose channels are concatenated.

    The kernel is padded to whole blocks. Accelerators fill their lanes better. On a CPU the
    gradient of the weights is three to five times faster at batch 1, because XLA has no fast
    algorithm for that of the strided convolution.
    """
    k, s, c = kernel.shape[0], stride, x.shape[3]
    blocks = ceil_div(k, s)
    widths = [(0, 0)]
    for n in x.shape[1:3]:
        cells = ((n + sum(padding) - k) // s + blocks) * s
        widths.append(
            (padding[0], cells - n - padding[0])
        )  # negative: cuts off cells no window sees
    x = lax.pad(x, jnp.zeros((), x.dtype), [(*width, 0) for width in (*widths, (0, 0))])
    b, h, w, _ = x.shape
    x = x.reshape(b, h // s, s, w // s, s, c).transpose(0, 1, 3, 2, 4, 5)
    more = (0, blocks * s - k)
    kernel = jnp.pad(kernel, (more, more, (0, 0), (0, 0)))
    kernel = kernel.reshape(blocks, s, blocks, s, c, -1).transpose(0, 2, 1, 3, 4, 5)
    x = x.reshape(b, h // s, w // s, s * s * c)
    return _plain_conv(x, kernel.reshape(blocks, blocks, s * s * c, -1), 1, (0, 0), 1)


def add_bias(x: Float[Array, "b h w c"], bias: Float[Array, " c"]) -> Float[Array, "b h w c"]:
    """`x + bias`; on a CPU the bias's gradient is a matrix product, several times faster there."""
    return _add_bias(x, bias) if savings.current().fast_operations else x + bias


@jax.custom_vjp
def _add_bias(x, bias):
    return x + bias


def _add_bias_backward(_, gradient):
    def by_product(g):
        rows = g.reshape(-1, g.shape[-1])
        return (jnp.ones((1, rows.shape[0]), g.dtype) @ rows)[0]

    total = lax.platform_dependent(gradient, cpu=by_product, default=lambda g: g.sum((0, 1, 2)))
    return gradient, total


_add_bias.defvjp(lambda x, bias: (x + bias, None), _add_bias_backward)


def relu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """max(x, 0); its gradient, 0 at 0, is computed from its result.

    The next layer keeps the result anyway, so the backward pass needs no other array of this size;
    `jax.nn.relu` keeps its input, or a map of bits, as well.
    """
    return _relu(x) if savings.current().fast_operations else jax.nn.relu(x)


@jax.custom_vjp
def _relu(x):
    return jnp.maximum(x, 0)


def _relu_forward(x):
    # Without the barrier XLA stores the input too, and computes `y` from it a second time.
    y = lax.optimization_barrier(_relu(x))
    return y, y


_relu.defvjp(_relu_forward, lambda y, gradient: (jnp.where(y > 0, gradient, 0),))
