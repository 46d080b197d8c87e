"""`.pth` files without PyTorch: the tensors of a state dict.

Two formats: an archive (PyTorch 1.6 on) with a pickle and one entry per storage; and before that a
stream of pickles with the storages behind them. Pickles are read by
`fcn_jax.weights.foreign.pickled`, which runs nothing.

Source: torch/serialization.py, `_save` and `_legacy_save`.
"""

import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fcn_jax.weights.foreign.pickled import read_pickle
from fcn_jax.weights.foreign.tensors import Storage, Tensor, array_of, dtype_of
from fcn_jax.weights.mapped import Mapped, archive_of, check_there, mapped

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
INSIDE = ("state_dict", "model_state_dict", "model")
"""Where a training's checkpoint keeps its state dict."""

Arrays = dict[str, np.ndarray]
Numbers = Callable[[Storage], np.ndarray]


def read_pth(path: Path) -> Arrays:
    """The tensors of a state dict by name, or of the one inside a training's checkpoint.

    Args:
        path: a file that `torch.save` wrote.

    Returns:
        Arrays of the file's own types, views of what was read; without the `module.` that
        training on several devices puts before every name.

    Raises:
        ValueError: there is no such file, it is damaged, or its pickle asks for anything but
            tensors and plain values.
    """
    check_there(path)
    try:
        file = mapped(path)
        data = memoryview(file)
        if data[:1] == b"\x80":
            value, numbers_of = _stream(data)
        elif data[:4] == b"PK\x03\x04":
            value, numbers_of = _archive(file, data)
        else:
            raise ValueError("neither PyTorch's archive nor its older stream")
        tensors = _state_dict(value)
        arrays = {}
        for name, tensor in tensors.items():
            try:
                arrays[name] = array_of(tensor, numbers_of)
            except ValueError as error:
                raise ValueError(f"{name[:100]}: {error}") from error
    except (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} is no complete .pth with a state dict ({error}). Download it again, or save"
            " it again with torch.save(net.state_dict(), …)."
        ) from error
    if all(name.startswith("module.") for name in arrays):
        arrays = {name.removeprefix("module."): array for name, array in arrays.items()}
    return arrays


def _state_dict(value: Any) -> dict[str, Any]:
    """The tensors of what was saved: a state dict, or a dictionary that holds one."""
    if type(value) is dict:
        for name in INSIDE:
            if type(value.get(name)) is dict:
                value = value[name]
                break
        tensors = {n: t for n, t in value.items() if type(t) is Tensor and type(n) is str}
        if tensors:
            return tensors
    raise ValueError(f"a {type(value).__name__} without tensors, where a state dict should be")


def _archive(file: Mapped, data: memoryview) -> tuple[Any, Numbers]:
    """The value of an archive, and its storages, views of the mapped file."""
    with archive_of(file) as archive:
        entries = {info.filename: info for info in archive.infolist()}

    def read(name: str) -> memoryview:
        if name not in entries:
            raise ValueError(f"an archive without {name[:100]}")
        return _entry(data, entries[name])

    pickles = [name for name in entries if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ValueError(f"an archive with {len(pickles)} entries data.pkl")
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}byteorder" in entries and read(f"{folder}byteorder") != b"little":
        raise ValueError("numbers in big-endian order, which are not read")
    value = read_pickle(read(pickles[0])).value
    return value, lambda storage: _numbers(read(f"{folder}data/{storage.key}"), storage)


def _entry(data: memoryview, info: zipfile.ZipInfo) -> memoryview:
    """The bytes of an entry, which PyTorch never compresses, after their checksum was compared.

    Source: PKWARE's APPNOTE, section 4.3.7 (an entry's own header).
    """
    begin = info.header_offset
    header = data[begin : begin + 30] if begin >= 0 else b""
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise ValueError(f"no entry where {info.filename[:100]} should be")
    begin += 30 + sum(struct.unpack("<HH", header[26:]))
    entry = data[begin : begin + info.file_size]
    if info.compress_type != zipfile.ZIP_STORED or len(entry) != info.file_size:
        raise ValueError(f"{info.filename[:100]} is compressed, or longer than the file")
    if zlib.crc32(entry) != info.CRC:
        raise ValueError(f"{info.filename[:100]} does not have its checksum")
    return entry


def _stream(data: memoryview) -> tuple[Any, Numbers]:
    """The value of the older format, and its storages, views of the mapped file."""
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
        size = storage.count * dtype_of(storage).itemsize
        count, begin = int.from_bytes(data[at : at + 8], "little"), at + 8
        at = begin + size
        if count != storage.count or at > len(data):
            raise ValueError(
                f"a storage of {count} numbers at byte {begin}, where {storage.count} should be"
                f" and {max(len(data) - begin, 0)} bytes are left"
            )
        storages[key] = data[begin:at]

    def numbers_of(storage: Storage) -> np.ndarray:
        if storage.key not in storages:
            raise ValueError(f"the file ends before storage {storage.key[:100]}")
        return _numbers(storages[storage.key], storage)

    return value, numbers_of


def _numbers(data: memoryview, storage: Storage) -> np.ndarray:
    dtype = dtype_of(storage)
    if len(data) != storage.count * dtype.itemsize:
        raise ValueError(
            f"storage {storage.key[:100]} has {len(data)} bytes, not {storage.count} numbers"
            f" of {dtype}"
        )
    return np.frombuffer(data, np.uint8).view(dtype)
