"""Any trunk with any decoder: builds, trains, and takes ragged batches exactly."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fcn_jax as fcn
from fcn_jax.nets import decoders, heads
from fcn_jax.nets.segmenter import Segmenter
from fcn_jax.nn.layers import Conv
from fcn_jax.nn.stretching import Align
from fcn_jax.nn.upsampling import NormalizedUpsampling


class Small(nn.Module):
    """A trunk of a convolution at each stride; cell i lies at pixel s i, as in a ResNet."""

    @nn.compact
    def __call__(self, x, *, train):
        maps = {}
        for stride in (2, 4, 8, 16, 32):
            x = Conv(6, 3, 2, 1, relu=True, name=f"conv{stride}")(x)
            maps[f"conv{stride}"] = x
        return maps


TRUNKS = {
    "small": Small(),
    "efficientnet_lite": fcn.EfficientNetLite(0, drop_connect=0.0, width=0.15),
    "resnet": fcn.ResNet(18, width=0.1),
    "dilated resnet": fcn.ResNet(50, output_stride=8, width=0.05),
    "mobilenet": fcn.MobileNetV3(width=0.25),
    "convnext": fcn.ConvNeXt((1, 1, 1, 1), drop_path=0.0, width=0.05),
    "squeezenet": fcn.SqueezeNet(aligned=True, dropout=0.0),
    "vgg": fcn.VGG16(aligned=True, width=0.05, dropout=0.0, last="pool5"),
}
DECODERS = {
    "none": None,
    "unet": decoders.UNet((8, 8, 6, 6, 4)),
    "fpn": decoders.FPN(8, 8, groups=4, dropout=0.0),
    "fpn, corners": decoders.FPN(8, 8, groups=4, dropout=0.0, align=Align.CORNERS),
    "psp": decoders.PSP(features=8, dropout=0.0),
    "aspp": decoders.ASPP((1, 2), 8, dropout=0.0),
    "deeplab": decoders.DeepLabV3Plus((1, 2), 8, 4, dropout=0.0, align=Align.EDGES),
    "lraspp": decoders.LRASPP(8),
    "skips": decoders.Skips(features=8),
}


def drawn(net, image, sizes, seed=0):
    """Variables drawn at random, also where they begin as zeros."""
    shapes = jax.eval_shape(lambda x, s: net.init(jax.random.key(0), x, s), image, sizes)
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        noise = rng.normal(size=leaf.shape).astype(np.float32)
        if path[-1].key in ("scale", "var"):
            return 1 + 0.1 * np.abs(noise)
        fan_in = int(np.prod(leaf.shape[:-1])) if len(leaf.shape) > 1 else 100
        return noise / np.sqrt(fan_in)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def pairs(*fast):
    """All pairs; those of other trunks are slow, apart from the two of a decoder each."""
    others = {("mobilenet", "lraspp"), ("efficientnet_lite", "unet")}
    return [
        pytest.param(
            trunk,
            decoder,
            marks=[] if trunk in fast or (trunk, decoder) in others else pytest.mark.slow,
        )
        for trunk in TRUNKS
        for decoder in DECODERS
    ]


@pytest.mark.parametrize(("trunk", "decoder"), pairs("small"))
def test_a_ragged_batch_gives_scores_and_gradients_of_the_images_alone(trunk, decoder):
    head = heads.Pixels(3)
    net = Segmenter(trunk=TRUNKS[trunk], decoder=DECODERS[decoder], heads=head)
    rng = np.random.default_rng(1)
    sizes = [(70, 97), (96, 65)]
    canvas = np.zeros((2, 96, 97, 3), np.float32)
    images = [rng.normal(size=(1, *size, 3)).astype(np.float32) for size in sizes]
    for row, image in zip(canvas, images, strict=True):
        row[: image.shape[1], : image.shape[2]] = image[0]
    together = jnp.asarray(sizes, jnp.int32)
    variables = drawn(net, canvas, together)
    target = rng.normal(size=(2, 96, 97, 3)).astype(np.float32)
    cheap = {"xla_backend_optimization_level": 0}

    @functools.partial(jax.jit, compiler_options=cheap)
    def both(params, images, sizes, target):
        def score(params):
            scores = net.apply({**variables, "params": params}, images, sizes)
            return jnp.sum(scores * target), scores

        (_, scores), gradient = jax.value_and_grad(score, has_aux=True)(params)
        return scores, gradient

    scores, gradient = both(variables["params"], canvas, together, target)
    total = None
    for i, (image, (h, w)) in enumerate(zip(images, sizes, strict=True)):
        alone, part = both(variables["params"], image, None, target[i : i + 1, :h, :w])
        assert np.abs(alone).max() > 1e-3
        np.testing.assert_allclose(
            scores[i, :h, :w], alone[0], atol=2e-5 * float(np.abs(alone).max())
        )
        outside = np.array(scores[i])
        outside[:h, :w] = 0
        assert not outside.any()
        total = part if total is None else jax.tree.map(jnp.add, total, part)

    def close(ours, alone):
        np.testing.assert_allclose(ours, alone, atol=2e-4 * float(np.abs(alone).max()) + 1e-6)

    jax.tree.map(close, gradient, total)


@pytest.mark.parametrize(("trunk", "decoder"), pairs("small", "squeezenet", "convnext"))
def test_every_pair_trains(trunk, decoder):
    several = {
        "classes": heads.Pixels(3),
        "scene": heads.Vector(4),
        "aux": heads.Pixels(3, auxiliary=True),
    }
    net = Segmenter(trunk=TRUNKS[trunk], decoder=DECODERS[decoder], heads=several)
    images = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)

    def step(images):
        variables = net.init(jax.random.key(0), images)

        def loss(params):
            outputs, _ = net.apply(
                {**variables, "params": params},
                images,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": jax.random.key(1)},
            )
            return sum(jnp.sum(x) for x in outputs.values()), outputs

        gradient, outputs = jax.grad(loss, has_aux=True)(variables["params"])
        return gradient, outputs, net.apply(variables, images)

    _, trained, predicted = jax.eval_shape(step, images)
    assert trained["classes"].shape == trained["aux"].shape == (2, 64, 64, 3)
    assert trained["scene"].shape == (2, 4)
    assert set(predicted) == {"classes", "scene"} == set(net.num_classes)


def test_heads_decide_the_form_of_the_output():
    trunk = TRUNKS["vgg"]
    one = Segmenter(trunk=trunk, heads=heads.Pixels(5))
    named = Segmenter(
        trunk=trunk, heads={"a": heads.Pixels(5), "b": heads.Pixels(2, auxiliary=True)}
    )
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    for net in (one, named):
        assert net.num_classes == 5 and hash(net) == hash(net.clone())
        out, _ = jax.eval_shape(
            lambda x, net=net: net.init_with_output(jax.random.key(0), x), images
        )
        initial = out if net is one else out["a"]
        assert initial.shape == (1, 64, 64, 5)


def test_a_ring_is_refused_by_index_and_taken_by_grid():
    images = jax.ShapeDtypeStruct((1, 70, 97, 3), jnp.float32)

    def build(**parts):
        net = Segmenter(trunk=fcn.VGG16(width=0.02), **{"heads": heads.Pixels(2), **parts})
        return jax.eval_shape(lambda x: net.init_with_output(jax.random.key(0), x)[0], images)

    assert build().shape == (1, 70, 97, 2)
    by_grid = heads.Pixels(2, upsampling=NormalizedUpsampling)
    assert build(decoder=decoders.Skips(), heads=by_grid).shape == (1, 70, 97, 2)
    with pytest.raises(ValueError, match="pixels apart on the image.*aligned=True"):
        build(decoder=decoders.UNet())


def test_missing_maps_are_named():
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)

    def build(**parts):
        net = Segmenter(trunk=TRUNKS["vgg"], **{"heads": heads.Pixels(2), **parts})
        jax.eval_shape(lambda x: net.init(jax.random.key(0), x), images)

    with pytest.raises(ValueError, match="no map 'layer4'; it has image, trunk, conv1_1"):
        build(heads=heads.Pixels(2, source="layer4"))
    with pytest.raises(ValueError, match="no map at stride 64; it has some at 1, 2, 4, 8, 16, 32"):
        build(decoder=decoders.PSP(stride=64))


def test_an_image_that_is_too_small_is_refused_or_marked():
    """Alone it is an error; on a canvas, where nothing can be raised, its scores are NaN."""
    trunk = fcn.ConvNeXt((1, 1, 1, 1), drop_path=0.0, width=0.05)
    net = Segmenter(trunk=trunk, heads=heads.Pixels(2))
    images = jnp.zeros((3, 64, 64, 3))
    sizes = jnp.asarray([[64, 64], [20, 64], [0, 0]])
    variables = jax.eval_shape(net.init, jax.random.key(0), images)
    variables = jax.tree.map(lambda x: jnp.ones(x.shape), variables)
    scores = np.asarray(jax.jit(net.apply)(variables, images, sizes))
    assert np.isnan(scores[1]).all() and np.isfinite(scores[0]).all() and not scores[2].any()
    with pytest.raises(ValueError, match="image is too small"):
        net.apply(variables, images[1:2, :20], None)
