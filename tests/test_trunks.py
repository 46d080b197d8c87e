"""VGG16, AlexNet, GoogLeNet and SqueezeNet: the papers' numbers and the geometry of each."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fcn_jax as fcn
from fcn_jax.nets.explain import explain
from fcn_jax.nets.trunks.alexnet import TorchvisionAlexNet
from fcn_jax.nets.trunks.googlenet import TorchvisionGoogLeNet
from fcn_jax.nets.trunks.squeezenet import SqueezeNet11
from fcn_jax.nn.feature_map import FeatureMap
from fcn_jax.nn.layers import LRN


def rows(net, size=500):
    return {row.name: row for row in explain(net, size, size)}


# Source: specification of the papers' table 1 and of the reference's nets; 907 is GoogLeNet's field
# with the 7x7 average pool that the text drops, 715 without it.
@pytest.mark.parametrize(
    ("trunk", "deepest", "field", "crop", "parameters"),
    [
        (fcn.VGG16(), "fc7", 404, 19, 134_346_581),
        (fcn.AlexNet(), "fc7", 355, 18, 56_954_261),
        (fcn.GoogLeNet(), "inception_5b/5x5", 715, 98, 5_995_077),
    ],
)
def test_the_papers_numbers(trunk, deepest, field, crop, parameters):
    table = rows(fcn.FCN32s(trunk, 21))
    assert (table[deepest].field, table[deepest].grid_stride) == (field, 32)
    assert table["score"].crop == crop
    assert sum(row.parameters for row in table.values()) == parameters


# The fields summed by hand from kernels and strides; GoogLeNet's pool4 of 2x2 moves the grid by 8.
@pytest.mark.parametrize(
    ("trunk", "deepest", "field", "stride", "crop"),
    [
        (TorchvisionAlexNet(width=1 / 16), "fc7", 355, 32, 18),
        (TorchvisionGoogLeNet(width=1 / 16), "inception_5b/5x5", 379, 32, 98 + 8),
        (SqueezeNet11(), "fire9/expand3x3", 207, 16, 100),
    ],
)
def test_the_other_editions(trunk, deepest, field, stride, crop):
    table = rows(fcn.FCN32s(trunk, 2))
    assert (table[deepest].field, table[deepest].grid_stride) == (field, stride)
    assert table["score"].crop == crop


def test_googlenet_with_its_average_pool_sees_907_pixels():
    table = rows(fcn.FCN32s(fcn.GoogLeNet(), 21))
    last = table["inception_5b/5x5"]
    assert last.field + (7 - 1) * last.grid_stride == 907


TRUNKS = [fcn.AlexNet(width=1 / 32), fcn.GoogLeNet(width=1 / 32)]
OTHERS = [
    TorchvisionAlexNet(width=1 / 32),
    TorchvisionGoogLeNet(width=1 / 32, aligned=True),
    SqueezeNet11(aligned=True),
]


@pytest.mark.parametrize(
    ("trunk", "size"),
    [
        *((trunk, size) for trunk in TRUNKS for size in ((1, 1), (2, 33), (97, 64))),
        *((trunk, size) for trunk in OTHERS for size in ((1, 1), (33, 50))),
    ],
)
def test_scores_are_as_large_as_the_image(trunk, size):
    net = fcn.FCN32s(trunk, 2)
    images = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
    shape = jax.eval_shape(lambda x: net.init_with_output(jax.random.key(0), x)[0], images)
    assert shape.shape == (1, *size, 2)


@pytest.mark.parametrize(
    ("trunk", "crop"), [(fcn.AlexNet(width=1 / 16), 227), (fcn.GoogLeNet(width=1 / 16), 224)]
)
def test_one_crop_gives_one_vector_of_logits(trunk, crop):
    net = fcn.Classifier(trunk, 10)
    images = jax.ShapeDtypeStruct((1, crop, crop, 3), jnp.float32)
    shape = jax.eval_shape(lambda x: net.init_with_output(jax.random.key(0), x)[0], images)
    assert shape.shape == (1, 1, 1, 10)


def test_lrn_is_the_formula():
    x = np.random.default_rng(0).normal(0, 30, (2, 3, 4, 7)).astype(np.float32)
    found = LRN().apply({}, FeatureMap(jnp.asarray(x))).values
    expected = np.empty_like(x)
    for c in range(7):
        window = x[..., max(c - 2, 0) : c + 3].astype(np.float64)
        expected[..., c] = x[..., c] / (1 + 1e-4 / 5 * (window**2).sum(-1)) ** 0.75
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_net_that_ends_earlier_has_no_later_layers():
    """Source: TPAMI 2017, table 3; the offsets are recomputed from the grids of the reference."""
    for last, crop in (("pool5", 115), ("pool4", 107), ("pool3", 103)):
        table = rows(fcn.FCN(fcn.VGG16(last=last), 21))
        assert table["score"].crop == crop
        assert list(table)[-4] == last
    with pytest.raises(ValueError, match="no layer 'pool6'"):
        rows(fcn.FCN(fcn.VGG16(last="pool6"), 21))
