"""Random arrays, layers compiled in a hurry, and what they are compared with."""

import jax
import jax.numpy as jnp
import numpy as np


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def compiled(layer):
    """`layer.apply` as one program, compiled in a hurry."""
    return jax.jit(layer.apply, compiler_options={"xla_backend_optimization_level": 0})


def scatter_add(x, kernel, factor):
    """Caffe's deconvolution without padding; `kernel` is `(k, k, c_in, c_out)`, in float64."""
    b, h, w, _ = x.shape
    k, out = kernel.shape[0], kernel.shape[3]
    y = np.zeros((b, factor * (h - 1) + k, factor * (w - 1) + k, out))
    for n, i, j in np.ndindex(b, h, w):
        block = np.einsum("c,klcd->kld", np.float64(x[n, i, j]), kernel)
        y[n, factor * i : factor * i + k, factor * j : factor * j + k] += block
    return y
