"""Reads `.npz` files of plain arrays, and refuses those that unpack to much more than they are."""

import re
import zipfile
from math import prod
from pathlib import Path
from typing import IO, cast

import numpy as np

from fcn_jax.atomic import AnyPath
from fcn_jax.weights.layouts import Arrays
from fcn_jax.weights.memory_map import map_file, reading

MOST_GROWTH, ALLOWANCE = 100, 64 << 20
"""All arrays together have at most 64 MiB, or 100 times the bytes of their file. Trained weights
compress to about 90 %, and nets with nine of ten weights at zero to about 15 %."""

NPY_HEADER = re.compile(
    rb"\x93NUMPY(?:\x01\x00..|[\x02\x03]\x00....)"  # version, length of what follows
    rb"\{'descr': '(?P<dtype>[<>|](?:f[248]|[iu][1248]|b1|U\d{1,6}))',"
    rb" 'fortran_order': (?P<by_columns>True|False),"
    rb" 'shape': \((?P<shape>[\d, ]{,200})\), \} *\n",
    re.DOTALL,
)
"""The start of a stored array. Source: numpy.lib.format. Numpy's own reader is not used: it raises
other errors than ValueError where this text is damaged."""


def read_npz(path: AnyPath) -> Arrays:
    """All arrays of an `.npz` of plain arrays.

    Raises:
        ValueError: the file is missing, damaged, of another kind, or holds Python objects.
    """
    path = Path(path)
    with reading(path, "an .npz of plain arrays", "Export it again."):
        content = map_file(path)
        with zipfile.ZipFile(cast(IO[bytes], content)) as archive:
            entries = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            if len(entries) != len(archive.infolist()):
                raise ValueError("two arrays of one name")
            size = sum(info.file_size for info in entries.values())
            if size > (most := max(MOST_GROWTH * len(content), ALLOWANCE)):
                raise ValueError(
                    f"its {len(content)} bytes unpack to {size}, and at most {most} are expected;"
                    " numpy.savez does not compress"
                )
            return {name: _read_array(archive, info) for name, info in entries.items()}


def _read_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """One array; no more is unpacked than the archive's directory says."""
    name = info.filename[:100]
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name}: a compression that numpy never uses")
    with archive.open(info) as entry:
        content = entry.read(info.file_size)
    header = NPY_HEADER.match(content)
    if not header:
        raise ValueError(f"{name} is not a plain array; objects (allow_pickle) are never read")
    dtype = np.dtype(header["dtype"].decode())
    shape = tuple(map(int, re.findall(rb"\d+", header["shape"])))
    length = len(content) - header.end()
    if prod(shape) * dtype.itemsize != length or max(shape, default=0) > length:
        raise ValueError(f"{name}: {shape} {dtype} in {length} bytes")
    flat = np.frombuffer(content, dtype, offset=header.end())
    return flat.reshape(shape, order="F" if header["by_columns"] == b"True" else "C")
