import pickle
import struct
import zipfile

import foreign_files
import jax
import numpy as np
import pytest
from foreign_files import Call, Name, Reference, archive, operations, pickled, state_dict, stream

import fcn_jax as fcn
from fcn_jax.convert.kinds import convert
from fcn_jax.convert.pickled import KNOWN, read_pickle
from fcn_jax.convert.pth import read_pth
from fcn_jax.convert.weights_file import load_weights
from fcn_jax.preprocessing import CAFFE

FORMATS = {"archive": archive, "stream": stream}
EIGHT = np.arange(8, dtype=np.float32)


def write(path, content):
    path.write_bytes(content)
    return path


@pytest.fixture
def numbers():
    rng = np.random.default_rng(0)
    arrays = {
        "conv1_1.weight": rng.normal(size=(4, 3, 2, 2)).astype(np.float32),
        "conv1_1.bias": rng.normal(size=4),
        "steps": np.array(3),
        "turned": rng.normal(size=(5, 3)).astype(np.float32).T,
    }
    return {name: np.asfortranarray(a) if name == "turned" else a for name, a in arrays.items()}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("around", [None, "model_state_dict", "module"])
def test_tensors_come_back_from_a_file_written_by_hand(format, around, numbers, tmp_path):
    tensors, storages = state_dict(numbers)
    value = tensors
    if around == "model_state_dict":  # a training's checkpoint
        value = {"epoch": 3, "model_state_dict": tensors, "best": None, "names": ["a", ("b",)]}
    elif around == "module":  # a training on several devices
        value = {f"module.{name}": tensor for name, tensor in tensors.items()}
    got = read_pth(write(tmp_path / "a.pth", FORMATS[format](value, storages)))
    assert list(got) == list(numbers)
    for name, want in numbers.items():
        assert got[name].dtype == want.dtype
        np.testing.assert_array_equal(got[name], want)


@pytest.mark.parametrize("archived", [True, False])
@pytest.mark.parametrize("protocol", [2, 4])
def test_tensors_come_back_from_files_of_pytorch(archived, protocol, tmp_path):
    torch = pytest.importorskip("torch", reason="writes with PyTorch, which is not a dependency")
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    want = net.state_dict()  # an OrderedDict with an attribute
    x = torch.randn(4, 6)
    want |= {"half": x.half(), "brain": x.bfloat16(), "turned": x.t(), "scalar": x[0, 0]}
    want |= {
        "part": x[1:3, ::2],
        "last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    }
    path = tmp_path / "a.pth"
    how = {"_use_new_zipfile_serialization": archived, "pickle_protocol": protocol}
    for value in (want, {"state_dict": want, "learned": dict(net.named_parameters())}):
        torch.save(value, path, **how)
        got = read_pth(path)
        assert list(got) == list(want)
        for name, tensor in want.items():
            assert str(tensor.dtype) == f"torch.{got[name].dtype}"
            np.testing.assert_array_equal(got[name].astype(np.float64), tensor.double().numpy())
    torch.save(net, path, **how)
    with pytest.raises(ValueError, match=r"asks for 'torch\.nn\.modules\.container\.Sequential'"):
        read_pth(path)


def test_what_python_2_wrote_is_read(tmp_path):
    # There an OrderedDict's items are its argument, strings are bytes, and tensors were version 1.
    pairs = [
        ["a", Call((Name("torch._utils _rebuild_tensor"), *foreign_files.tensor("0", EIGHT)[1:5]))]
    ]
    content = pickled(Call((Name("collections OrderedDict"), pairs)))
    content = content.replace(b"X\x01\x00\x00\x00a", b"U\x01a")
    got = read_pth(write(tmp_path / "a.pth", stream(content, {"0": EIGHT})))
    np.testing.assert_array_equal(got["a"], EIGHT)


class Bomb:
    """Writes its pickle as a call of whatever it is given."""

    def __init__(self, *how):
        self.how = how

    def __reduce__(self):
        return self.how


def hostile(tmp_path):
    """Pickles that do harm where they are believed, and what is said of each."""
    import builtins
    import os

    touch = f"touch {tmp_path / 'harm'}"
    system = b"cposix\nsystem\n" + operations((touch,))
    yield pickle.dumps(Bomb(os.system, (touch,)), 2), "posix.system"
    yield pickle.dumps(Bomb(builtins.eval, ("1",)), 4), "builtins.eval"  # STACK_GLOBAL
    yield pickle.dumps(Bomb(builtins.exec, ("1",)), 0), "__builtin__.exec"
    yield b"\x80\x02" + system + b"R.", "posix.system"
    yield b"\x80\x02(S'" + touch.encode() + b"'\niposix\nsystem\n.", "operation STRING"
    yield b"\x80\x02(iposix\nsystem\n.", "operation INST"
    yield b"\x80\x02(cposix\nsystem\n" + operations(touch) + b"o.", "posix.system"
    yield b"\x80\x02(N" + operations(touch) + b"o.", "operation OBJ"
    yield b"\x80\x02" + system + b"\x81.", "posix.system"
    yield b"\x80\x02N)\x81.", "operation NEWOBJ"
    yield b"\x80\x04N)}\x92.", "operation NEWOBJ_EX"
    for code, name in (
        (b"\x82\x01", "EXT1"),
        (b"\x83\x01\x00", "EXT2"),
        (b"\x84" + b"\1" * 4, "EXT4"),
    ):
        yield b"\x80\x02" + code + b".", f"operation {name}"
    yield b"\x80\x02P0\n.", "operation PERSID"
    yield b"\x80\x05\x97.", "operation NEXT_BUFFER"
    # __setstate__ and attributes: nothing has any.
    state = operations({"__setstate__": 1, "__class__": 2})
    yield b"\x80\x02" + operations("text") + state + b"b.", "attributes for a str"
    yield b"\x80\x02" + operations(foreign_files.tensor("0", EIGHT)) + state + b"b.", "for a Tensor"
    # Names that lead on from what is allowed.
    for name in ("torch._utils __globals__", "collections OrderedDict.__class__", "torch load",
                 "torch.storage _load_from_bytes", "numpy.core.multiarray scalar",
                 "torch._utils _rebuild_tensor_v2.__globals__", "torch  FloatStorage"):  # fmt: skip
        yield pickled(Name(name)), "asks for"
    yield b"\x80\x04" + operations(1) + operations(2) + b"\x93.", "something without name"
    # Calls of what is no function, and of functions with what they do not take.
    yield b"\x80\x02" + operations(("a", ("b",))) + b"R.", "damaged pickle"
    yield b"\x80\x02" + operations("a") + operations(("b",)) + b"R.", "no function"
    yield b"\x80\x02" + operations(Name("torch FloatStorage")) + b")R.", "no function"
    yield pickled(Call((Name("collections OrderedDict"), 3))), "damaged pickle"
    yield pickled(Call((Name("collections OrderedDict"), [[["a"], 1]]))), "under a list"
    yield pickled(Call((Name("torch._utils _rebuild_tensor_v2"), 1))), "damaged pickle"
    # References to what is no storage of the file.
    kind = Name("torch FloatStorage")
    for bad in (("module", kind, "0", "cpu", 8), ("storage", "posix.system", "0", "cpu", 8),
                ("storage", kind, "0", "cpu", -1), ("storage", kind, "0", "cpu", True),
                ("storage", kind, ("0",), "cpu", 8),
                ("storage", kind, "0", "cpu", 8, ("1", 0, 2))):  # fmt: skip
        yield pickled(Reference(bad)), "a reference that is none"
    yield b"\x80\x02" + operations("storage") + b"Q.", "damaged pickle|a reference"
    # Lengths that nothing stands behind.
    yield b"\x80\x02\x8b" + struct.pack("<i", -1) + b".", "operation LONG4"
    yield b"\x80\x02\x8a\xff" + b"\xff" * 255 + b".", "an integer of 255 bytes"
    yield b"\x80\x02X" + struct.pack("<I", 0xFFFFFFFF) + b"a.", "a text of 4294967295 bytes"
    yield b"\x80\x04\x8d" + struct.pack("<Q", 1 << 62) + b"a.", "a text of 46116860184"
    yield b"\x80\x02c" + b"a" * 4000, "a name without an end"
    yield b"\x80\x02" + b"]" * 2001, "more than 2000 steps"
    yield b"\x80\x02j" + struct.pack("<I", 0xFFFFFFFF) + b".", "damaged pickle"
    yield b"\x80\x02.", "damaged pickle"
    yield b"\x80\x02(t", "bytes wanted|operation byte"
    yield b"\x80\x02" + operations({"a": 1})[:-1] + operations("b") + b"u.", "shorter|longer"


def test_hostile_pickles_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("fcn_jax.convert.pickled.MOST_STEPS", 2000)
    monkeypatch.setattr("fcn_jax.convert.pickled.MOST_TEXT", 2000)
    count = 0
    for content, message in hostile(tmp_path):
        for format in FORMATS.values():
            path = write(tmp_path / "a.pth", format(content, {"0": EIGHT}))
            with foreign_files.little_memory(), pytest.raises(ValueError, match=message) as caught:
                read_pth(path)
            assert str(path) in str(caught.value)
        count += 1
    assert count > 45 and not (tmp_path / "harm").exists()


def test_no_name_stands_for_anything_that_could_be_misused():
    assert all(getattr(known, "__module__", "").startswith("fcn_jax.") for known in KNOWN.values())
    assert not any(isinstance(known, type) for known in KNOWN.values())


def test_a_pickle_that_grows_takes_no_time_and_memory():
    # A tuple of two of itself, 100 times over: to print, hash or compare it would never end.
    content = b"\x80\x02)q\x00" + b"h\x00h\x00\x86q\x00" * 100 + b"."
    with foreign_files.little_memory():
        value = read_pickle(memoryview(content)).value
    assert len(value) == 2
    with pytest.raises(ValueError, match="a tuple without tensors"):
        read_pth_value(value)


def read_pth_value(value):
    from fcn_jax.convert.pth import _state_dict

    return _state_dict(value)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    ("view", "message"),
    [
        ({"offset": 1}, "up to number 9 of a storage that has 8"),
        ({"offset": -1}, "a tensor of 1 axes"),
        ({"shape": (9,)}, "up to number 9"),
        ({"shape": (2, 2), "strides": (7, 1)}, "up to number 9"),
        ({"shape": (8,), "strides": (-1,)}, "no counts"),
        ({"shape": (-8,)}, "no counts"),
        ({"shape": (1 << 62, 1 << 62), "strides": (0, 0)}, "overlaps itself"),
        ({"shape": (7, 2), "strides": (1, 1)}, "overlaps itself"),
        ({"shape": (1 << 70,), "strides": (1,)}, "of a storage that has 8"),
        ({"shape": (2, 2), "strides": (1,)}, "2 axes and 1 strides"),
        ({"shape": (0, 1 << 62), "strides": (1, 1)}, "0 numbers"),
        ({"shape": (1,) * 33, "strides": (1,) * 33}, "no counts"),
        ({"shape": (True,)}, "no counts"),
        ({"shape": ("8",)}, "no counts"),
    ],
)
def test_views_that_leave_their_storage_are_refused(format, view, message, tmp_path):
    value = {"a": foreign_files.tensor("0", EIGHT, **view)}
    path = write(tmp_path / "a.pth", FORMATS[format](value, {"0": EIGHT}))
    with pytest.raises(ValueError, match=rf"a.pth is no complete .pth.*\(a: .*({message})"):
        read_pth(path)


def test_storages_that_are_not_there(tmp_path):
    path, whole = tmp_path / "a.pth", {"a": foreign_files.tensor("0", EIGHT)}
    larger = {
        "a": foreign_files.tensor("0", np.zeros(1 << 20, np.float32), shape=(8,), strides=(1,))
    }
    for content, message in (
        (archive(whole, {}), "without net/data/0"),
        (archive(larger, {"0": EIGHT}), "storage 0 has 32 bytes, not 1048576 numbers"),
        (stream(larger, {"0": EIGHT}), "8 numbers at byte .* 1048576 should be"),
        (stream(whole, {}), "the file ends before storage 0"),
        (stream(whole, {"0": EIGHT})[:-1], "31 bytes are left"),
        (stream(whole, {"0": EIGHT, "1": EIGHT}), "nothing in the file refers to"),
        (stream({"a": 1}, {}), "a dict without tensors"),
        (pickled(3) * 5, "another version"),
        (b"", "empty file"),
        (b"PK\x03\x04" + bytes(100), "not a zip file"),
        (b"hello", "neither PyTorch's archive nor"),
    ):
        write(path, content)
        with pytest.raises(ValueError, match=message) as caught:
            read_pth(path)
        assert str(path) in str(caught.value)
    with pytest.raises(ValueError, match="absent.pth is no complete"):
        read_pth(tmp_path / "absent.pth")


def test_damaged_archives(tmp_path):
    content = archive({"a": foreign_files.tensor("0", EIGHT)}, {"0": EIGHT})
    at = content.index(EIGHT.tobytes())
    path = write(tmp_path / "a.pth", content[:at] + b"\xff" + content[at + 1 :])
    with pytest.raises(ValueError, match="net/data/0 does not have its checksum"):
        read_pth(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("net/data.pkl", b"\0" * (1 << 20))
    with pytest.raises(ValueError, match="net/data.pkl is compressed"):
        read_pth(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("net/other", b"")
    with pytest.raises(ValueError, match="0 entries data.pkl"):
        read_pth(path)


def torch_names(variables):
    """Names and arrays as wkentaro/pytorch-fcn has them: Caffe's names and layout."""
    arrays = {}
    for path, value in jax.tree.leaves_with_path(variables["params"]):
        *layer, name = [key.key for key in path if key.key != "trunk"]
        part = {"kernel": "weight", "bias": "bias"}[name]
        arrays[".".join([*layer, part])] = value.transpose(3, 2, 0, 1) if value.ndim > 1 else value
    return arrays


def test_a_net_of_pytorch_fcn_is_converted(tmp_path):
    net = fcn.FCN8s(trunk=fcn.VGG16(width=1 / 32), num_classes=3)
    shapes = jax.eval_shape(net.init, jax.random.key(0), np.zeros((1, 64, 64, 3), np.float32))
    rng = np.random.default_rng(0)
    want = jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32), shapes)
    row = np.array([0.25, 0.75, 0.75, 0.25])
    arrays = torch_names(want)
    arrays["upscore2.weight"] = (np.eye(3)[..., None, None] * np.outer(row, row)).astype(np.float32)
    tensors, storages = state_dict({n: np.ascontiguousarray(a) for n, a in arrays.items()})
    source = write(tmp_path / "fcn8s.pth", stream(tensors, storages))
    target = tmp_path / "out.safetensors"
    report = convert("pytorch_fcn", source, target, net)
    got, about = load_weights(target)
    assert jax.tree.structure(got) == jax.tree.structure(want)
    jax.tree.map(np.testing.assert_array_equal, got, want)
    assert about.preprocessing == CAFFE
    assert report.notes == ("upscore2: bilinear, a constant here",)
    target.unlink()
    tensors["conv1_1.running_mean"] = tensors["conv1_1.bias"]
    write(source, archive(tensors, storages))
    with pytest.raises(ValueError, match=r"fcn8s.pth has conv1_1.running_mean; expected weights"):
        convert("pytorch_fcn", source, target, net)
    assert [p.name for p in tmp_path.iterdir()] == ["fcn8s.pth"]


VGG = {f"features.{i}": i for i in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)}


def vgg16_arrays(scale=1 / 32):
    """torchvision's names of a narrow VGG16."""
    rng, arrays, last = np.random.default_rng(0), {}, 3
    for name, out in zip(VGG, (64, 64, 128, 128, *[256] * 3, *[512] * 6), strict=True):
        out = int(out * scale)
        arrays[f"{name}.weight"], last = rng.normal(size=(out, last, 3, 3)), out
        arrays[f"{name}.bias"] = rng.normal(size=out)
    for i, (out, channels) in ((0, (128, 16 * 49)), (3, (128, 128)), (6, (10, 128))):
        arrays[f"classifier.{i}.weight"] = rng.normal(size=(out, channels))
        arrays[f"classifier.{i}.bias"] = rng.normal(size=out)
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def test_published_files_of_torchvision_need_no_torchvision(tmp_path):
    arrays = vgg16_arrays()
    source = write(tmp_path / "vgg16-397923af.pth", stream(*state_dict(arrays)))
    target = tmp_path / "out.safetensors"
    convert("torchvision", source, target)
    got, about = load_weights(target, architecture="VGG16")
    np.testing.assert_allclose(about.preprocessing.mean, [103.53, 116.28, 123.675])
    kernel = got["params"]["trunk"]["conv1_1"]["kernel"]
    want = arrays["features.0.weight"].transpose(2, 3, 1, 0)[:, :, ::-1]
    scale = 255 * np.array([0.225, 0.224, 0.229])
    np.testing.assert_allclose(kernel, want / scale[:, None], rtol=1e-6)
    convert("pytorch_fcn", source, target)  # Caffe's numbers under these names: as they are
    got, about = load_weights(target, architecture="VGG16")
    kernel = got["params"]["trunk"]["conv1_1"]["kernel"]
    np.testing.assert_array_equal(kernel, arrays["features.0.weight"].transpose(2, 3, 1, 0))
    assert about.preprocessing == CAFFE and about.num_classes == 10


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["inception3a.branch1.conv.weight"], "'googlenet'.*bvlc_googlenet.caffemodel"),
        (["features.0.weight", "classifier.4.weight"], "'alexnet'.*bvlc_reference_caffenet"),
        (
            ["features.3.squeeze.weight", "features.6.squeeze.weight"],
            "'squeezenet1_1'.*version 1.0",
        ),
        (
            ["layer1.0.conv1.weight"],
            "'another model'; expected one of vgg16, vgg16_bn, squeezenet1_0",
        ),
        ([*(f"{n}.{p}" for n in VGG for p in ("weight", "bias"))], "lacks classifier.0.weight"),
    ],
)
def test_other_models_of_torchvision_are_named(names, message, tmp_path):
    content = archive(*state_dict(dict.fromkeys(names, EIGHT)))
    path = write(tmp_path / "a.pth", content)
    with pytest.raises(ValueError, match=message):
        convert("torchvision", path, tmp_path / "out.safetensors")


def test_arrays_that_the_net_lacks_are_refused(tmp_path):
    arrays = vgg16_arrays() | {"features.30.weight": EIGHT}
    path = write(tmp_path / "a.pth", archive(*state_dict(arrays)))
    for kind in ("torchvision", "pytorch_fcn"):
        with pytest.raises(ValueError, match="also has features.30.weight, which this net lacks"):
            convert(kind, path, tmp_path / "out.safetensors")
    with pytest.raises(ValueError, match="holds a classifier, and says itself which"):
        convert("torchvision", path, tmp_path / "out.safetensors", fcn.FCN32s(fcn.VGG16(), 3))
