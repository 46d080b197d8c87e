"""Reads one array of a MATLAB file (formats 5 to 7) without trusting the file.

scipy's reader ends the process on some damaged files. This one reads what label files hold: arrays
of real numbers, also in structs, compressed or not. It checks a size before it uses memory for it.

Source: MathWorks, MAT-File Format, chapter 1 (level 5).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from fcn_jax.arithmetic import round_up

MOST_BYTES = 1 << 27
"""The largest variable that is read, unpacked: 4,096 x 4,096 labels as doubles."""

_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8"}
_NUMBERS |= {12: "i8", 13: "u8"}
_STRUCT, _NUMERIC = 2, range(6, 16)
_OTHERS = {1: "a cell array", 2: "a struct", 3: "an object", 4: "text", 5: "a sparse array"}
_COMPLEX = 0x800
_HEAD = 512  # bytes: more than the flags, the shape and the name of a variable
_MOST_NAMES = 1 << 16  # bytes: those of 1,024 fields


class _Header(NamedTuple):
    """How a variable or a field begins; `kind` is its MATLAB class."""

    kind: int
    flags: int
    shape: tuple[int, ...]
    name: str


def read_variable(path: Path | str, key: str) -> np.ndarray | None:
    """Reads an array of real numbers.

    Args:
      path: The file.
      key: The variable, with struct fields after dots: `"S"`, `"GTcls.Segmentation"`.

    Returns:
      The array with the type that is stored; None if the file has no such variable or field.

    Raises:
      ValueError: The file is of another format, or the key names something else.
      Exception: Any other error: the file is missing or damaged.
    """
    name, *fields = key.split(".")
    with open(path, "rb") as file:
        start = file.read(128)
        order = {b"IM": "<", b"MI": ">"}.get(start[126:])
        if start[:4] == b"\x89HDF" or (order and start[124:126] in (b"\x00\x02", b"\x02\x00")):
            raise ValueError("it is in MATLAB's format 7.3; save it again with save(..., '-v7')")
        if not order or 0 in start[:4]:
            raise ValueError("it is not in MATLAB's format 5 to 7; save it with save(..., '-v7')")
        content = _find_variable(file, name, order)
    return None if content is None else _find_array(content, fields, order)


def _find_variable(file: IO[bytes], name: str, order: str) -> memoryview | None:
    """The unpacked content of a variable."""
    end, at = file.seek(0, 2), file.seek(128)
    while at < end:
        kind, length = struct.unpack(f"{order}II", file.read(8))
        at += 8 + length
        if at > end:
            raise ValueError(f"a variable ends at byte {at}, the file at byte {end}")
        data = file.read(min(length, MOST_BYTES))
        file.seek(at)
        inflater = zlib.decompressobj() if kind == _COMPRESSED else None
        if inflater:
            head = inflater.decompress(data, 8 + _HEAD)
            kind, length = struct.unpack(f"{order}II", head[:8])
            data = head[8:]
        if kind != _MATRIX:
            raise ValueError(f"a variable of the unknown type {kind}")
        if _header(_elements(memoryview(data)[:_HEAD], order), order).name != name:
            continue
        if length > MOST_BYTES:
            raise ValueError(f"{name} unpacks to {length} bytes; at most {MOST_BYTES} are read")
        if inflater:  # one byte more than expected, so that zlib reaches the end and its checksum
            data += inflater.decompress(inflater.unconsumed_tail, max(length - len(data), 0) + 1)
        if len(data) != length or (inflater and not inflater.eof):
            raise ValueError(f"{name} does not have the {length} bytes that it should have")
        return memoryview(data)
    return None


def _find_array(content: memoryview, fields: list[str], order: str) -> np.ndarray | None:
    """The array in a variable, or in a field of a struct."""
    elements = _elements(content, order)
    header = _header(elements, order)
    if fields and header.kind == _STRUCT:
        (length,) = struct.unpack(f"{order}i", _next(elements))
        names = bytes(_next(elements)[:_MOST_NAMES])
        known = [names[i : i + length].split(b"\0")[0] for i in range(0, len(names), length)]
        if fields[0].encode() not in known or 0 in header.shape:
            return None
        for _ in range(known.index(fields[0].encode())):
            _next(elements)
        return _find_array(_next(elements), fields[1:], order)
    if fields:
        return None
    if header.kind not in _NUMERIC or header.flags & _COMPLEX:
        found = _OTHERS.get(header.kind, "something else")
        raise ValueError(f"expected real numbers, found {found}")
    kind, data = next(elements)
    dtype = np.dtype(order + _NUMBERS[kind])
    array = np.frombuffer(data, dtype).reshape(header.shape, order="F")
    return array.astype(dtype.newbyteorder("="), copy=False)


def _header(elements: Iterator[tuple[int, memoryview]], order: str) -> _Header:
    """Takes the first three elements of a variable or a field."""
    flags, _ = struct.unpack(f"{order}II", _next(elements))
    dims = np.frombuffer(_next(elements)[:132], f"{order}i4").tolist()
    if not 2 <= len(dims) <= 32 or min(dims) < 0:
        raise ValueError(f"an array of shape {dims}")
    return _Header(flags & 0xFF, flags, tuple(dims), str(_next(elements), "ascii"))


def _next(elements: Iterator[tuple[int, memoryview]]) -> memoryview:
    """The content of the next element."""
    return next(elements)[1]


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Type and content of each element; each begins at a multiple of 8 bytes."""
    at = 0
    while at < len(data):
        kind, length = struct.unpack_from(f"{order}II", data, at)
        start = at + 8
        if kind >> 16:  # up to four bytes are stored in place of the length
            kind, length, start = kind & 0xFFFF, kind >> 16, at + 4
        at = round_up(start + length, 8)
        if start + length > len(data) or (start % 8 and length > 4):
            raise ValueError(f"{length} bytes expected at byte {start} of {len(data)}")
        yield kind, data[start : start + length]
