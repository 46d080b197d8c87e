"""Transposed kernels give the same scores from the same weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

import fcn_jax as fcn
from fcn_jax.inference.prepack import prepack

TRUNK = fcn.VGG16(width=1 / 8)  # the narrowest whose fc6 is a matrix product
NETS = {
    "fcn": fcn.FCN32s(trunk=TRUNK, num_classes=3),
    "late fusion": fcn.LateFusion(
        {name: fcn.FCN32s(trunk=TRUNK, num_classes=3) for name in ("color", "hha")}
    ),
    "nothing to transpose": fcn.FCN32s(trunk=fcn.SqueezeNet(aligned=True), num_classes=3),
}


@pytest.mark.parametrize("name", NETS)
def test_scores_are_those_of_the_variables_given(name, random_variables, close):
    net = NETS[name]
    variables, rng = random_variables(net), np.random.default_rng(0)
    image = jnp.asarray(rng.normal(size=(1, 40, 50, 3)), jnp.float32)
    images = {"color": image, "hha": image + 1} if name == "late fusion" else image
    packed = prepack(net, variables)
    found, expected = (jax.jit(net.apply)(v, images) for v in (packed, variables))
    close(found, expected, 1e-6)

    kernels, params = (flatten_dict(packed[c], sep="/") for c in ("packed", "params"))
    assert {path.split("/")[-2] for path in kernels} == ({"fc6"} if TRUNK in trunks(net) else set())
    assert set(kernels) | set(params) == set(flatten_dict(variables["params"], sep="/"))
    assert not set(kernels) & set(params)
    assert all(matrix.shape == (512, 7 * 7 * 64) for matrix in kernels.values())


def trunks(net):
    return [stream.trunk for stream in getattr(net, "streams", {"": net}).values()]


def test_init_packs_nothing():
    net = NETS["fcn"]
    shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 40, 40, 3)))
    assert set(shapes) == {"params"}
