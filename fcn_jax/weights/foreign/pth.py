"""Reads `.pth` files without PyTorch: the tensors of a state dict.

Since PyTorch 1.6 they are an archive with a pickle and one entry per storage, before that a stream
of pickles, followed by the storages. `pickled.py` reads the pickles and runs nothing.

Source: torch/serialization.py, `_save` and `_legacy_save`.
"""

import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

from fcn_jax.atomic import AnyPath
from fcn_jax.weights.foreign.pickled import read_pickle
from fcn_jax.weights.foreign.tensors import Storage, Tensor, array_of
from fcn_jax.weights.layouts import Arrays
from fcn_jax.weights.memory_map import MemoryMap, map_file, reading

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001

STATE_DICT_KEYS = ("state_dict", "model_state_dict", "model")
"""Where a training checkpoint keeps its state dict."""

BytesOf = Callable[[Storage], memoryview]


def read_pth(path: AnyPath) -> Arrays:
    """The tensors of a state dict by name, or of the one inside a training checkpoint.

    Args:
        path: a file that `torch.save` wrote.

    Returns:
        Arrays of the types that the file has, views of the mapped file. If every name begins with
        `module.`, which training on several devices adds, it is removed.

    Raises:
        ValueError: there is no such file, it is damaged, or its pickle asks for anything but
            tensors and plain values.
    """
    path, arrays = Path(path), {}
    remedy = "Download it again, or save it again with torch.save(net.state_dict(), …)."
    with reading(path, "a .pth with a state dict", remedy):
        file = map_file(path)
        if file[:1] == b"\x80":
            value, bytes_of = _read_stream(memoryview(file))
        elif file[:4] == b"PK\x03\x04":
            value, bytes_of = _read_archive(file)
        else:
            raise ValueError("neither PyTorch's archive nor its older stream")
        for name, tensor in find_state_dict(value).items():
            try:
                arrays[name] = array_of(tensor, bytes_of)
            except ValueError as error:
                raise ValueError(f"{name[:100]}: {error}") from error
    if all(name.startswith("module.") for name in arrays):
        arrays = {name.removeprefix("module."): array for name, array in arrays.items()}
    return arrays


def find_state_dict(value: Any) -> dict[str, Tensor]:
    """The tensors of what was saved: a state dict, or a dictionary that holds one.

    Raises:
        ValueError: it has no tensors.
    """
    if type(value) is dict:
        inside = [value[key] for key in STATE_DICT_KEYS if type(value.get(key)) is dict]
        state_dict = inside[0] if inside else value
        tensors = {n: t for n, t in state_dict.items() if type(t) is Tensor and type(n) is str}
        if tensors:
            return tensors
    raise ValueError(f"a {type(value).__name__} without tensors, where a state dict should be")


def _read_archive(file: MemoryMap) -> tuple[Any, BytesOf]:
    """The value of an archive, and its storages as views of the mapped file."""
    data = memoryview(file)
    with zipfile.ZipFile(cast(IO[bytes], file)) as archive:
        entries = {info.filename: info for info in archive.infolist()}

    def read(name: str) -> memoryview:
        if name not in entries:
            raise ValueError(f"an archive without {name[:100]}")
        return _read_entry(data, entries[name])

    pickles = [name for name in entries if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ValueError(f"an archive with {len(pickles)} entries data.pkl")
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}byteorder" in entries and read(f"{folder}byteorder") != b"little":
        raise ValueError("numbers in big-endian order, which are not read")
    value = read_pickle(read(pickles[0])).value
    return value, lambda storage: read(f"{folder}data/{storage.key}")


def _read_entry(data: memoryview, info: zipfile.ZipInfo) -> memoryview:
    """The bytes of an entry, which PyTorch never compresses; compares the checksum first.

    Source: PKWARE's APPNOTE, section 4.3.7 (the header in front of an entry).
    """
    start = info.header_offset
    header = data[start : start + 30] if start >= 0 else b""
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise ValueError(f"no entry where {info.filename[:100]} should be")
    start += 30 + sum(struct.unpack("<HH", header[26:]))
    entry = data[start : start + info.file_size]
    if info.compress_type != zipfile.ZIP_STORED or len(entry) != info.file_size:
        raise ValueError(f"{info.filename[:100]} is compressed, or longer than the file")
    if zlib.crc32(entry) != info.CRC:
        raise ValueError(f"{info.filename[:100]} does not have its checksum")
    return entry


def _read_stream(data: memoryview) -> tuple[Any, BytesOf]:
    """The value of the older format, and its storages as views of the mapped file."""
    at, parts = 0, []
    for _ in range(5):
        parts.append(read_pickle(data, at))
        at = parts[-1].end
    magic, protocol, system, value, keys = (part.value for part in parts)
    if magic != MAGIC or protocol != PROTOCOL or type(keys) is not list:
        raise ValueError("a stream of another version than PyTorch ever wrote")
    if type(system) is not dict or system.get("little_endian") is not True:
        raise ValueError("numbers in big-endian order, which are not read")
    storages: dict[str, memoryview] = {}
    for key in keys:
        storage = parts[3].storages.get(key) if type(key) is str else None
        if storage is None:
            raise ValueError("a storage that nothing in the file refers to")
        count, start = int.from_bytes(data[at : at + 8], "little"), at + 8
        at = start + storage.count * storage.dtype.itemsize
        if count != storage.count or at > len(data):
            raise ValueError(
                f"a storage of {count} numbers at byte {start}, where {storage.count} should be"
                f" and {max(len(data) - start, 0)} bytes are left"
            )
        storages[key] = data[start:at]

    def bytes_of(storage: Storage) -> memoryview:
        if storage.key not in storages:
            raise ValueError(f"the file ends before storage {storage.key[:100]}")
        return storages[storage.key]

    return value, bytes_of
