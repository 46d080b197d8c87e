"""Images of different sizes on one canvas give the same as each image alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import fcn_jax as fcn
from fcn_jax.losses import Normalization, softmax_loss

CANVAS, LARGER, CLASSES = (20, 26), (27, 31), 3
NARROW = 1 / 32
NETS = {
    "vgg-paper": fcn.FCN8s(fcn.VGG16(width=NARROW), CLASSES),
    "vgg-aligned-batch-norm": fcn.FCN8s(
        fcn.VGG16(width=NARROW, aligned=True, batch_norm=True), CLASSES
    ),
    "vgg-at-once-learned": fcn.FCN8s(
        fcn.VGG16(width=NARROW, aligned=True),
        CLASSES,
        skip_scales=(0.01, 0.0001),
        upsampling=fcn.LearnedUpsampling,
    ),
    "squeezenet-normalized": fcn.FCN16s(
        fcn.SqueezeNet(aligned=True),
        CLASSES,
        skips=("fire8",),
        final_upsampling=fcn.NormalizedUpsampling,
    ),
    "efficientnet-lite": fcn.FCN(
        fcn.EfficientNetLite(0, width=1 / 8),
        CLASSES,
        skips=("stage5", "stage3", "stage2"),
        upsampling=fcn.NormalizedUpsampling,
        final_upsampling=fcn.NormalizedUpsampling,
    ),
}


@functools.cache
def program(net):
    """The net's scores, one program for every size on a canvas of one shape."""
    return jax.jit(net.apply, compiler_options={"xla_backend_optimization_level": 0})


def draw(sizes, canvas, seed):
    """Images and labels with values in every cell, also outside the sizes."""
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(len(sizes), *canvas, 3)).astype(np.float32)
    labels = rng.integers(0, CLASSES, (len(sizes), *canvas)).astype(np.int32)
    labels[rng.random(labels.shape) < 0.2] = 255
    return images, labels


def on(canvas, image):
    """One image, its own size, on a canvas of its own."""
    h, w = image.shape[:2]
    wide = np.full((1, *canvas, image.shape[2]), 7, np.float32)
    wide[0, :h, :w] = image
    return wide, np.array([[h, w]], np.int32)


SIZES = st.tuples(st.integers(1, CANVAS[0]), st.integers(1, CANVAS[1]))


@pytest.mark.parametrize("name", NETS)
def test_a_canvas_does_not_matter(name, random_variables, close):
    net = NETS[name]
    variables = random_variables(net)
    run = program(net)

    @settings(max_examples=4)
    @example([(1, 1), CANVAS, (CANVAS[0], 1)], 0)
    @given(st.lists(SIZES, min_size=3, max_size=3), st.integers(0, 9))
    def check(sizes, seed):
        images, labels = draw(sizes, CANVAS, seed)
        scores = np.asarray(run(variables, images, np.array(sizes, np.int32)))
        assert np.any(scores)
        for b, (h, w) in enumerate(sizes):
            wide, size = on(LARGER, images[b, :h, :w])
            close(scores[b, :h, :w], np.asarray(run(variables, wide, size))[0, :h, :w])
            outside = scores[b].copy()
            outside[:h, :w] = 0
            assert not outside.any()

    check()


@pytest.mark.parametrize("name", NETS)
def test_scores_and_losses_are_those_of_single_images(name, random_variables, close):
    net = NETS[name]
    variables = random_variables(net)
    sizes = [(1, 1), (13, 22), (13, 22)]
    images, labels = draw(sizes, CANVAS, 1)
    size_array = np.array(sizes, np.int32)
    scores = program(net)(variables, images, size_array)
    alone, counts = [], []
    for b, (h, w) in enumerate(sizes):
        single = program(net)(variables, images[b : b + 1, :h, :w])
        close(np.asarray(scores)[b, :h, :w], np.asarray(single)[0])
        own = jnp.asarray(labels[b : b + 1, :h, :w])
        alone.append({n: float(softmax_loss(single, own, normalization=n)) for n in Normalization})
        counts.append({"valid": (own != 255).sum(), "full": h * w, "sum": 1, "batch": 1})
    together = {"labels": jnp.asarray(labels), "sizes": jnp.asarray(size_array)}
    for mode in Normalization:
        loss = float(softmax_loss(scores, **together, normalization=mode))
        weights = np.array([count[mode.value] for count in counts], np.float64)
        total = np.dot(weights, [single[mode] for single in alone])
        expected = total if mode is Normalization.SUM else total / max(weights.sum(), 1)
        assert loss == pytest.approx(expected, rel=1e-5), mode


def gradients(net):
    def objective(params, rest, images, labels, sizes):
        scores = net.apply({"params": params, **rest}, images, sizes=sizes)
        return softmax_loss(scores, labels, normalization=Normalization.SUM, sizes=sizes)

    options = {"xla_backend_optimization_level": 0}
    return jax.jit(jax.value_and_grad(objective), compiler_options=options)


def check_gradients(net, random_variables, close):
    """A batch gives the sum of its images' gradients; an image on a canvas, the same as alone."""
    variables = dict(random_variables(net))
    params = variables.pop("params")
    sizes = [(13, 22), CANVAS]
    images, labels = draw(sizes, CANVAS, 2)
    run, size_array = gradients(net), np.array(sizes, np.int32)
    loss, gradient = run(params, variables, images, labels, size_array)
    only = []
    for b in range(2):
        kept = labels.copy()
        kept[1 - b] = 255
        only.append(run(params, variables, images, kept, size_array))
    close(loss, only[0][0] + only[1][0])
    close(gradient, jax.tree.map(np.add, only[0][1], only[1][1]))
    h, w = sizes[0]
    alone = run(params, variables, images[:1, :h, :w], labels[:1, :h, :w], None)
    close(only[0], alone)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(alone[1]))


def test_gradients_are_those_of_single_images(random_variables, close):
    check_gradients(NETS["vgg-paper"], random_variables, close)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NETS if name != "vgg-paper"])
def test_gradients_of_every_net_are_those_of_single_images(name, random_variables, close):
    check_gradients(NETS[name], random_variables, close)
