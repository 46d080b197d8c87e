"""ResNet, MobileNetV3 and ConvNeXt: their geometry, and images of different sizes together.

`test_torch_trunks.py` compares their values with torchvision's.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fcn_jax as fcn
from fcn_jax.losses import Normalization, softmax_loss
from fcn_jax.nets.inputs import as_image

RESNET = fcn.ResNet(18, width=1 / 16)
MOBILENET = fcn.MobileNetV3(width=1 / 16)
CONVNEXT = fcn.ConvNeXt(depths=(1, 1, 2, 1), drop_path=0.0, width=1 / 16)
HASTY = {"xla_backend_optimization_level": 0}  # to compile, not to run
PUBLISHED = {
    "resnet18": (fcn.ResNet(18), 11_689_512, 435),
    "resnet34": (fcn.ResNet(34), 21_797_672, 899),
    "resnet50": (fcn.ResNet(50), 25_557_032, 427),
    "resnet101": (fcn.ResNet(101), 44_549_160, 971),
    "mobilenet_v3_large": (fcn.MobileNetV3(), 5_483_032, float("inf")),
    "convnext_tiny": (fcn.ConvNeXt(), 28_589_128, 1688),
}


def slow(*values):
    """Values of a parameter, for `pytest -m slow` only."""
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


def maps_of(trunk, rows, columns):
    """Maps of a trunk by name, traced only."""
    found = {}

    def trace(key):
        image = as_image(jnp.zeros((1, rows, columns, 3)), None, jnp.float32)
        found.update(trunk.init_with_output(key, image, train=False)[0])

    jax.eval_shape(trace, jax.random.key(0))
    return found


@pytest.mark.parametrize(
    "name",
    [
        *("resnet18", "resnet50", "mobilenet_v3_large", "convnext_tiny"),
        *slow("resnet34", "resnet101"),
    ],
)
def test_published_figures(name):
    """Parameters with the classifier, and the receptive field of the deepest map."""
    trunk, parameters, field = PUBLISHED[name]
    images = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    net = fcn.Classifier(trunk)
    scores, variables = jax.eval_shape(net.init_with_output, jax.random.key(0), images)
    assert scores.shape == (1, 1, 1, 1000)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == parameters
    deepest = list(maps_of(trunk, 64, 64).values())[-1]
    assert (deepest.shape, deepest.grid.stride, deepest.grid.field) == ((2, 2), 32, field)


@pytest.mark.parametrize(
    ("trunk", "strides", "offsets"),
    [
        (RESNET, [2, 4, 8, 16, 32], [0, 0, 0, 0, 0]),
        (RESNET.clone(output_stride=16), [2, 4, 8, 16], [0, 0, 0, 0]),
        (RESNET.clone(output_stride=8, dilate_first_block=True), [2, 4, 8], [0, 0, 0]),
        (MOBILENET, [2, 4, 8, 16, 32], [0, 0, 0, 0, 0]),
        (MOBILENET.clone(output_stride=16), [2, 4, 8, 16], [0, 0, 0, 0]),
        (CONVNEXT, [4, 8, 16, 32], [1.5, 3.5, 7.5, 15.5]),
    ],
)
def test_there_is_a_map_at_every_stride(trunk, strides, offsets):
    maps = maps_of(trunk, 68, 97)  # conv1 of 34 rows: floor and ceil mode differ
    found = {m.grid.stride: m.grid.offset for m in maps.values()}
    assert (list(found), list(found.values())) == (strides, offsets)
    assert all(name == m.name for name, m in maps.items())
    for m in maps.values():
        round_to = np.floor if trunk is CONVNEXT else np.ceil
        assert m.shape == tuple(round_to(np.array([68, 97]) / float(m.grid.stride)))


@pytest.mark.parametrize(("output_stride", "first"), [(16, False), (4, False), (8, True)])
def test_dilation_changes_neither_weights_nor_fields(output_stride, first):
    dilated = RESNET.clone(output_stride=output_stride, dilate_first_block=first)
    shapes = [
        jax.eval_shape(
            fcn.FCN32s(t, 2).init, jax.random.key(0), jax.ShapeDtypeStruct((1, 9, 9, 3), "float32")
        )
        for t in (RESNET, dilated)
    ]
    assert shapes[0] == shapes[1]
    fields = [[m.grid.field for m in maps_of(t, 9, 9).values()] for t in (RESNET, dilated)]
    assert (fields[0] == fields[1]) is not first


@pytest.mark.parametrize("trunk", [RESNET, *slow(fcn.ResNet(50, width=1 / 32))])
def test_dilation_computes_cells_between_those_that_were_there(trunk, random_variables, close):
    """The à trous algorithm; Chen et al., "Semantic Image Segmentation with Deep ...", 2015."""
    own = random_variables(fcn.FCN32s(trunk, 2))
    variables = {kind: tree["trunk"] for kind, tree in own.items()}
    image = jnp.asarray(np.random.default_rng(0).normal(size=(1, 70, 45, 3)), jnp.float32)

    @functools.partial(jax.jit, static_argnums=0, compiler_options=HASTY)
    def run(trunk, image):
        maps = trunk.apply(variables, as_image(image, None, jnp.float32), train=False)
        return maps["layer4"].values

    sparse, dense = run(trunk, image), run(trunk.clone(output_stride=8), image)
    assert (sparse.shape[1:3], dense.shape[1:3]) == ((3, 2), (9, 6))
    close(dense[:, ::4, ::4], sparse)


def test_other_depths_and_strides_are_refused():
    with pytest.raises(ValueError, match="ResNet: depth must be one of .*18.*got 51"):
        fcn.ResNet(51)
    with pytest.raises(ValueError, match="ResNet: output_stride must be one of .*got 2"):
        fcn.ResNet(50, output_stride=2)
    with pytest.raises(ValueError, match="MobileNetV3: output_stride must be 32 or 16, got 8"):
        fcn.MobileNetV3(output_stride=8)


def fcn_on(trunk, *skips):
    return fcn.FCN(
        trunk,
        num_classes=3,
        skips=skips,
        upsampling=fcn.NormalizedUpsampling,
        final_upsampling=fcn.NormalizedUpsampling,
    )


NETS = {
    "resnet": fcn_on(RESNET, "layer3", "layer2"),
    "resnet-stride-8": fcn_on(RESNET.clone(output_stride=8)),
    "mobilenet": fcn_on(MOBILENET, "block12", "block6"),
    "convnext": fcn_on(CONVNEXT.clone(ring=16), "stage3", "stage2"),
}


@pytest.mark.parametrize("name", ["resnet", "convnext", *slow("resnet-stride-8", "mobilenet")])
@pytest.mark.parametrize("sizes", [(1, 47, 62), *slow(range(1, 70, 2))])
def test_an_fcn_covers_images_of_any_size(name, sizes):
    net = NETS[name]
    variables = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    for size in sizes:
        image = jax.ShapeDtypeStruct((1, size, size + 1, 3), jnp.float32)
        assert jax.eval_shape(net.apply, variables, image).shape == (1, size, size + 1, 3)


def test_convnext_needs_a_ring_of_16():
    small = jnp.zeros((1, 1, 40, 3))
    with pytest.raises(ValueError, match="does not fit.*larger ring"):
        jax.eval_shape(fcn_on(CONVNEXT.clone(ring=15)).init, jax.random.key(0), small)
    with pytest.raises(ValueError, match="does not cover the image.*larger ring"):
        jax.eval_shape(fcn_on(CONVNEXT).init, jax.random.key(0), jnp.zeros((1, 62, 62, 3)))


CANVAS = (37, 41)


@functools.cache
def program(net, train):
    """Loss, scores, new batch statistics, and the gradient, of one program for all sizes."""

    def objective(params, stats, images, labels, sizes):
        variables = {"params": params, **stats}
        scores, changed = net.apply(
            variables, images, sizes=sizes, train=train, mutable=["batch_stats"]
        )
        loss = softmax_loss(scores, labels, normalization=Normalization.SUM, sizes=sizes)
        return loss, (scores, changed)

    run = jax.value_and_grad(objective, has_aux=True)
    return jax.jit(run, compiler_options=HASTY)


def setting(name, random_variables):
    """A net, its weights, and images and labels with values in every cell."""
    net = NETS[name]
    stats = dict(random_variables(net, size=32))
    rng = np.random.default_rng(0)
    images = rng.normal(size=(3, *CANVAS, 3)).astype(np.float32)
    labels = rng.integers(0, 3, (3, *CANVAS)).astype(np.int32)
    return stats.pop("params"), stats, images, labels


@pytest.mark.parametrize("name", [n for n in NETS if n != "resnet-stride-8"])
def test_scores_of_images_together_are_those_of_each_alone(name, random_variables, close):
    """Three images on a canvas; the second fills it."""
    params, stats, images, _ = setting(name, random_variables)
    run = jax.jit(NETS[name].apply, compiler_options=HASTY)
    sizes = np.array([(33, 7), CANVAS, (1, 38)], np.int32)
    scores = run({"params": params, **stats}, images, sizes)
    for b, (h, w) in enumerate(sizes):
        outside = np.array(scores[b])
        outside[:h, :w] = 0
        assert not outside.any() and np.any(scores[b])
    h, w = sizes[0]
    close(scores[:1, :h, :w], run({"params": params, **stats}, images[:1, :h, :w]))


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_gradients_of_images_together_are_those_of_each_alone(name, random_variables, close):
    params, stats, images, labels = setting(name, random_variables)
    sizes = np.array([(33, 7), CANVAS, (1, 38)], np.int32)
    run = functools.partial(program(NETS[name], False), params, stats)
    gradient, parts = run(images, labels, sizes)[1], []
    for b in range(3):
        kept = np.full_like(labels, 255)
        kept[b] = labels[b]
        parts.append(run(images, kept, sizes)[1])
    close(gradient, jax.tree.map(lambda *leaves: np.sum(leaves, 0), *parts))
    for b in (0, 2):
        h, w = sizes[b]
        alone = run(images[b : b + 1, :h, :w], labels[b : b + 1, :h, :w], None)
        close(parts[b], alone[1], 3e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_a_training_step_is_that_of_the_images_alone(name, random_variables, close):
    """Two images of one size on a canvas, and without it: batch statistics are over true cells."""
    params, stats, images, labels = setting(name, random_variables)
    images, labels, (h, w) = images[:2], labels[:2], (34, 39)
    run = functools.partial(program(NETS[name], True), params, stats)
    sizes = np.array([(h, w), (h, w)], np.int32)
    (loss, (scores, changed)), gradient = run(images, labels, sizes)
    own = run(images[:, :h, :w], labels[:, :h, :w], None)
    close((loss, scores[:, :h, :w], changed), (own[0][0], *own[0][1]), 2e-5)
    # A bias before a batch norm has no gradient, only rounding errors.
    largest = max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(own[1]))
    for found, expected in zip(jax.tree.leaves(gradient), jax.tree.leaves(own[1]), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * largest)


def test_the_heat_map_of_an_ending_that_is_not_linear(random_variables):
    """At each place the mean of the window, then the normalisation and the last layer."""
    net = fcn.Classifier(CONVNEXT, num_classes=3)
    variables = random_variables(net, size=224)
    image = np.random.default_rng(0).normal(size=(1, 256, 224, 3)).astype(np.float32)

    @functools.partial(jax.jit, compiler_options=HASTY)
    def run(variables, image):
        own = {"params": variables["params"]["trunk"]}
        maps = CONVNEXT.apply(own, as_image(image, None, jnp.float32), train=False)
        return net.apply(variables, image), maps["stage4"].values

    heat, deepest = run(variables, image)
    params = jax.tree.map(np.asarray, variables["params"])
    means = np.stack([np.asarray(deepest)[0, i : i + 7].mean((0, 1)) for i in range(2)])
    means = (means - means.mean(1, keepdims=True)) / np.sqrt(means.var(1, keepdims=True) + 1e-6)
    norm, last = params["pooled"]["norm"], params["fc"]
    expected = (means * norm["scale"] + norm["bias"]) @ last["kernel"][0, 0] + last["bias"]
    np.testing.assert_allclose(heat[0, :, 0], expected, rtol=1e-4, atol=1e-4)
