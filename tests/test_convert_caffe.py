import functools

import foreign_files
import jax
import numpy as np
import pytest
from flax import traverse_util

import fcn_jax as fcn
from fcn_jax.nets.inputs import placeholder
from fcn_jax.preprocessing import CAFFE, SIFT_FLOW
from fcn_jax.weights.foreign.convert import convert
from fcn_jax.weights.weights_file import load_weights

NARROW = fcn.VGG16(width=1 / 32)
NETS = {
    "32s": fcn.FCN32s(trunk=NARROW, num_classes=3),
    "16s": fcn.FCN16s(trunk=NARROW, num_classes=3),
    "8s": fcn.FCN8s(trunk=NARROW, num_classes=3),
    "at once": fcn.FCN8s(trunk=NARROW, num_classes=3, skip_scales=(0.01, 0.0001)),
    "alexnet": fcn.FCN32s(trunk=fcn.AlexNet(width=1 / 32), num_classes=3),
    "two heads": fcn.FCN8s(trunk=NARROW, num_classes={"semantic": 5, "geometric": 3}),
    "late fusion": fcn.LateFusion(
        {name: fcn.FCN32s(trunk=NARROW, num_classes=3) for name in ("color", "hha")}
    ),
}


@functools.cache
def values(net, seed=0):
    shapes = jax.eval_shape(net.init, jax.random.key(0), placeholder(net, (1, 224, 224)))
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32), shapes)


def caffe_name(path):
    """Caffe's name of a layer, from the reference's net.py files."""
    stream = ""
    if path[0].startswith("streams_"):
        stream, path = path[0].removeprefix("streams_"), path[1:]
    name = "/".join(part for part in path if part != "trunk")
    name = name.replace("_semantic", "_sem").replace("_geometric", "_geo")
    return name.replace("loss3_", "loss3/") + stream


def as_blobs(variables):
    blobs = {}
    for path, value in traverse_util.flatten_dict(variables["params"]).items():
        array = value.transpose(3, 2, 0, 1) if path[-1] == "kernel" else value
        blobs.setdefault(caffe_name(path[:-1]), {})[path[-1]] = array
    return {name: [pair["kernel"], pair["bias"]] for name, pair in blobs.items()}


def bilinear(c, k):
    f = (k + 1) // 2
    row = 1 - abs(np.arange(k) - (f - 1 if k % 2 else f - 0.5)) / f
    return [np.eye(c)[..., None, None] * row[:, None] * row]


def write(path, content):
    path.write_bytes(content)
    return path


def equal(got, want):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    jax.tree.map(np.testing.assert_array_equal, got, want)


FAST = ("at once", "two heads")


@pytest.mark.parametrize(
    "name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in NETS]
)
def test_a_whole_net_is_converted(name, tmp_path):
    net = NETS[name]
    want = values(net)
    blobs = as_blobs(want)
    upscores = {"upscore": (3, 63 if name == "alexnet" else 64), "upscore2_geo": (3, 4)}
    blobs |= {layer: bilinear(*shape) for layer, shape in upscores.items()}
    if name == "at once":
        blobs |= {"scale_pool4": [np.full(16, 0.01)], "scale_pool3": [np.full(8, 0.0001)]}
    source = write(tmp_path / "net.caffemodel", foreign_files.caffemodel(blobs))
    target = tmp_path / "net.safetensors"
    report = convert("caffe", source, target, net, SIFT_FLOW if name == "two heads" else None)
    got, about = load_weights(target)
    equal(got, want)
    assert about == report.metadata
    assert about.architecture == type(net).__name__ and about.source == "net.caffemodel"
    assert about.preprocessing == (SIFT_FLOW if name == "two heads" else CAFFE)
    assert about.net.startswith("LateFusion(" if name == "late fusion" else "FCN(trunk=")
    notes = {"upscore: bilinear, a constant here", "upscore2_geo: bilinear, a constant here"}
    if name == "at once":
        notes |= {
            f"scale_pool{i}: the net's own fixed factor, {f}" for i, f in ((4, 0.01), (3, 1e-4))
        }
    assert set(report.notes) == notes and report.layers == len(as_blobs(want))
    assert "left out: upscore: bilinear" in str(report)


def test_the_factors_of_an_at_once_file_must_be_those_of_the_net(tmp_path):
    blobs = as_blobs(values(NETS["8s"]))
    scales = {"scale_pool4": [np.full(16, 0.01)], "scale_pool3": [np.full(8, 0.0001)]}
    plain = write(tmp_path / "plain.caffemodel", foreign_files.caffemodel(blobs))
    scaled = write(tmp_path / "scaled.caffemodel", foreign_files.caffemodel(blobs | scales))
    scales["scale_pool3"][0][2] = 0.0002
    wrong = write(tmp_path / "wrong.caffemodel", foreign_files.caffemodel(blobs | scales))
    target = tmp_path / "out.safetensors"
    for path, net, message in (
        (scaled, "8s", "scaled.caffemodel is not for this net:\n  scale_pool4: the file has it"),
        (plain, "at once", "scale_pool4: the net scales by 0.01, the file does not"),
        (wrong, "at once", "scale_pool3: 0.0001 in the net"),
    ):
        with pytest.raises(ValueError, match=message):
            convert("caffe", path, target, NETS[net])
    assert not target.exists()


@pytest.mark.parametrize(
    "name", ["VGG16", "AlexNet", pytest.param("GoogLeNet", marks=pytest.mark.slow)]
)
def test_a_classifier_is_recognised(name, tmp_path):
    trunk = getattr(fcn, name)(width=1 / 32)
    want = values(fcn.Classifier(trunk=trunk, num_classes=7))
    blobs = as_blobs(want)
    if name == "GoogLeNet":
        blobs |= {"loss1/fc": [np.ones((3, 3))]}
    else:  # fully connected layers have two axes there
        for layer in ("fc6", "fc7", "fc8"):
            blobs[layer][0] = blobs[layer][0].reshape(len(blobs[layer][0]), -1)
    content = foreign_files.caffemodel(blobs, v1=name == "VGG16")
    target = tmp_path / "out.safetensors"
    report = convert("caffe", write(tmp_path / "net.caffemodel", content), target)
    got, about = load_weights(target, architecture=name)
    equal(got, want)
    assert about.num_classes == 7 and about.net == ""
    mean = (104.0, 117.0, 123.0) if name == "GoogLeNet" else CAFFE.mean
    assert about.preprocessing.mean == mean
    assert report.notes == (("loss1/fc: for training only",) if name == "GoogLeNet" else ())


def test_files_of_other_nets_are_refused(tmp_path):
    target = tmp_path / "out.safetensors"

    def refused(blobs, message, net=None, name="net.caffemodel"):
        path = write(tmp_path / name, foreign_files.caffemodel(blobs))
        with pytest.raises(ValueError, match=message) as caught:
            convert("caffe", path, target, net)
        assert name in str(caught.value) and list(tmp_path.glob("out*")) == []

    blobs = as_blobs(values(NETS["8s"]))
    refused({"ip1": [np.ones((2, 2))]}, "not one of the classifiers.* layers ip1. Name the net")
    refused(blobs, "not one of the classifiers.*--net")
    wrong = {"conv9": [np.ones(3)], "conv1_1": [np.ones((2, 3, 5, 5)), np.ones(2)]}
    wrong |= {"upscore8": [np.ones((3, 3, 16, 16))]}
    lines = "misshapen: conv1_1.*\n.*unexpected: conv9.*\n.*upscore8 .*not bilinear"
    refused(blobs | wrong, f"(?s){lines}", NETS["8s"])
    refused(blobs | {"fc6": [np.full((2, 2), np.nan)]}, "not finite numbers in fc6", NETS["8s"])
    refused(dict.fromkeys(("conv1_1", "fc6", "fc8"), [np.ones(3)]), "a kernel and a bias, found")
