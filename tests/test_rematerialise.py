"""Activations computed again rather than kept: the same function, gradient and parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fcn_jax as fcn
from fcn_jax.nn import savings

TRUNKS = {
    "vgg": fcn.VGG16(width=1 / 64, batch_norm=True),
    "squeezenet": fcn.SqueezeNet(),
    "googlenet": fcn.GoogLeNet(width=1 / 32),
    "efficientnet-lite": fcn.EfficientNetLite(0, width=1 / 8),
    "resnet": fcn.ResNet(18, width=1 / 32),
    "mobilenet": fcn.MobileNetV3(width=1 / 32),
    "convnext": fcn.ConvNeXt(depths=(1, 1, 2, 1), ring=16, width=1 / 32),
}


def test_a_trunk_that_cannot_is_refused():
    net, image = fcn.FCN(fcn.AlexNet(), 3), jnp.zeros((1, 40, 40, 3))
    with savings.use(rematerialise=True), pytest.raises(ValueError, match="AlexNet cannot"):
        jax.eval_shape(net.init, jax.random.key(0), image)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n != "vgg" else []) for n in TRUNKS]
)
def test_on_is_off(name, random_variables):
    net = fcn.FCN(TRUNKS[name], 3)
    variables = random_variables(net)
    with savings.use(rematerialise=True):
        assert jax.tree.structure(variables) == jax.tree.structure(random_variables(net))
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.normal(0, 1, (2, 60, 70, 3)), jnp.float32)
    weights = jnp.asarray(rng.normal(0, 1, images.shape), jnp.float32)

    def objective(params):
        scores, changed = net.apply(
            {**variables, "params": params},
            images,
            sizes=jnp.array([[60, 70], [31, 44]]),
            train=True,
            rngs={"dropout": jax.random.key(0)},
            mutable=["batch_stats"],
        )
        return jnp.sum(scores * weights), changed

    differentiate = jax.jit(jax.value_and_grad(objective, has_aux=True))

    def gradients(on):
        with savings.use(rematerialise=on, border_skipping=False):
            assert ("remat" in str(jax.make_jaxpr(differentiate)(variables["params"]))) == on
            return differentiate(variables["params"])

    for a, b in zip(*map(jax.tree.leaves, (gradients(True), gradients(False))), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * float(jnp.max(jnp.abs(b))))
