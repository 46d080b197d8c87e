"""Reads `.npz` files of plain arrays, and refuses what is larger than its file can hold."""

import re
import zipfile
from math import prod
from pathlib import Path
from typing import IO, cast

import numpy as np

from fcn_jax.weights.layouts import Arrays
from fcn_jax.weights.memory_map import AnyPath, map_file, reading

MAX_DEFLATE = 1032
"""No compressed entry of an archive grows by more. Source: zlib's technical details."""

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
    with reading(path, ".npz of plain arrays", "Export it again."):
        content = map_file(path)
        with zipfile.ZipFile(cast(IO[bytes], content)) as archive:
            return {
                info.filename.removesuffix(".npy"): _read_array(archive, info, len(content))
                for info in archive.infolist()
            }


def _read_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, file_size: int) -> np.ndarray:
    """One array; nothing is allocated for an entry that claims more than the file can hold."""
    name = info.filename[:100]
    as_numpy_writes = info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    if not as_numpy_writes or info.file_size > MAX_DEFLATE * file_size:
        raise ValueError(f"{name}: {info.file_size} bytes in {file_size}")
    content = archive.read(info)
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
