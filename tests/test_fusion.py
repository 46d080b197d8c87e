"""Several inputs, several outputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fcn_jax as fcn
from fcn_jax.losses import ByOutput, Normalization, Softmax
from fcn_jax.nets.inputs import placeholder
from fcn_jax.preprocessing import NYUD_HHA, ByInput, LogDepth, Preprocessing
from fcn_jax.weights.surgery import expand_input, load_blobs

NARROW = fcn.VGG16(width=1 / 32, aligned=True)
HEADS = {"semantic": 3, "geometric": 2}
RNG = np.random.default_rng(0)


def images(**channels):
    return {
        k: jnp.asarray(RNG.normal(0, 50, (2, 20, 33, c)), jnp.float32) for k, c in channels.items()
    }


def random_like(net):
    shapes = jax.eval_shape(net.init, jax.random.key(0), placeholder(net))
    return jax.tree.map(lambda s: jnp.asarray(RNG.normal(0, 0.2, s.shape), jnp.float32), shapes)


def test_nets_with_names_are_values():
    early = fcn.FCN32s(NARROW, HEADS, inputs={"color": 3, "depth": 1})
    assert early == fcn.FCN32s(NARROW, dict(HEADS), inputs={"color": 3, "depth": 1})
    assert early != fcn.FCN32s(NARROW, HEADS, inputs={"depth": 1, "color": 3})
    assert hash(fcn.LateFusion({"color": early})) == hash(fcn.LateFusion({"color": early.clone()}))


def test_early_fusion_concatenates_the_inputs_in_the_order_of_the_net():
    x = images(depth=1, color=3)
    net = fcn.FCN32s(NARROW, 2, inputs={"color": 3, "depth": 1})
    variables = random_like(net)
    flat = fcn.FCN32s(NARROW, 2)
    concatenated = jnp.concatenate([x["color"], x["depth"]], -1)
    np.testing.assert_array_equal(net.apply(variables, x), flat.apply(variables, concatenated))


def test_late_fusion_is_the_mean_of_its_streams():
    x = images(color=3, hha=3)
    stream = fcn.FCN16s(NARROW, 2)
    net = fcn.LateFusion({"color": stream, "hha": stream})
    variables = random_like(net)
    parts = [
        stream.apply({"params": variables["params"][f"streams_{name}"]}, x[name]) for name in x
    ]
    np.testing.assert_allclose(net.apply(variables, x), (parts[0] + parts[1]) / 2, rtol=1e-6)


def test_each_head_is_the_net_with_that_head_alone():
    x = images(color=3)["color"]
    net = fcn.FCN8s(NARROW, HEADS)
    variables = random_like(net)
    scores = net.apply(variables, x)
    assert set(scores) == set(HEADS)
    for head, classes in HEADS.items():
        own = {"trunk": variables["params"]["trunk"]}
        for name in ("score_fr", "score_pool4", "score_pool3"):
            own[name] = variables["params"][f"{name}_{head}"]
        alone = fcn.FCN8s(NARROW, classes).apply({"params": own}, x)
        np.testing.assert_array_equal(scores[head], alone)


def test_streams_and_heads_have_the_names_of_the_reference():
    net = fcn.LateFusion({"color": fcn.FCN32s(NARROW, HEADS)})
    shapes = jax.eval_shape(net.init, jax.random.key(0), placeholder(net))
    with pytest.raises(ValueError) as error:
        load_blobs(shapes, {})
    for name in ("conv1_1color", "fc7color", "score_fr_semcolor", "score_fr_geocolor"):
        assert f"missing: {name}, " in str(error.value)


def test_a_new_input_channel_starts_as_the_mean_of_the_others():
    donor = random_like(fcn.FCN32s(NARROW, 2))
    trunk = NARROW.clone(first="conv1_1_bgrd")
    net = fcn.FCN32s(trunk, 2, inputs={"color": 3, "depth": 1})
    grown = expand_input(random_like(net), donor, layer="conv1_1_bgrd", source="conv1_1")
    new = grown["params"]["trunk"]["conv1_1_bgrd"]
    old = donor["params"]["trunk"]["conv1_1"]
    np.testing.assert_array_equal(new["kernel"][:, :, :3], old["kernel"])
    np.testing.assert_allclose(new["kernel"][:, :, 3], old["kernel"].mean(2), rtol=1e-6)
    np.testing.assert_array_equal(new["bias"], old["bias"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (jnp.zeros((1, 8, 8, 3)), "takes several inputs, a dictionary of color"),
        (images(color=3), "found color"),
        (images(color=3, depth=3), r"depth \(b, h, w, 1\).*depth \(2, 20, 33, 3\)"),
        (images(color=3, depth=1) | {"more": jnp.zeros((1, 1, 1, 1))}, "more"),
    ],
)
def test_wrong_inputs_are_named(given, message):
    net = fcn.FCN32s(NARROW, 2, inputs={"color": 3, "depth": 1})
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(net.init, jax.random.key(0), given)
    with pytest.raises(ValueError, match="one array of images; found a dictionary of color"):
        jax.eval_shape(fcn.FCN32s(NARROW, 2).init, jax.random.key(0), images(color=3))


def test_the_loss_of_several_outputs_is_the_sum():
    scores = {k: jnp.asarray(RNG.normal(0, 1, (1, 4, 5, n)), jnp.float32) for k, n in HEADS.items()}
    labels = {k: jnp.asarray(RNG.integers(0, n, (1, 4, 5))) for k, n in HEADS.items()}
    one = Softmax(normalization=Normalization.SUM)
    both = ByOutput({"semantic": one, "geometric": one})
    assert both == ByOutput({"semantic": one, "geometric": one})
    expected = sum(one(scores[k], labels[k]) for k in HEADS)
    np.testing.assert_allclose(both(scores, labels), expected, rtol=1e-6)
    with pytest.raises(ValueError, match="labels for semantic"):
        both(scores, {"semantic": labels["semantic"]})


def test_depth_is_a_logarithm_and_missing_depth_its_mean():
    """Source: nyud_layers.py of the reference, `log(d) - 7.844`."""
    depth = jnp.asarray([[0, 1], [2550, 65535]], jnp.uint16)[None, ..., None]
    found = LogDepth()(depth)[0, ..., 0]
    expected = [[0, -7.844], [np.log(2550) - 7.844, np.log(65535) - 7.844]]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_each_input_has_its_own_preprocessing():
    color = Preprocessing(channels="BGR", mean=(1.0, 2.0, 3.0))
    both = ByInput({"color": color, "hha": NYUD_HHA})
    assert hash(both) == hash(ByInput({"color": color, "hha": NYUD_HHA}))
    pixel = jnp.asarray([[[[10, 20, 30]]]], jnp.uint8)
    found = both({"color": pixel, "hha": pixel})
    np.testing.assert_allclose(found["color"][0, 0, 0], [29, 18, 7])
    np.testing.assert_allclose(found["hha"][0, 0, 0], np.array([10, 20, 30]) - NYUD_HHA.mean)
    with pytest.raises(ValueError, match="takes the inputs color, hha; the data set gives color"):
        both({"color": pixel})
