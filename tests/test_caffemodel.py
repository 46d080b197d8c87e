import functools
from pathlib import Path

import foreign_files
import jax
import numpy as np
import pytest
from flax import traverse_util

import fcn_jax as fcn
from fcn_jax.convert.caffemodel import read_caffemodel
from fcn_jax.convert.kinds import convert
from fcn_jax.convert.weights_file import load_weights
from fcn_jax.inputs import placeholder
from fcn_jax.preprocessing import CAFFE, SIFT_FLOW

REAL = Path(__file__).parents[2] / "shared/data/caffemodels"
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


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("v1", [True, False])
def test_every_way_of_writing_a_blob_is_read(v1, packed, double, tmp_path):
    rng = np.random.default_rng(0)
    blobs = {"conv1": [rng.normal(size=(4, 3, 5, 5)), rng.normal(size=4)], "ip": [np.ones((2, 7))]}
    blobs = {name: [a.astype(np.float32) for a in arrays] for name, arrays in blobs.items()}
    content = foreign_files.caffemodel(blobs, v1=v1, packed=packed, double=double)
    got = read_caffemodel(write(tmp_path / "a.caffemodel", content))
    assert list(got) == ["conv1", "ip"]
    for name, arrays in blobs.items():
        for mine, theirs in zip(got[name], arrays, strict=True):
            assert mine.dtype == np.float32
            assert mine.shape == ((1,) * (4 - theirs.ndim) if v1 else ()) + theirs.shape
            np.testing.assert_array_equal(mine.reshape(theirs.shape), theirs)


def test_numbers_of_one_blob_may_come_in_pieces(tmp_path):
    shape = foreign_files.field(7, foreign_files.field(1, foreign_files.varint(200)))
    numbers = np.arange(200, dtype="<f4")
    tag = foreign_files.varint(5 << 3 | 5)
    single = b"".join(tag + n.tobytes() for n in numbers[3:180])
    pieces = foreign_files.field(5, numbers[:3].tobytes()) + single
    pieces += foreign_files.field(5, numbers[180:].tobytes())
    layer = foreign_files.field(1, b"a") + foreign_files.field(7, shape + pieces)
    path = write(tmp_path / "a.caffemodel", foreign_files.field(100, layer))
    np.testing.assert_array_equal(read_caffemodel(path)["a"][0], numbers)


def protobuf_net():
    """NetParameter as protobuf's own library knows it, from the numbers in caffe.proto."""
    protobuf = pytest.importorskip("google.protobuf", reason="compares with protobuf's reader")
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    del protobuf
    file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="c", syntax="proto2")

    def message(name, *fields):
        made = file.message_type.add(name=name)
        for label, number, kind, repeated in fields:
            one = made.field.add(name=label, number=number, label=3 if repeated else 1)
            if isinstance(kind, str):
                one.type, one.type_name = 11, f".c.{kind}"
            else:
                one.type = kind
            one.options.packed = repeated and kind in (1, 2, 3)

    message("Shape", ("dim", 1, 3, True))
    old = [(name, i, 5, False) for i, name in enumerate(("n", "c", "h", "w"), 1)]
    message("Blob", *old, ("data", 5, 2, True), ("shape", 7, "Shape", False))
    message("Old", ("name", 4, 9, False), ("blobs", 6, "Blob", True))
    message("New", ("name", 1, 9, False), ("blobs", 7, "Blob", True))
    message("Net", ("layers", 2, "Old", True), ("layer", 100, "New", True))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("c.Net"))


@pytest.mark.parametrize(
    ("name", "layers", "numbers"),
    [
        ("V1_cifar10_quick_iter_5000", 5, 145_578),
        ("V1_lenet_iter_10000", 4, 431_080),
        ("V2_enet_deconvolution", 244, 375_441),
        ("V2_lenet_iter_10000", 4, 431_080),
    ],
)
def test_real_files_hold_what_protobuf_reads(name, layers, numbers):
    path = REAL / f"{name}.caffemodel"
    if not path.exists():
        pytest.skip("the trained Caffe networks are not at hand")
    got = read_caffemodel(path)
    assert (len(got), sum(a.size for arrays in got.values() for a in arrays)) == (layers, numbers)
    net = protobuf_net().FromString(path.read_bytes())
    want = {x.name: x.blobs for x in [*net.layers, *net.layer] if x.blobs}
    assert list(got) == list(want)
    for layer, blobs in want.items():
        for mine, theirs in zip(got[layer], blobs, strict=True):
            old = (theirs.n, theirs.c, theirs.h, theirs.w)
            assert mine.shape == (tuple(theirs.shape.dim) or old)
            np.testing.assert_array_equal(mine.ravel(), np.array(theirs.data, np.float32))


def test_a_trained_lenet_is_the_same_in_both_containers():
    paths = [REAL / f"V{v}_lenet_iter_10000.caffemodel" for v in (1, 2)]
    if not all(path.exists() for path in paths):
        pytest.skip("the trained Caffe networks are not at hand")
    first, second = map(read_caffemodel, paths)
    assert list(first) == list(second)
    assert {k: [a.size for a in v] for k, v in first.items()} == {
        k: [a.size for a in v] for k, v in second.items()
    }


def test_a_file_costs_no_memory_until_a_blob_is_used(tmp_path):
    kernel = np.zeros((1 << 23,), np.float32)  # 32 MiB
    path = write(tmp_path / "a.caffemodel", foreign_files.caffemodel({"big": [kernel]}))
    del kernel
    with foreign_files.little_memory():
        assert read_caffemodel(path)["big"][0].sum() == 0


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


def test_the_at_once_nets_factors_must_be_the_nets(tmp_path):
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


def test_what_is_no_such_net_is_refused(tmp_path):
    target = tmp_path / "out.safetensors"

    def refused(blobs, message, net=None, name="net.caffemodel"):
        path = write(tmp_path / name, foreign_files.caffemodel(blobs))
        with pytest.raises(ValueError, match=message) as caught:
            convert("caffe", path, target, net)
        assert name in str(caught.value) and list(tmp_path.glob("out*")) == []

    blobs = as_blobs(values(NETS["8s"]))
    refused({"ip1": [np.ones((2, 2))]}, "none of the classifiers.* layers ip1. Name the net")
    refused(blobs, "none of the classifiers.*--net")
    wrong = {"conv9": [np.ones(3)], "conv1_1": [np.ones((2, 3, 5, 5)), np.ones(2)]}
    wrong |= {"upscore8": [np.ones((3, 3, 16, 16))]}
    lines = "misshapen: conv1_1.*\n.*unexpected: conv9.*\n.*upscore8 .*not bilinear"
    refused(blobs | wrong, f"(?s){lines}", NETS["8s"])
    refused(blobs | {"fc6": [np.full((2, 2), np.nan)]}, "not finite in fc6", NETS["8s"])
    refused(dict.fromkeys(("conv1_1", "fc6", "fc8"), [np.ones(3)]), "a kernel and a bias, found")


def test_damaged_files(tmp_path):
    rng = np.random.default_rng(0)
    whole = foreign_files.caffemodel({"a": [rng.normal(size=(2, 3))], "b": [np.ones(4)]})
    path = tmp_path / "net.caffemodel"
    cuts = 0
    for length in range(len(whole)):
        write(path, whole[:length])
        try:  # a cut between two layers leaves a sound file of fewer layers
            assert list(read_caffemodel(path)) == ["a"]
            cuts += 1
        except ValueError as error:
            assert "net.caffemodel" in str(error)
    assert cuts == 1
    f, v = foreign_files.field, foreign_files.varint
    layer, shape = f(1, b"a"), f(7, f(1, v(2) + v(3)))
    four = np.ones(4, "<f4").tobytes()
    huge = v(100 << 3 | 2) + v(1 << 32) + b"x" * 90
    for content, message in (
        (b"", "empty file"),
        (b"hello, I am a text\n", "no complete .caffemodel"),
        (b"layer { name: 'conv1_1' }", "no complete .caffemodel"),
        (huge, "4294967296 bytes announced at byte 0, 90 left"),
        (f(100, layer + f(7, f(7, f(1, v(1 << 62))) + f(5, four))), "blob 0 of layer 'a': 1 axes"),
        (f(100, layer + f(7, shape + f(5, four))), "2 axes .2, 3., and 4 numbers"),
        (f(100, layer + f(7, shape)), "2 axes .2, 3., and 0 numbers"),
        (f(100, layer + f(7, shape + f(5, four[:-1]))), "buffer size must be a multiple"),
        (f(100, layer + f(7, f(7, f(1, v(1) * 33)) + f(5, four[:4]))), "33 axes"),
        (f(100, f(1, b"a") + f(7, 3)), "a number where a name"),
        (f(100, f(1, b"\xff") + f(7, f(5, four))), "can't decode"),
        (f(100, layer + f(7, f(5, four[:4]))) * 2, "two layers are called a"),
        (f(2, f(1, b"x") + f(4, b"a")), "layers of 2013's format"),
        (f(100, layer), "holds no layer with arrays"),
        (v(100 << 3 | 3), "unknown kind 3 at byte 0"),
        (b"\x80" * 11, "more than 64 bits"),
        (b"\x02\x00", "a field without a number"),
    ):
        write(path, content)
        with foreign_files.little_memory(), pytest.raises(ValueError, match=message) as caught:
            read_caffemodel(path)
        assert str(path) in str(caught.value)
    with pytest.raises(ValueError, match="absent.caffemodel is no complete"):
        read_caffemodel(tmp_path / "absent.caffemodel")
