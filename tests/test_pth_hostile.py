"""Hostile `.pth` files: nothing in them is run, and reading takes little memory."""

import pickle
import struct
import zipfile

import foreign_files
import numpy as np
import pytest
from foreign_files import Call, Name, Reference, archive, operations, pickled, stream

from fcn_jax.weights.foreign.pickled import KNOWN, read_pickle
from fcn_jax.weights.foreign.pth import find_state_dict, read_pth

FORMATS = {"archive": archive, "stream": stream}

EIGHT = np.arange(8, dtype=np.float32)


def write(path, content):
    path.write_bytes(content)
    return path


class Bomb:
    """Writes its pickle as a call of whatever it is given."""

    def __init__(self, *how):
        self.how = how

    def __reduce__(self):
        return self.how


def hostile(tmp_path):
    """Pickles that would do harm if they were trusted, and what the error says of each."""
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
    # __setstate__ and attributes: no value has any.
    state = operations({"__setstate__": 1, "__class__": 2})
    yield b"\x80\x02" + operations("text") + state + b"b.", "attributes for a str"
    yield b"\x80\x02" + operations(foreign_files.tensor("0", EIGHT)) + state + b"b.", "for a Tensor"
    # Names that start from what is allowed.
    for name in ("torch._utils __globals__", "collections OrderedDict.__class__", "torch load",
                 "torch.storage _load_from_bytes", "numpy.core.multiarray scalar",
                 "torch._utils _rebuild_tensor_v2.__globals__", "torch  FloatStorage"):  # fmt: skip
        yield pickled(Name(name)), "asks for"
    yield b"\x80\x04" + operations(1) + operations(2) + b"\x93.", "something without name"
    # Calls of what is not a function, and of functions with arguments that they do not take.
    yield b"\x80\x02" + operations(("a", ("b",))) + b"R.", "damaged pickle"
    yield b"\x80\x02" + operations("a") + operations(("b",)) + b"R.", "not a function"
    yield b"\x80\x02" + operations(Name("torch FloatStorage")) + b")R.", "not a function"
    yield pickled(Call((Name("collections OrderedDict"), 3))), "damaged pickle"
    yield pickled(Call((Name("collections OrderedDict"), [[["a"], 1]]))), "under a list"
    yield pickled(Call((Name("torch._utils _rebuild_tensor_v2"), 1))), "damaged pickle"
    # References to what is not a storage of the file.
    kind = Name("torch FloatStorage")
    for bad in (("module", kind, "0", "cpu", 8), ("storage", "posix.system", "0", "cpu", 8),
                ("storage", kind, "0", "cpu", -1), ("storage", kind, "0", "cpu", True),
                ("storage", kind, ("0",), "cpu", 8),
                ("storage", kind, "0", "cpu", 8, ("1", 0, 2))):  # fmt: skip
        yield pickled(Reference(bad)), "not a storage of the file"
    yield b"\x80\x02" + operations("storage") + b"Q.", "damaged pickle|not a storage"
    # Lengths of more than the file holds.
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
    monkeypatch.setattr("fcn_jax.weights.foreign.pickled.MOST_STEPS", 2000)
    monkeypatch.setattr("fcn_jax.weights.foreign.pickled.MOST_TEXT", 2000)
    count = 0
    for content, message in hostile(tmp_path):
        for format in FORMATS.values():
            path = write(tmp_path / "a.pth", format(content, {"0": EIGHT}))
            with foreign_files.little_memory(), pytest.raises(ValueError, match=message) as caught:
                read_pth(path)
            assert str(path) in str(caught.value)
        count += 1
    assert count > 45 and not (tmp_path / "harm").exists()


def test_no_known_name_can_be_misused():
    assert all(getattr(known, "__module__", "").startswith("fcn_jax.") for known in KNOWN.values())
    assert not any(isinstance(known, type) for known in KNOWN.values())


def test_a_pickle_that_grows_takes_little_time_and_memory():
    # A pair of itself twice, 100 times over: to print, hash or compare it would never end.
    content = b"\x80\x02)q\x00" + b"h\x00h\x00\x86q\x00" * 100 + b"."
    with foreign_files.little_memory():
        value = read_pickle(memoryview(content)).value
    assert len(value) == 2
    with pytest.raises(ValueError, match="a tuple without tensors"):
        find_state_dict(value)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    ("view", "message"),
    [
        ({"offset": 1}, "up to number 9 of a storage of 8"),
        ({"offset": -1}, "offset -1"),
        ({"shape": (9,)}, "up to number 9"),
        ({"shape": (2, 2), "strides": (7, 1)}, "up to number 9"),
        ({"shape": (8,), "strides": (-1,)}, "not counts"),
        ({"shape": (-8,)}, "not counts"),
        ({"shape": (1 << 62, 1 << 62), "strides": (0, 0)}, "overlaps itself"),
        ({"shape": (7, 2), "strides": (1, 1)}, "overlaps itself"),
        ({"shape": (1 << 70,), "strides": (1,)}, "of a storage of 8"),
        ({"shape": (2, 2), "strides": (1,)}, "strides .1,."),
        ({"shape": (0, 1 << 62), "strides": (1, 1)}, "shape .0, "),
        ({"shape": (1,) * 33, "strides": (1,) * 33}, "not counts"),
        ({"shape": (True,)}, "not counts"),
        ({"shape": ("8",)}, "not counts"),
    ],
)
def test_views_that_leave_their_storage_are_refused(format, view, message, tmp_path):
    value = {"a": foreign_files.tensor("0", EIGHT, **view)}
    path = write(tmp_path / "a.pth", FORMATS[format](value, {"0": EIGHT}))
    with pytest.raises(ValueError, match=rf"a.pth: cannot be read as a .pth.*\(a: .*({message})"):
        read_pth(path)


def test_storages_that_are_missing(tmp_path):
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
    with pytest.raises(ValueError, match="absent.pth: there is no such"):
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
