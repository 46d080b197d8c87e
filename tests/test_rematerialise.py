"""Activations computed again rather than kept: the same function, gradient and parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fcn_jax as fcn
from fcn_jax.fusion import rematerialised

TRUNKS = {
    "vgg": fcn.VGG16(width=1 / 64, batch_norm=True, rematerialise=True),
    "squeezenet": fcn.SqueezeNet(rematerialise=True),
    "googlenet": fcn.GoogLeNet(width=1 / 32, rematerialise=True),
}


def test_by_the_command_line():
    stream = fcn.FCN(fcn.VGG16(), 3)
    assert rematerialised(stream) == fcn.FCN(fcn.VGG16(rematerialise=True), 3)
    late = rematerialised(fcn.LateFusion({"color": stream, "hha": stream}))
    assert late.streams["hha"].trunk.rematerialise  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="AlexNet has no such field"):
        rematerialised(fcn.FCN(fcn.AlexNet(), 3))


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n != "vgg" else []) for n in TRUNKS]
)
def test_on_is_off(name, random_variables):
    on = fcn.FCN(TRUNKS[name], 3, border_skipping=False)
    off = on.clone(trunk=TRUNKS[name].clone(rematerialise=False))
    variables = random_variables(on)
    assert jax.tree.structure(variables) == jax.tree.structure(random_variables(off))
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.normal(0, 1, (2, 60, 70, 3)), jnp.float32)
    weights = jnp.asarray(rng.normal(0, 1, images.shape), jnp.float32)

    def objective(params, net):
        scores, changed = net.apply(
            {**variables, "params": params},
            images,
            sizes=jnp.array([[60, 70], [31, 44]]),
            train=True,
            rngs={"dropout": jax.random.key(0)},
            mutable=["batch_stats"],
        )
        return jnp.sum(scores * weights), changed

    differentiate = jax.value_and_grad(objective, has_aux=True)
    assert "remat" in str(jax.make_jaxpr(lambda p: differentiate(p, on))(variables["params"]))
    differentiate = jax.jit(differentiate, static_argnums=1)
    ours, theirs = (differentiate(variables["params"], net) for net in (on, off))
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * float(jnp.max(jnp.abs(b))))
