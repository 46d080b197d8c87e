"""Predictions tile by tile equal those of the whole image."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

import fcn_jax as fcn
from fcn_jax.inference.predictor import Predictor
from fcn_jax.inference.tile_spans import NetGeometry, net_geometry, tile_spans
from fcn_jax.inference.tiling import TiledPredictor
from fcn_jax.nn.layers import Conv, GlobalMean, MaxPool
from fcn_jax.report.palette import voc_palette

CLASSES = 3
FAST = {"xla_backend_optimization_level": 0}  # to compile, not to run


class Small(nn.Module):
    """Strides 1/2 to 1/8, pools whose windows overlap, with and without a ring."""

    ring: int = 11

    @nn.compact
    def __call__(self, x, *, train):
        x = Conv(4, 5, stride=2, padding=2, relu=True, name="conv1")(x)
        x = half = Conv(4, 3, padding=1, relu=True, name="conv2")(x)
        x = MaxPool(3, 2, name="pool2")(x)
        x = MaxPool(2, 2, name="pool3")(Conv(6, 3, padding=1, relu=True, name="conv3")(x))
        return {"half": half, "deep": Conv(8, 3, padding=1, relu=True, name="conv4")(x)}


class WithMean(Small):
    """The same with the mean of the whole image."""

    @nn.compact
    def __call__(self, x, *, train):
        maps = super().__call__(x, train=train)
        return {**maps, "deep": GlobalMean(name="scene")(maps["deep"])}


class Plain(nn.Module):
    """A net without feature maps."""

    @nn.compact
    def __call__(self, images, sizes=None, *, train=False):
        return nn.Dense(CLASSES)(images)


def small_net(ring=11, num_classes=CLASSES, **fields):
    return fcn.FCN(trunk=Small(ring=ring), num_classes=num_classes, skips=("half",), **fields)


SMALL = {
    "ring": small_net(),
    "normalized": small_net(16, final_upsampling=fcn.NormalizedUpsampling),
    "learned": small_net(8, upsampling=fcn.LearnedUpsampling),
}

NARROW = {"width": 1 / 32}
LARGE = {
    "vgg-8s": (fcn.FCN8s(fcn.VGG16(**NARROW), CLASSES), 576),
    "vgg-16s": (fcn.FCN16s(fcn.VGG16(**NARROW), CLASSES), 576),
    "vgg-32s": (fcn.FCN32s(fcn.VGG16(**NARROW), CLASSES), 576),
    "vgg-8s-aligned": (fcn.FCN8s(fcn.VGG16(**NARROW, aligned=True), CLASSES), 576),
    "vgg-16s-aligned": (fcn.FCN16s(fcn.VGG16(**NARROW, aligned=True), CLASSES), 576),
    "vgg-32s-aligned": (fcn.FCN32s(fcn.VGG16(**NARROW, aligned=True), CLASSES), 576),
    "squeezenet": (fcn.FCN8s(fcn.SqueezeNet(), CLASSES, skips=("fire8", "fire4")), 256),
    "squeezenet-aligned": (
        fcn.FCN8s(fcn.SqueezeNet(aligned=True), CLASSES, skips=("fire8", "fire4")),
        256,
    ),
}


@pytest.fixture(autouse=True)
def compiled_fast(monkeypatch):
    """The programs of these tests run for milliseconds."""
    monkeypatch.setattr("fcn_jax.devices.compiling.compiler_options", lambda: FAST)


def plain(images, sizes):
    return images.astype(jnp.float32) / 64 - 2


def random_image(seed, h, w, channels=3):
    return np.random.default_rng(seed).integers(0, 256, (h, w, channels)).astype(np.uint8)


def check_equal(tiled, whole):
    largest = np.abs(whole).max()
    assert largest > 0 and tiled.shape == whole.shape and tiled.dtype == whole.dtype
    assert np.abs(tiled - whole).max() <= 1e-5 * largest


@pytest.mark.parametrize(
    "name", ["ring", "normalized", pytest.param("learned", marks=pytest.mark.slow)]
)
def test_any_size_has_the_scores_of_the_whole_image(name, random_variables):
    net = SMALL[name]
    variables = random_variables(net)
    tiled = TiledPredictor(net, variables, plain, tile=128)
    whole = Predictor(net, variables, plain, multiple=320)
    side = st.integers(1, 320)

    @settings(max_examples=6)
    @example((129, 320))  # two tiles by several; the border cuts off one
    @example((128, 127))  # one tile
    @example((193, 1))
    @given(st.tuples(side, side))
    def check(size):
        image = random_image(sum(size), *size)
        check_equal(tiled.scores(image), whole.scores(image))

    check()


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_the_papers_nets_have_the_scores_of_the_whole_image(name, random_variables):
    net, tile = LARGE[name]
    variables = random_variables(net, size=256)
    tiled = TiledPredictor(net, variables, plain, tile=tile)
    # Four tiles on top of each other, of which the last is cut off at an odd place.
    image = random_image(1, 2 * tiled.geometry.stride + tile + 39, 131)
    alone = jax.jit(net.apply, compiler_options=FAST)(variables, plain(image[None], None))
    check_equal(tiled.scores(image), np.asarray(alone[0]))


def test_margin_and_stride_follow_from_the_grids(random_variables):
    # 404 pixels of fc7, and 3 * 16, 3 * 8 and 15 of the three upsamplings: half of 491 - 1.
    net = LARGE["vgg-8s"][0]
    assert net_geometry(net, random_variables(net), plain) == NetGeometry(245, 32)


def test_nothing_beyond_the_margin_changes_a_score(random_variables):
    net = SMALL["ring"]
    variables = random_variables(net)
    found = net_geometry(net, variables, plain)

    @functools.partial(jax.jit, compiler_options=FAST)
    def gradient(image, y):
        return jax.grad(lambda x: net.apply(variables, x)[0, y, y].sum())(image)

    for y in (60, 65):
        seen = gradient(random_image(0, 128, 128)[None] / np.float32(64), y)
        rows = np.flatnonzero(np.any(np.asarray(seen), (0, 2, 3)))
        assert max(y - rows.min(), rows.max() - y) <= found.margin
        assert rows.max() - rows.min() > found.margin  # an upper bound, but not a loose one


@settings(max_examples=60)
@given(st.integers(1, 3000), st.integers(0, 60), st.sampled_from([1, 8, 24, 32]), st.data())
def test_every_pixel_is_kept_once_and_with_its_context(length, margin, stride, data):
    tile = data.draw(st.integers(2 * margin + stride, 4 * margin + 5 * stride))
    spans = tile_spans(length, tile, NetGeometry(margin, stride))
    kept = [(span.start + span.kept.start, span.start + span.kept.stop) for span in spans]
    assert [p for first, last in kept for p in range(first, last)] == list(range(length))
    for span, (first, last) in zip(spans, kept, strict=True):
        assert span.start % stride == 0 and span.start <= first < last <= span.stop
        assert span.start == 0 or span.start + margin <= first
        assert span.stop == length or last + margin <= span.stop
        size = span.stop - span.start
        assert tile - stride < size <= tile or len(spans) == 1 and size == length <= tile


def test_all_tiles_share_a_program(random_variables):
    traced = []

    def counted(images, sizes):
        traced.append(images.shape)
        return plain(images, sizes)

    net = SMALL["ring"]
    predict = TiledPredictor(net, random_variables(net), counted, tile=191)  # rounded to 128
    traced.clear()
    for size in ((320, 200), (129, 301), (128, 97)):
        assert predict(random_image(0, *size)).shape == size
    assert traced == [(1, 128, 128, 3)]


def test_what_cannot_be_tiled_is_refused(random_variables):
    def refused(net, tile=128):
        variables = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 256, 256, 3)))
        TiledPredictor(net, variables, plain, tile=tile)

    with pytest.raises(ValueError, match=r"trunk/scene \(GlobalMean\) looks at the whole image"):
        refused(fcn.FCN(trunk=WithMean(), num_classes=2))
    with pytest.raises(ValueError, match="depends on 27 pixels .* at least 64 pixels, found 63"):
        refused(SMALL["ring"], 63)
    with pytest.raises(ValueError, match="Plain: expected a net .* found no feature maps"):
        refused(Plain())
    with pytest.raises(ValueError, match="Classifier: expected a net whose last feature map"):
        refused(fcn.Classifier(Small()))
    net = SMALL["ring"]
    predict = TiledPredictor(net, random_variables(net), plain, tile=128)
    with pytest.raises(ValueError, match="uint8.*found"):
        predict(np.zeros((0, 4, 3), np.uint8))
    with pytest.raises(ValueError, match=r"uint8 array \(h, w, 3\).* found uint8 \(4, 4\)"):
        # `predict` itself is type-checked here
        predict._predict_array(np.zeros((4, 4), np.uint8), scores=False)


def test_a_file_has_the_labels_of_the_image(tmp_path, random_variables, monkeypatch):
    monkeypatch.setattr("fcn_jax.inference.large_files.strips.STRIP_BYTES", 5000)
    net = SMALL["ring"]
    variables = random_variables(net)
    predict = TiledPredictor(net, variables, plain, tile=128)
    image = random_image(10, 301, 170)
    expected = Predictor(net, variables, plain, multiple=320)(image)
    assert len(np.unique(expected)) == CLASSES
    for path in (tmp_path / "a.png", tmp_path / "a.tif"):
        Image.fromarray(image).save(path)
        rows, out = [], tmp_path / "out" / "label.png"
        assert predict.predict_file(path, out, progress=lambda *d, r=rows: r.append(d)) == out
        assert rows == sorted(rows) and len(rows) > 1 and rows[-1] == (301, 301)
        with Image.open(out) as label:
            assert label.getpalette() == voc_palette().ravel().tolist()
            np.testing.assert_array_equal(np.asarray(label), expected)
    np.testing.assert_array_equal(predict(image), expected)
    with pytest.raises(ValueError, match="another file than the image"):
        predict.predict_file(tmp_path / "a.png", tmp_path / "a.png")
