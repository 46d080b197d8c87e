"""Shift-and-stitch against the rarefied trunk, and both against the trunk itself."""

from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fcn_jax as fcn
from fcn_jax.nets.shift_and_stitch import margin, rarefied, rarefied_map, shift_and_stitch
from fcn_jax.nets.trunks import AlexNet, GoogLeNet
from fcn_jax.nn.layers import AveragePool, Conv, GlobalMean, MaxPool
from fcn_jax.weights.weights_file import load_weights

WEIGHTS = Path(__file__).resolve().parents[1] / "weights/squeezenet1_0.safetensors"


class Uneven(nn.Module):
    """Even and odd kernels, overlapping and padded pools, groups, a stride after the pools."""

    ring = 3

    @nn.compact
    def __call__(self, x, *, train):
        x = Conv(4, 5, stride=2, padding=1, relu=True, name="conv1")(x)
        x = MaxPool(3, 2, name="pool1")(x)
        a = MaxPool(3, 1, 1, name="pool2")(x)
        b = Conv(6, 4, stride=3, padding=2, groups=2, relu=True, name="conv2")(a)
        return {"pool2": a, "conv2": b, "mean": AveragePool(2, name="mean")(b)}


class Valid(nn.Module):
    """No padding at all; 8 pixels see each cell."""

    @nn.compact
    def __call__(self, x, *, train):
        x = Conv(4, 3, relu=True, name="conv1")(x)
        return {"conv2": Conv(5, 3, name="conv2")(MaxPool(2, 2, name="pool1")(x))}


def random_variables_of(net, x, **kwargs):
    shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), x, **kwargs))
    rng = np.random.default_rng(0)

    def fill(s):
        fan_in = max(np.prod(s.shape[:-1]), 1) if len(s.shape) > 1 else 100
        return jnp.asarray(rng.normal(size=s.shape) * np.sqrt(2 / fan_in), jnp.float32)

    return jax.tree.map(fill, shapes)


def trunk_variables(trunk, size=64):
    image = fcn.FeatureMap(jnp.zeros((1, size, size, 3)), ring=trunk.ring)
    return random_variables_of(trunk, image, train=False)


def grid_of(trunk, variables, images, at):
    """Where the trunk's own map lies."""
    image = fcn.FeatureMap(images, ring=getattr(trunk, "ring", 0))
    maps = jax.eval_shape(lambda v, x: trunk.apply(v, x, train=False), variables, image)
    return maps[at].grid


def images_of(h, w, b=1):
    return jnp.asarray(np.random.default_rng(1).normal(size=(b, h, w, 3)), jnp.float32)


def test_both_methods_agree_from_the_margin_to_the_last_cell(close):
    trunk, images = Uneven(), images_of(72, 59, b=2)
    variables = trunk_variables(trunk)
    stitched, spread = jax.jit(
        lambda v, x: (
            shift_and_stitch(trunk, v, x, at="conv2", at_once=5),
            rarefied_map(trunk, v, x, at="conv2"),
        )
    )(variables, images)
    assert stitched.grid == spread.grid and stitched.grid.stride == 1
    m = margin(grid_of(trunk, variables, images, "conv2"), trunk.ring)
    assert 0 < m < min(spread.shape) - 12
    close(stitched.values[:, m:, m:], spread.values[:, m:, m:])
    assert not np.allclose(stitched.values[:, :m, m:], spread.values[:, :m, m:], atol=1e-3)


def test_images_on_a_shared_canvas_are_as_they_are_alone(close):
    trunk, sizes = Uneven(), jnp.array([[61, 70], [72, 59]])
    variables, images = trunk_variables(trunk), images_of(72, 72, b=2)
    canvas = fcn.FeatureMap(images, sizes).masked().values
    both = jax.jit(
        lambda v, x, s: (shift_and_stitch(trunk, v, x, s), rarefied_map(trunk, v, x, s))
    )(variables, canvas, sizes)
    m = margin(grid_of(trunk, variables, canvas, "mean"), trunk.ring)
    for i, (h, w) in enumerate(np.asarray(sizes)):
        alone = jax.jit(lambda v, x: rarefied_map(trunk, v, x))(
            variables, images[i : i + 1, :h, :w]
        )
        rows, columns = alone.shape
        for result, start in zip(both, (m, 0), strict=True):
            np.testing.assert_array_equal(result.size[i], alone.shape)
            found = result.values[i, start:rows, start:columns]
            close(found, alone.values[0, start:, start:])
            outside = result.values.at[i, :rows, :columns].set(0)[i]
            assert not jnp.any(outside)


def real_trunks():
    narrow = fcn.VGG16(aligned=True, width=1 / 32)
    yield pytest.param(narrow, "pool5", (150, 133), id="VGG16")
    yield pytest.param(fcn.SqueezeNet(aligned=True), "fire9", (104, 107), id="SqueezeNet")
    slow = pytest.mark.slow
    yield pytest.param(AlexNet(width=1 / 16), "pool5", (64, 69), id="AlexNet", marks=slow)
    inception = GoogLeNet(aligned=True, width=1 / 8)
    yield pytest.param(inception, "inception_4a", (120, 123), id="GoogLeNet", marks=slow)


@pytest.mark.parametrize("trunk, at, shape", [*real_trunks()])
def test_a_real_trunk_on_shifted_images_is_the_rarefied_trunk(trunk, at, shape, close):
    """For a few shifts, corners included; a copy is the image without first rows and columns."""
    images, ring = images_of(*shape), trunk.ring
    if isinstance(trunk, fcn.SqueezeNet) and WEIGHTS.exists():
        variables = {"params": load_weights(WEIGHTS)[0]["params"]["trunk"]}
        images = 60 * images
    else:
        variables = trunk_variables(trunk, 200)
    spread = jax.jit(lambda v, x: rarefied_map(trunk, v, x, at=at))(variables, images)
    grid, rarefied_values = grid_of(trunk, variables, images, at), np.asarray(spread.values)
    f, m = int(grid.stride), margin(grid, ring)
    assert f >= 8 and 0 < m < min(spread.shape) - 5

    @jax.jit
    def run(variables, values, size):
        image = fcn.FeatureMap(values, size)
        return trunk.apply(variables, image, train=False)[at]

    padded = jnp.pad(images, ((0, 0), (ring, ring), (ring, ring), (0, 0)))
    for y, x in [(0, 0), (f - 1, f - 1), (1, f // 2), (f - 2, 0)]:
        cut = jnp.pad(padded[:, y:, x:], ((0, 0), (0, y), (0, x), (0, 0)))
        size = jnp.array([[padded.shape[1] - y, padded.shape[2] - x]])
        own = run(variables, cut, size)
        (rows, columns), values = np.asarray(own.size[0]), np.asarray(own.values)
        own, other = values[:, :rows, :columns], rarefied_values[:, y::f, x::f]
        top, left = m // f if y else 0, m // f if x else 0
        assert own.shape == other.shape
        assert top < rows and left < columns
        close(own[:, top:, left:], other[:, top:, left:])


def test_a_rarefied_classifier_scores_the_crop_around_every_pixel(close):
    net = fcn.Classifier(trunk=Valid(), num_classes=7)
    images = images_of(12, 13)
    variables = random_variables_of(net, images)
    with rarefied():
        scores = net.apply(variables, images)
    crops = [images[0, y : y + 8, x : x + 8] for y in range(5) for x in range(6)]
    close(scores[0, :5, :6], net.apply(variables, jnp.stack(crops)).reshape(5, 6, 7))
    assert scores.shape == (1, 6, 7, 7)  # and the pool's clipped windows


class Doubled(nn.Module):
    @nn.compact
    def __call__(self, x):
        grid = x.grid.window(2, 2, 0)
        return x.replace(values=x.values[:, ::2, ::2], grid=grid)


class Ends(nn.Module):
    layer: nn.Module

    @nn.compact
    def __call__(self, x, *, train):
        return {"end": self.layer(Conv(2, 1, name="conv1")(x))}


@pytest.mark.parametrize("layer, words", [(Doubled(), "Doubled.*moves"), (GlobalMean(), "GlobalM")])
def test_a_layer_that_cannot_be_rarefied_is_named(layer, words):
    image = fcn.FeatureMap(jnp.zeros((1, 9, 9, 3)))
    trunk = Ends(layer)
    variables = random_variables_of(trunk, image, train=False)
    with pytest.raises(ValueError, match=words):
        rarefied_map(trunk, variables, image.values)


def test_mistakes_are_named():
    trunk, images = Valid(), images_of(16, 16)
    variables = random_variables_of(trunk, fcn.FeatureMap(images), train=False)
    with pytest.raises(ValueError, match="no map 'pool5'; it has conv2"):
        rarefied_map(trunk, variables, images, at="pool5")
    with pytest.raises(ValueError, match="conv2.*too small"):
        shift_and_stitch(trunk, variables, images[:, :7])
    with rarefied(), pytest.raises(ValueError, match="conv1 has no kernel yet"):
        jax.eval_shape(lambda: trunk.init(jax.random.key(0), fcn.FeatureMap(images), train=False))
    net = fcn.FCN32s(fcn.SqueezeNet(aligned=True), 2)
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    shapes = jax.eval_shape(net.init, jax.random.key(0), images)
    with rarefied(), pytest.raises(ValueError, match="upscore.*moves the grid"):
        jax.eval_shape(net.apply, shapes, images)
    with rarefied(), pytest.raises(ValueError, match="train=False"):
        jax.eval_shape(lambda v, x: net.apply(v, x, train=True), shapes, images)
