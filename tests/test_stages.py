"""The reference's recipes on small data in the real layout: two steps and one evaluation each.

The trunk is narrow; everything else is the recipe's.
"""

import dataclasses
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.io
from PIL import Image

from fcn_jax import VGG16, Classifier, surgery
from fcn_jax.preprocessing import CAFFE
from fcn_jax.runs.place import Place
from fcn_jax.runs.run import run
from fcn_jax.runs.start import run_variables
from fcn_jax.weights.weights_file import Metadata, save_weights

NARROW = VGG16(width=1 / 64)
SIZES = ((24, 32), (24, 32), (23, 31))  # one canvas, so compiled once


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """SBD and VOC 2011 in their layouts, with a few small images."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    sbd, voc = root / "benchmark_RELEASE" / "dataset", root / "VOCdevkit" / "VOC2011"
    lists = voc / "ImageSets" / "Segmentation"
    for folder in (sbd / "img", sbd / "cls", voc / "JPEGImages", voc / "SegmentationClass", lists):
        folder.mkdir(parents=True)
    for i, (h, w) in enumerate(SIZES):
        image = Image.fromarray(rng.integers(0, 255, (h, w, 3), np.uint8))
        label = rng.integers(0, 21, (h, w)).astype(np.uint8)
        label[:2] = 255
        image.save(sbd / "img" / f"s{i}.jpg")
        image.save(voc / "JPEGImages" / f"v{i}.jpg")
        scipy.io.savemat(sbd / "cls" / f"s{i}.mat", {"GTcls": {"Segmentation": label}})
        Image.fromarray(label).save(voc / "SegmentationClass" / f"v{i}.png")
    (sbd / "train.txt").write_text("s0\ns1\ns2\n")
    (lists / "seg11valid.txt").write_text("v0\nv1\nv2\n")
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A narrow VGG16 with random weights, in a file as a converter writes it."""
    net = Classifier(NARROW, num_classes=10)
    shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 224, 224, 3)))
    rng = np.random.default_rng(1)
    variables = jax.tree.map(lambda x: rng.normal(0, 0.05, x.shape).astype(np.float32), shapes)
    path = tmp_path_factory.mktemp("weights") / "vgg16.safetensors"
    about = Metadata(
        architecture="VGG16", num_classes=10, preprocessing=CAFFE, source="made by a test"
    )
    save_weights(path, variables, about)
    return path, variables


def two_steps(name, data, workdir, init=None):
    recipe = importlib.import_module(f"experiments.{name}").RECIPE
    recipe = dataclasses.replace(recipe, model=recipe.model.clone(trunk=NARROW), steps=2)
    machine = Place(workdir=workdir, data=data, init=init, threads=0)
    line = run(recipe, machine, origin={"module": name, "overrides": {}}, say=lambda _: None)
    assert line is not None and (line["step"], line["split"]) == (2, "seg11valid")
    return run_variables(workdir)[0]["params"]


def test_each_stage_starts_from_the_one_before(data, weights, tmp_path):
    path, classifier = weights
    coarse = two_steps("voc_fcn32s", data, tmp_path / "voc_fcn32s", init=path)
    middle = two_steps("voc_fcn16s", data, tmp_path / "voc_fcn16s")
    fine = two_steps("voc_fcn8s", data, tmp_path / "voc_fcn8s")
    assert coarse.keys() < middle.keys() < fine.keys()
    # At the heavy rates two steps hardly change a weight, so it shows where it started.
    for before, after in ((classifier["params"], coarse), (coarse, middle), (middle, fine)):
        for layer in ("conv1_1", "conv5_3", "fc7"):
            old, new = (tree["trunk"][layer]["kernel"] for tree in (before, after))
            np.testing.assert_allclose(old, new, atol=1e-5)
    assert np.any(np.asarray(coarse["score_fr"]["kernel"]))
    np.testing.assert_allclose(coarse["score_fr"]["kernel"], fine["score_fr"]["kernel"], atol=1e-5)


def test_fixed_trains_only_the_score_layer(data, weights, tmp_path):
    path, classifier = weights
    params = two_steps("voc_fcn32s_fixed", data, tmp_path / "fixed", init=path)
    for layer, arrays in params["trunk"].items():
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, classifier["params"]["trunk"][layer][name])
    assert np.any(np.asarray(params["score_fr"]["kernel"]))


def test_a_stage_without_the_one_before_says_what_to_run_first(data, tmp_path):
    with pytest.raises(ValueError, match="python -m experiments.voc_fcn32s.*first"):
        two_steps("voc_fcn16s", data, tmp_path / "alone" / "voc_fcn16s")


def test_missing_weights_say_how_to_make_them(data, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "fcn_jax.runs.start.__file__", str(tmp_path / "fcn_jax" / "runs" / "start.py")
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"vgg16.safetensors.*weights/README.md"):
        two_steps("voc_fcn32s", data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_weights_of_another_net_are_refused_and_no_run_is_started(data, weights, tmp_path):
    path = tmp_path / "other.safetensors"
    net = Classifier(VGG16(width=1 / 32), num_classes=10)
    shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 224, 224, 3)))
    variables = jax.tree.map(lambda x: np.zeros(x.shape, np.float32), shapes)
    about = Metadata(architecture="VGG16", num_classes=10, preprocessing=CAFFE, source="a test")
    save_weights(path, surgery.zero_scores({"params": {"score_x": {"kernel": np.ones(1)}}}), about)
    with pytest.raises(ValueError, match="the donor has no trunk/conv1_1|missing"):
        two_steps("voc_fcn32s", data, tmp_path / "run", init=path)
    save_weights(path, variables, about)
    with pytest.raises(ValueError, match="misshapen"):
        two_steps("voc_fcn32s", data, tmp_path / "run", init=path)
    assert not (tmp_path / "run").exists()
