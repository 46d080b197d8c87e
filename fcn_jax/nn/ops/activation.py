"""max(x, 0)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fcn_jax.nn import savings


def relu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """max(x, 0); its gradient, 0 at 0, is told from the result.

    The next layer keeps the result anyway, so that nothing else of the map waits for the backward
    pass; `jax.nn.relu` keeps what went in, or a map of bits, beside it.
    """
    return _relu(x) if savings.current().fast_operations else jax.nn.relu(x)


@jax.custom_vjp
def _relu(x):
    return jnp.maximum(x, 0)


def _relu_forward(x):
    # Without the barrier XLA stores what went in too, and computes the rest of `y` from it again.
    y = jax.lax.optimization_barrier(_relu(x))
    return y, y


_relu.defvjp(_relu_forward, lambda y, gradient: (jnp.where(y > 0, gradient, 0),))
