"""Every saving at once, on and off: the same scores, loss and gradient."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fcn_jax as fcn
from fcn_jax.devices.compiling import compiler_options
from fcn_jax.losses import Normalization, softmax_loss
from fcn_jax.nn import savings
from fcn_jax.nn.coarse_scores import scores_of

ON = {"border_skipping": True, "row_tiles": True, "rematerialise": True, "fast_operations": True}


@pytest.mark.parametrize("platform", ["cpu", "tpu"])
def test_on_is_off(random_variables, close, platform):
    net = fcn.FCN8s(fcn.VGG16(width=1 / 64), 3, upsampling=fcn.LearnedUpsampling)
    variables, rng = random_variables(net, size=64), np.random.default_rng(0)
    images = jnp.asarray(rng.normal(0, 1, (2, 70, 90, 3)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, 3, (2, 70, 90))).at[:, :3].set(255)
    sizes = jnp.array([[70, 90], [41, 66]])

    def objective(variables):
        keys = {"dropout": jax.random.key(0)}
        scores = scores_of(net, variables, images, sizes=sizes, train=True, rngs=keys)
        return softmax_loss(scores, labels, normalization=Normalization.VALID, sizes=sizes)

    def both():
        return net.apply(variables, images, sizes), jax.value_and_grad(objective)(variables)

    assert set(ON) == {field.name for field in dataclasses.fields(savings.Savings)}
    with savings.use(**ON), savings.traced_for(platform):
        fast = jax.jit(both, compiler_options=compiler_options())()
    with savings.use(**dict.fromkeys(ON, False)):
        slow = jax.jit(both)()
    close(fast, slow, 2e-5)


def test_plain_operations_can_be_differentiated_forwards(random_variables):
    net = fcn.FCN32s(fcn.SqueezeNet(aligned=True), 3)
    variables = random_variables(net)
    image = jnp.ones((1, 40, 40, 3))

    def total(scale):
        scores: Any = net.apply(variables, image * scale)
        return jnp.sum(scores**2)

    with savings.use(fast_operations=False):
        forwards = jax.jvp(total, (1.0,), (1.0,))[1]
    np.testing.assert_allclose(forwards, jax.grad(total)(1.0), rtol=1e-4)


def test_a_compiled_function_follows_the_choice():
    compiled = jax.jit(lambda x: x + savings.current().row_tiles)
    with savings.use(row_tiles=False):
        assert compiled(1) == 1
    assert compiled(1) == 2
