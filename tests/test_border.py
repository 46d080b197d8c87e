"""What does not depend on the image is computed once: same function and gradient, less work."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fcn_jax as fcn
from fcn_jax.nets.inputs import placeholder
from fcn_jax.nn import savings
from fcn_jax.nn.background import patch, whole, with_border
from fcn_jax.nn.feature_map import FeatureMap
from fcn_jax.nn.layers import Conv, MaxPool

NETS = {
    "vgg": fcn.FCN8s(fcn.VGG16(width=1 / 32), 2),
    "squeezenet": fcn.FCN(fcn.SqueezeNet(), 2, skips=("fire8", "fire4")),
    "googlenet": fcn.FCN32s(fcn.GoogLeNet(width=1 / 16), 2),
}
RNG = np.random.default_rng(0)


def variables_of(net):
    """Activations neither vanish nor explode, and biases make the background lively."""
    shapes = jax.eval_shape(net.init, jax.random.key(0), placeholder(net))

    def draw(s):
        scale = np.sqrt(2 / np.prod(s.shape[:-1])) if len(s.shape) > 1 else 0.3
        return jnp.asarray(RNG.normal(0, scale, s.shape), jnp.float32)

    return jax.tree.map(draw, shapes)


@pytest.mark.parametrize(
    ("name", "canvas", "sizes"),
    [
        pytest.param("vgg", (61, 90), None, marks=pytest.mark.slow),
        ("vgg", (70, 131), [[70, 131], [5, 64], [33, 1]]),
        pytest.param("vgg", (87, 58), [[87, 58], [86, 57], [71, 42]], marks=pytest.mark.slow),
        pytest.param("squeezenet", (75, 101), None, marks=pytest.mark.slow),
        pytest.param("squeezenet", (75, 101), [[75, 101], [40, 3]], marks=pytest.mark.slow),
        pytest.param("googlenet", (75, 101), None, marks=pytest.mark.slow),
        pytest.param("googlenet", (75, 101), [[75, 101], [40, 3]], marks=pytest.mark.slow),
    ],
)
def test_on_is_off(name, canvas, sizes):
    net = NETS[name]
    sizes = None if sizes is None else jnp.asarray(sizes)
    batch = 1 if sizes is None else len(sizes)
    x = jnp.asarray(RNG.normal(0, 1, (batch, *canvas, 3)), jnp.float32)
    weights = jnp.asarray(RNG.normal(0, 1, (batch, *canvas, 2)), jnp.float32)
    variables = variables_of(net)

    def run(on):
        def weighted(variables, x):
            with savings.use(border_skipping=on):
                scores = net.apply(variables, x, sizes=sizes)
            return jnp.sum(scores * weights), scores

        return jax.jit(jax.value_and_grad(weighted, argnums=(0, 1), has_aux=True))(variables, x)

    ((_, scores), gradient), ((_, expected), expected_gradient) = run(True), run(False)
    assert jnp.abs(scores - expected).max() <= 1e-6 * jnp.abs(expected).max()
    for found, wanted in zip(*map(jax.tree.leaves, (gradient, expected_gradient)), strict=True):
        assert jnp.abs(found - wanted).max() <= 3e-5 * jnp.abs(wanted).max() + 1e-12


def test_less_is_computed():
    net = fcn.FCN8s(fcn.VGG16(width=1 / 16), 2)

    def flops(on):
        shapes = jax.eval_shape(net.init, jax.random.key(0), placeholder(net))
        x = jax.ShapeDtypeStruct((1, 75, 100, 3), jnp.float32)
        with savings.use(border_skipping=on):
            return jax.jit(net.apply).lower(shapes, x).compile().cost_analysis()["flops"]

    assert flops(True) < 0.6 * flops(False)


@pytest.mark.parametrize("sizes", [None, [[60, 83], [7, 40]]])
@pytest.mark.parametrize("platform", ["cpu", "tpu"])
def test_any_part_of_a_map_is_that_of_the_whole(sizes, platform):
    """After layers with stride and padding, patches inside, across and outside the map."""
    with savings.traced_for(platform):
        _check_parts(sizes)


def _check_parts(sizes):
    batch = 1 if sizes is None else 2
    image = FeatureMap(
        jnp.asarray(RNG.normal(0, 1, (batch, 60, 83, 2)), jnp.float32),
        None if sizes is None else jnp.asarray(sizes),
        ring=100,
    ).masked()
    first = Conv(3, 3, padding=1, relu=True)
    layers = [first, Conv(3, 3, padding=1), MaxPool(3, 2), Conv(2, 5, padding=2)]
    keys = jax.random.split(jax.random.key(0), 4)
    bordered, plain = with_border(image), image
    assert bordered.border is not None
    for layer, key in zip(layers, keys, strict=True):
        variables = layer.init(key, plain)
        variables = jax.tree.map(lambda v: v + 0.1, variables)
        bordered, plain = layer.apply(variables, bordered), layer.apply(variables, plain)
        assert bordered.shape == plain.shape and bordered.grid == plain.grid
        np.testing.assert_allclose(whole(bordered).values, plain.values, atol=1e-5)
    h, w = plain.shape
    for rows, columns in (((30, 60), (40, 70)), ((-3, h + 2), (-1, w + 4)), ((40, 80), (20, 90))):
        padded = np.pad(plain.values, ((0, 0), (5, 5), (5, 5), (0, 0)))
        expected = padded[:, rows[0] + 5 : rows[1] + 5, columns[0] + 5 : columns[1] + 5]
        np.testing.assert_allclose(patch(bordered, rows, columns), expected, atol=1e-5)


def test_a_tpu_puts_a_frame_around_fewer_maps():
    """A wide frame serves the layers after it, down to the next pool; without it, each has one."""
    net = fcn.FCN8s(fcn.VGG16(width=1 / 32), 2)
    shapes = jax.eval_shape(net.init, jax.random.key(0), placeholder(net))

    def frames(platform):
        with savings.traced_for(platform):
            traced = jax.make_jaxpr(net.apply)(shapes, jnp.zeros((1, 256, 320, 3)))
        return str(traced).count("dynamic_update_slice") / 4  # four sides

    # 13 layers, some of them pools; the map of pool3's scores and the whole map after conv4_3.
    assert frames("cpu") >= 13 and frames("tpu") <= 6


def test_a_small_ring_is_not_worth_it():
    image = FeatureMap(jnp.zeros((1, 500, 500, 3)), ring=3)
    assert with_border(image) is image


def test_a_trunk_that_does_not_say_so_sees_the_whole_image():
    net = fcn.FCN32s(fcn.AlexNet(width=1 / 32), 2)
    seen = []

    def note(next_call, args, kwargs, context):
        if isinstance(context.module, fcn.AlexNet) and context.method_name == "__call__":
            seen.append(args[0].border)
        return next_call(*args, **kwargs)

    with nn.intercept_methods(note):
        jax.eval_shape(net.init, jax.random.key(0), placeholder(net, (1, 90, 90)))
    assert seen == [None]
