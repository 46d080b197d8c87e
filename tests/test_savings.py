"""Every saving at once, on and off: the same scores, loss and gradient."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import fcn_jax as fcn
from fcn_jax.coarse import scores_of
from fcn_jax.compiling import compiler_options
from fcn_jax.losses import Normalization, softmax_loss
from fcn_jax.ops import plain_ops

SAVINGS = ("border_skipping", "row_tiles")


def test_on_is_off(random_variables, close):
    on = fcn.FCN8s(fcn.VGG16(width=1 / 64), 3, upsampling=fcn.LearnedUpsampling)
    on = on.clone(trunk=on.trunk.clone(rematerialise=True))
    off = on.clone(**dict.fromkeys(SAVINGS, False), trunk=on.trunk.clone(rematerialise=False))
    variables, rng = random_variables(on, size=64), np.random.default_rng(0)
    images = jnp.asarray(rng.normal(0, 1, (2, 70, 90, 3)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, 3, (2, 70, 90))).at[:, :3].set(255)
    sizes = jnp.array([[70, 90], [41, 66]])

    def objective(variables, net):
        keys = {"dropout": jax.random.key(0)}
        scores = scores_of(net, variables, images, sizes=sizes, train=True, rngs=keys)
        return softmax_loss(scores, labels, normalization=Normalization.VALID, sizes=sizes)

    def both(net):
        return net.apply(variables, images, sizes), jax.value_and_grad(objective)(variables, net)

    fast = jax.jit(lambda: both(on), compiler_options=compiler_options())()
    with plain_ops():
        slow = jax.jit(lambda: both(off))()
    close(fast, slow, 2e-5)


def test_plain_operations_can_be_differentiated_forwards(random_variables):
    net = fcn.FCN32s(fcn.SqueezeNet(aligned=True), 3)
    variables = random_variables(net)
    image = jnp.ones((1, 40, 40, 3))

    def total(scale):
        scores: Any = net.apply(variables, image * scale)
        return jnp.sum(scores**2)

    with plain_ops():
        forwards = jax.jvp(total, (1.0,), (1.0,))[1]
    np.testing.assert_allclose(forwards, jax.grad(total)(1.0), rtol=1e-4)
