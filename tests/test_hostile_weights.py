"""Weights that swell, or that no net can use: one message that names the file, in little memory."""

import io
import json
import struct
import zipfile
import zlib

import foreign_files
import numpy as np
import pytest

from fcn_jax.preprocessing import LogDepth, Preprocessing
from fcn_jax.weights.foreign.convert import convert
from fcn_jax.weights.foreign.npz import read_npz
from fcn_jax.weights.weights_file import load_weights

ABOUT = {
    "format": "fcn_jax weights 1",
    "architecture": "VGG16",
    "num_classes": 2,
    "preprocessing": {"channels": "BGR", "mean": [1.0, 2.0, 3.0], "std": [1.0, 1.0, 1.0]},
    "source": "x",
}
KERNEL = "params/trunk/conv1/kernel"


def npy(shape, data=b"", dtype="<f4"):
    stream = io.BytesIO()
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + data


def bomb(path, megabytes, shape=None):
    """Zeros, a thousandth of their size on the disk; the header may claim another shape."""
    size = megabytes << 20
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("conv1/w.npy", "w", force_zip64=True) as entry:
            entry.write(npy(shape or (size // 4,)))
            for _ in range(megabytes):
                entry.write(bytes(1 << 20))
        archive.writestr("conv1/b.npy", npy((1,), bytes(4)))
    return path


def refused(read, path, *parts):
    with pytest.raises(ValueError) as error:
        read(path)
    for part in (str(path), *parts):
        assert part in str(error.value), error.value


@pytest.mark.parametrize("kind", ["caffe", "caffe_npz", "torchvision"])
def test_a_small_npz_that_swells_is_refused_in_little_memory(tmp_path, kind):
    path = bomb(tmp_path / "bomb.npz", 200)
    assert path.stat().st_size < 1 << 20
    with foreign_files.little_memory():
        refused(read_npz, path, "unpack to 2097", "expected")
    refused(lambda p: convert(kind, p, tmp_path / "o.safetensors"), path)
    assert not (tmp_path / "o.safetensors").exists()


def test_many_arrays_that_swell_together_are_refused(tmp_path):
    path = tmp_path / "bombs.npz"
    np.savez_compressed(path, **{f"{i}/w": np.zeros(1 << 18, np.float32) for i in range(80)})
    with foreign_files.little_memory():
        refused(read_npz, path, "expected")


def test_an_entry_that_lies_about_its_size_takes_little_memory(tmp_path):
    content = bomb(tmp_path / "liar.npz", 30).read_bytes()
    length = (30 << 20) + len(npy((30 << 18,)))
    path, known = tmp_path / "liar2.npz", content.count(struct.pack("<Q", length))
    assert known  # the directory, or the header in front of the entry
    for code in "<Q", "<I":
        content = content.replace(struct.pack(code, length), struct.pack(code, 100))
    path.write_bytes(content)
    with foreign_files.little_memory(4 << 20):
        refused(read_npz, path)


def test_two_arrays_of_one_name_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "two.npz", "w") as archive:
        archive.writestr("a/w.npy", npy((1,), bytes(4)))
        archive.writestr("a/w", npy((1,), bytes(4)))
    refused(read_npz, tmp_path / "two.npz", "two arrays")


def test_what_compresses_well_is_still_read(tmp_path):
    rng = np.random.default_rng(0)
    pruned = rng.normal(size=(2048, 2048)).astype(np.float32) * (rng.random((2048, 2048)) < 0.02)
    arrays = {"w": pruned, "zeros": np.zeros((1024, 4096), np.float32), "text": np.array("a")}
    arrays["columns"] = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    found = read_npz(tmp_path / "a.npz")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


def weights(tensors, about=ABOUT):
    """A `.safetensors` file of (type, shape, bytes) by name."""
    header, data = {"__metadata__": {"fcn_jax": json.dumps(about)}}, b""
    for name, (kind, shape, raw) in tensors.items():
        ends = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": ends}
        data += raw
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def floats(*values):
    return "F32", [len(values)], np.array(values, np.float32).tobytes()


SOUND = {KERNEL: floats(1, -2)}

TENSORS = {
    "F8_E4M3": ({KERNEL: ("F8_E4M3", [4], bytes(4))}, ("F8_E4M3", KERNEL)),
    "F8_E5M2": ({KERNEL: ("F8_E5M2", [4], bytes(4))}, ("F8_E5M2", KERNEL)),
    "F8_E8M0": ({KERNEL: ("F8_E8M0", [4], bytes(4))}, ("F8_E8M0", KERNEL)),
    "C64": ({KERNEL: ("C64", [1], bytes(8))}, ("C64",)),
    "F4": ({KERNEL: ("F4", [4], bytes(2))}, ()),
    "integers": ({KERNEL: ("I64", [1], bytes(8))}, ("int64", KERNEL)),
    "clash": ({"params/a": floats(1), "params/a/b": floats(1)}, ("params/a/b",)),
    "clash, other order": ({"params/a/b": floats(1), "params/a": floats(1)}, ("params/a/b",)),
    "clash, far below": ({"params/a": floats(1), "params/a/b/c/d": floats(1)}, ("below",)),
    "NaN": ({KERNEL: floats(1, float("nan"), 2)}, ("not finite", KERNEL)),
    "infinite": ({KERNEL: floats(1, float("inf"))}, ("not finite", KERNEL)),
    "negative infinite": ({KERNEL: floats(float("-inf"), 1)}, ("not finite", KERNEL)),
    "half NaN": ({KERNEL: ("F16", [2], b"\0\0\0\x7e")}, ("not finite", KERNEL)),
    "bfloat16 NaN": ({KERNEL: ("BF16", [2], b"\0\0\xc0\x7f")}, ("not finite", KERNEL)),
}


@pytest.mark.parametrize(("tensors", "parts"), TENSORS.values(), ids=TENSORS)
def test_arrays_that_no_net_can_use_are_refused(tmp_path, tensors, parts):
    path = tmp_path / "w.safetensors"
    path.write_bytes(weights(tensors))
    refused(load_weights, path, *parts)


@pytest.mark.parametrize("kind", ["F16", "BF16", "F32", "F64"])
def test_floats_of_any_length_are_read(tmp_path, kind):
    length = {"F16": 2, "BF16": 2, "F32": 4, "F64": 8}[kind]
    (tmp_path / "w.safetensors").write_bytes(weights({KERNEL: (kind, [3, 0], b"")} | {
        "params/b/bias": (kind, [2], bytes(2 * length))
    }))  # fmt: skip
    variables, about = load_weights(tmp_path / "w.safetensors")
    assert not np.any(variables["params"]["b"]["bias"]) and about.architecture == "VGG16"


def scaled(**changed):
    return {**ABOUT, "preprocessing": {**ABOUT["preprocessing"], **changed}}


depth = {"class": "LogDepth", "mean": 7.8, "std": 1.0}
NAN = float("nan")
SCALE = {  # by the field that it is wrong in
    "std": [
        [1.0, 0.0, 1.0],
        [1.0, NAN, 1.0],
        [1.0, -1.0, 1.0],
        [1.0, float("inf"), 1.0],
        [1.0] * 2,
    ],
    "mean": [[NAN, 1.0, 1.0], [1.0, 1.0, float("-inf")], [1.0, 2.0, 3.0, 4.0], [1.0], []],
}
METADATA = {
    **{f"{k} {v}": (scaled(**{k: v}), "deviation above 0") for k in SCALE for v in SCALE[k]},
    "no std": (scaled(std=None), ""),
    "mean huge": (scaled(mean=[1, 1, 10**400]), ""),
    "one number": (scaled(mean=1), ""),
    "text": (scaled(mean="abc"), ""),
    "texts": (scaled(mean=["1", "2", "3"]), ""),
    "lists": (scaled(mean=[[1], [2], [3]]), ""),
    "nothing": (scaled(mean=[None] * 3), ""),
    "depth std 0": ({**ABOUT, "preprocessing": {**depth, "std": 0.0}}, "divisor above 0"),
    "depth mean NaN": ({**ABOUT, "preprocessing": {**depth, "mean": NAN}}, "divisor above 0"),
    "depth text": ({**ABOUT, "preprocessing": {**depth, "mean": "7"}}, ""),
    "one of several": (
        {**ABOUT, "preprocessing": {"class": "ByInput", "inputs": {"d": {**depth, "std": 0.0}}}},
        "divisor above 0",
    ),
    "list": ({**ABOUT, "preprocessing": []}, ""),
    "missing": ({k: v for k, v in ABOUT.items() if k != "preprocessing"}, ""),
    "unknown field": ({**ABOUT, "more": 1}, ""),
}


@pytest.mark.parametrize(("about", "part"), METADATA.values(), ids=METADATA)
def test_metadata_that_make_no_sense_are_refused(tmp_path, about, part):
    path = tmp_path / "w.safetensors"
    path.write_bytes(weights(SOUND, about))
    refused(load_weights, path, "cannot be read as weights of fcn_jax", part)


def test_preprocessing_of_python_is_checked_too():
    for std in ((0.0, 1.0, 1.0), (NAN, 1.0, 1.0), (1.0, 1.0)):
        with pytest.raises(ValueError, match="standard deviation above 0"):
            Preprocessing(channels="BGR", mean=(1.0, 2.0, 3.0), std=std)
    with pytest.raises(ValueError, match="a divisor above 0"):
        LogDepth(std=0.0)
    numpy = tuple(np.array([1.0, 2.0, 3.0]))
    assert Preprocessing(channels="RGB", mean=numpy, std=numpy).mean == (1, 2, 3)


def test_pickles_and_layers_that_end_oddly_are_named(tmp_path):
    """Whatever a library raises: here the readers' own entry points get any bytes."""
    for suffix, kind in ((".pth", "torchvision"), (".caffemodel", "caffe"), (".npz", "caffe")):
        for content in (b"", b"PK\x03\x04", zlib.compress(bytes(99)), b"\x80\x02."):
            path = tmp_path / f"odd{suffix}"
            path.write_bytes(content)
            refused(lambda p, kind=kind: convert(kind, p, tmp_path / "o.safetensors"), path)
            path.unlink()
