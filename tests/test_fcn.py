import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import fcn_jax as fcn
from fcn_jax.losses import Normalization, softmax_loss
from fcn_jax.nets.inputs import as_image
from fcn_jax.nets.trunks import Ending
from fcn_jax.nn.layers import Conv, MaxPool
from fcn_jax.training.state import initial_variables

QUICK = {"xla_backend_optimization_level": 0}
NARROW = fcn.VGG16(width=1 / 32, aligned=True)
NET = fcn.FCN8s(NARROW, 5)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def trace(net, height=9, width=12, **kwargs):
    images = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
    return jax.eval_shape(lambda x: net.init(jax.random.key(0), x, **kwargs), images)


def maps_of(variables, image):
    """Every intermediate feature map of `NET`."""

    def run(variables, image):
        return NET.apply(variables, image, capture_intermediates=True)[1]["intermediates"]

    return jax.jit(run, compiler_options=QUICK)(variables, image)


def test_new_skips_add_nothing_and_trained_ones_do(random_variables):
    params = random_variables(NET)["params"]
    image = draw(1, 40, 50, 3)
    new = dict(params)
    for name in ("score_pool4", "score_pool3"):
        new[name] = jax.tree.map(jnp.zeros_like, params[name])
    for variables, adds_nothing in (({"params": new}, True), ({"params": params}, False)):
        maps = maps_of(variables, image)
        for up, fuse in (("upscore2", "fuse_pool4"), ("upscore_pool4", "fuse_pool3")):
            cropped = maps[fuse][f"{up}c"]["__call__"][0].values
            fused = maps[fuse]["__call__"][0].values
            assert np.any(cropped)
            assert np.array_equal(fused, cropped) == adds_nothing


def test_the_loss_starts_at_ln_c_per_labelled_pixel():
    variables = initial_variables(NET, seed=0)
    for name, layer in variables["params"].items():
        assert any(np.any(leaf) for leaf in jax.tree.leaves(layer)) == (name == "trunk")
    labels = np.random.default_rng(0).integers(0, 5, (1, 8, 8))
    labels[:, :3] = 255
    scores = jax.jit(NET.apply, compiler_options=QUICK)(variables, jnp.ones((1, 8, 8, 3)))
    loss = softmax_loss(scores, jnp.asarray(labels), normalization=Normalization.SUM)
    assert float(loss) == pytest.approx(40 * np.log(5), rel=1e-6)


def test_bfloat16_computes_nearly_the_same(random_variables):
    variables = random_variables(NET)
    image = draw(1, 20, 24, 3)
    exact, rough = (
        jax.jit(net.apply, compiler_options=QUICK)(variables, image)
        for net in (NET, NET.clone(dtype=jnp.bfloat16))
    )
    assert exact.dtype == rough.dtype == jnp.float32
    difference = np.abs(exact - rough).max() / np.abs(exact).max()
    assert 0 < difference < 0.05


def test_dropout_needs_its_random_stream():
    variables = trace(NET)
    images = jnp.zeros((1, 9, 12, 3))
    with pytest.raises(flax.errors.InvalidRngError, match="dropout"):
        jax.eval_shape(lambda v: NET.apply(v, images, train=True), variables)
    key = jax.random.key(0)
    jax.eval_shape(lambda v: NET.apply(v, images, train=True, rngs={"dropout": key}), variables)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match=r"no map \['pool9'\]; it has \['conv1_1'.*'fc7'\]"):
        trace(fcn.FCN16s(NARROW, 2, skips=("pool9",)))
    with pytest.raises(ValueError, match="1 skip_scales for 2 skips"):
        trace(fcn.FCN8s(NARROW, 2, skip_scales=(0.1,)))
    with pytest.raises(ValueError, match=r"\(batch, rows, columns, channels\).*images\[None\]"):
        as_image(jnp.zeros((4, 4, 3)), None, jnp.float32)
    with pytest.raises(ValueError, match=r"sizes must be \(2, 2\).*got shape \(1, 2\)"):
        as_image(jnp.zeros((2, 4, 4, 3)), jnp.zeros((1, 2), jnp.int32), jnp.float32)
    for wrong in ([5, 4], [4, 6], [0, 4]):
        with pytest.raises(ValueError, match=r"sizes\[1\] is .* 1 to 4 and columns of 1 to 5"):
            as_image(jnp.zeros((2, 4, 5, 3)), jnp.array([[4, 5], wrong]), jnp.float32)


def test_fields_make_the_net():
    assert fcn.FCN8s(NARROW, 5) == NET and hash(fcn.FCN8s(NARROW, 5)) == hash(NET)
    assert fcn.FCN32s(NARROW, 5).skips == ()
    assert fcn.FCN16s(NARROW, 5).skips == ("pool4",)
    assert fcn.FCN16s(NARROW, 5, skips=("pool3",)).skips == ("pool3",)
    names = set(trace(fcn.FCN8s(NARROW, 5, upsampling=fcn.LearnedUpsampling))["params"])
    scores = {"score_fr", "score_pool4", "score_pool3"}
    assert names == {"trunk", "upscore2", "upscore_pool4", *scores}


def ordinary_vgg(params, image):
    """VGG16 as an ordinary classifier: matrix products on a flat vector after the pools."""
    x = image
    trunk = params["trunk"]
    for stage, count in enumerate((2, 2, 3, 3, 3), 1):
        for i in range(1, count + 1):
            layer = trunk[f"conv{stage}_{i}"]
            x = lax.conv_general_dilated(
                x, layer["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            x = jnp.maximum(x + layer["bias"], 0)
        b, h, w, c = x.shape
        x = x.reshape(b, h // 2, 2, w // 2, 2, c).max((2, 4))
    x = x.reshape(len(x), -1)
    for name, layer in (("fc6", trunk["fc6"]), ("fc7", trunk["fc7"]), ("fc8", params["fc8"])):
        x = x @ layer["kernel"].reshape(-1, layer["kernel"].shape[-1]) + layer["bias"]
        x = x if name == "fc8" else jnp.maximum(x, 0)
    return x


def test_on_its_crop_the_classifier_is_the_ordinary_one(random_variables, close):
    net = fcn.Classifier(fcn.VGG16(width=1 / 32), num_classes=7)
    variables = random_variables(net, size=224)
    image = draw(2, 224, 224, 3)
    scores = jax.jit(net.apply, compiler_options=QUICK)(variables, image)
    assert scores.shape == (2, 1, 1, 7)
    close(scores[:, 0, 0], jax.jit(ordinary_vgg)(variables["params"], image))


class Unpadded(nn.Module):
    """A classifier of 14x14 crops with stride 4, without any padding."""

    classifier = Ending("fc3", relu=True, window=2)

    @nn.compact
    def __call__(self, x, *, train):
        x = MaxPool(2, 2, name="pool1")(Conv(4, 3, relu=True, name="conv1")(x))
        x = MaxPool(2, 2, name="pool2")(Conv(6, 3, relu=True, name="conv2")(x))
        return {"pool2": x}


def test_the_heat_map_is_the_classifier_slid_over_the_image(random_variables):
    net = fcn.Classifier(Unpadded(), num_classes=3)
    variables = random_variables(net, size=14)
    image = draw(1, 22, 26, 3)
    heat = np.asarray(net.apply(variables, jnp.asarray(image)))
    assert heat.shape == (1, 3, 4, 3) and np.any(heat)
    crops = [image[0, 4 * i : 4 * i + 14, 4 * j : 4 * j + 14] for i in range(3) for j in range(4)]
    each = np.asarray(net.apply(variables, jnp.stack(crops)))
    np.testing.assert_allclose(heat.reshape(12, 3), each.reshape(12, 3), atol=1e-5)


def test_the_classifier_of_squeezenet():
    net = fcn.Classifier(fcn.SqueezeNet())
    images = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    scores, variables = jax.eval_shape(net.init_with_output, jax.random.key(0), images)
    assert scores.shape == (1, 1, 1, 1000)
    assert variables["params"]["conv10"]["kernel"].shape == (1, 1, 512, 1000)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == 1_248_424


@pytest.mark.parametrize("trunk", [NARROW, fcn.SqueezeNet(aligned=True)])
def test_an_aligned_trunk_is_not_a_classifier(trunk):
    with pytest.raises(ValueError, match="aligned=False"):
        trace(fcn.Classifier(trunk), 224, 224)


def test_too_small_for_the_classifier():
    with pytest.raises(ValueError, match="fc6: a 7x7 kernel.*pool5, which is 6x6.*too small"):
        trace(fcn.Classifier(fcn.VGG16(width=1 / 64)), 192, 192)
