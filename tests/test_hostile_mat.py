"""`.mat` files: read as scipy reads them, and refused by name where they are damaged or hostile."""

import io
import struct
import zlib

import foreign_files
import numpy as np
import pytest
import scipy.io
import scipy.sparse

from fcn_jax.data import DataError
from fcn_jax.data.readers import read_mat

LABELS = np.random.default_rng(0).integers(0, 34, (6, 5))


def mat(contents, **options):
    stream = io.BytesIO()
    scipy.io.savemat(stream, contents, **options)
    return stream.getvalue()


def element(kind, data, order="<"):
    """A data element, with its tag and what it lacks to a multiple of 8 bytes."""
    return struct.pack(f"{order}II", kind, len(data)) + data + bytes(-len(data) % 8)


def variable(shape, data, *, kind=9, number=2, name=b"S", flags=0, order="<"):
    """A variable of a class (9 = uint8), with numbers of a type (2 = uint8)."""
    dims = struct.pack(f"{order}{len(shape)}i", *shape)
    return element(
        14,
        element(6, struct.pack(f"{order}II", kind | flags, 0), order)
        + element(5, dims, order)
        + element(1, name, order)
        + element(number, data, order),
        order,
    )


def whole(*elements, order="<"):
    """A file of these elements."""
    return b"MATLAB 5.0".ljust(124) + struct.pack(f"{order}HH", 0x100, 0x4D49) + b"".join(elements)


def packed(element):
    stored = zlib.compress(element)
    return struct.pack("<II", 15, len(stored)) + stored


def read(tmp_path, content, key="S"):
    (tmp_path / "a.mat").write_bytes(content)
    return read_mat(tmp_path / "a.mat", key)


def refused(tmp_path, content, *parts, key="S"):
    with pytest.raises(DataError) as error:
        read(tmp_path, content, key)
    for part in ("a.mat", *parts):
        assert part in str(error.value), error.value


SOUND = {
    **{t: LABELS.astype(t) for t in "u1 i1 u2 i2 u4 i4 u8 i8 f4 f8 ?".split()},
    "Fortran": np.asfortranarray(LABELS.astype(np.uint8)),
    "three axes": np.arange(24.0).reshape(2, 3, 4),
    "one number": np.array([[7]], np.uint8),
    "few numbers": np.array([[1, 2, 3]], np.uint8),
    "wide": np.zeros((1, 3000), np.int16),
    "empty": np.zeros((0, 3)),
}


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("array", SOUND.values(), ids=SOUND)
def test_arrays_are_read_as_scipy_reads_them(tmp_path, array, compress):
    others = {"a": np.eye(3), "text": "S", "cells": np.array([[1, "S"]], object), "z": 1}
    content = mat(others | {"S": array}, do_compression=compress)
    found, expected = read(tmp_path, content), scipy.io.loadmat(io.BytesIO(content))["S"]
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == expected.dtype == (np.uint8 if array.dtype == bool else array.dtype)


@pytest.mark.parametrize("compress", [False, True])
def test_fields_of_structs_are_read(tmp_path, compress):
    boundaries = np.empty((20, 1), object)
    boundaries[:] = [[scipy.sparse.eye(4, format="csc")] for _ in range(20)]
    label = LABELS.astype(np.uint8)
    truth = {"Boundaries": boundaries, "Segmentation": label, "CategoriesPresent": [[1], [3]]}
    long = {"x" * 60: label.T, "inner": {"deep": {"S": label + 1}}}
    content = mat({"GTcls": truth, "L": long}, do_compression=compress, long_field_names=True)
    np.testing.assert_array_equal(read(tmp_path, content, "GTcls.Segmentation"), label)
    np.testing.assert_array_equal(read(tmp_path, content, "L." + "x" * 60), label.T)
    np.testing.assert_array_equal(read(tmp_path, content, "L.inner.deep.S"), label + 1)
    records = np.array([[(label,), (label.T,)]], [("S", object)])
    np.testing.assert_array_equal(read(tmp_path, mat({"G": records}), "G.S"), label)


def test_a_file_of_a_big_endian_machine_is_read(tmp_path):
    data = LABELS.T.astype(">i2").tobytes()
    content = whole(variable((6, 5), data, kind=10, number=3, order=">"), order=">")
    found = read(tmp_path, content)
    np.testing.assert_array_equal(found, LABELS)
    assert found.dtype.isnative


def test_a_label_with_other_large_variables_is_read(tmp_path):
    """What is not asked for is neither unpacked nor judged."""
    bomb = variable((30_000, 30_000), b"", name=b"huge")
    content = whole(packed(bomb), packed(variable((2, 2), bytes(4))))
    with foreign_files.little_memory():
        np.testing.assert_array_equal(read(tmp_path, content), np.zeros((2, 2)))


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("text", "text"),
        ({"a": 1}, "a struct"),
        (np.array([[1, "a"]], object), "a cell array"),
        (scipy.sparse.eye(3, format="csc"), "a sparse array"),
        (np.array([[1 + 2j]]), "real numbers"),
    ],
)
@pytest.mark.parametrize("compress", [False, True])
def test_what_is_not_an_array_of_numbers_is_refused(tmp_path, value, found, compress):
    refused(tmp_path, mat({"S": value}, do_compression=compress), found)
    refused(tmp_path, mat({"G": {"S": value}}, do_compression=compress), found, key="G.S")


def test_a_missing_variable_is_named(tmp_path):
    for contents, key in (({"T": 1}, "S"), ({"S": {"A": 1}}, "S.B"), ({"S": 1}, "S.A"), ({}, "S")):
        refused(tmp_path, mat(contents), f"'{key}'", key=key)


def test_other_formats_are_named(tmp_path):
    refused(tmp_path, mat({"S": LABELS}, format="4"), "-v7")
    hdf = b"MATLAB 7.3 MAT-file".ljust(124) + struct.pack("<HH", 0x200, 0x4D49)
    refused(tmp_path, hdf.ljust(512) + b"\x89HDF\r\n\x1a\n", "7.3", "-v7")
    refused(tmp_path, b"\x89HDF\r\n\x1a\n".ljust(512, b"\0"), "7.3", "-v7")
    for content in (b"", b"\0" * 200, b"<html>gone</html>" * 20, b"\x89PNG\r\n\x1a\n" * 30):
        refused(tmp_path, content, "MATLAB")


LIES = {
    "shape": variable((1 << 30, 1 << 30), bytes(4)),
    "shape that overflows": variable((1 << 30,) * 32, bytes(4)),
    "negative": variable((-1, -4), bytes(4)),
    "one axis": variable((4,), bytes(4)),
    "no axes": variable((), bytes(4)),
    "many axes": variable((1,) * 33, bytes(1)),
    "too few": variable((2, 2), bytes(3)),
    "too many": variable((2, 2), bytes(5)),
    "another type": variable((2, 2), bytes(4), number=9),
    "unknown type": variable((2, 2), bytes(4), number=8),
    "unknown class": variable((2, 2), bytes(4), kind=99),
    "no numbers": variable((0, 0), b"")[:-8],
    "name": variable((2, 2), bytes(4), name=b"\xff\xfe"),
    "empty": element(14, b""),
    "not a variable": element(9, bytes(64)),
    "nested compression": element(15, zlib.compress(element(15, zlib.compress(bytes(9))))),
    "struct": variable((1, 1), struct.pack("<i", 0), kind=2, number=5),
    "longer than the file": variable((2, 2), bytes(4))[:-8],
    "huge": struct.pack("<II", 14, 0xFFFFFFF8) + bytes(64),
    "cut in a tag": variable((2, 2), bytes(4), name=b"T") + b"\x0e\0\0",
}


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("element", LIES.values(), ids=LIES)
def test_lies_are_refused_in_little_memory(tmp_path, element, compress):
    content = whole(packed(element) if compress else element)
    with foreign_files.little_memory():
        refused(tmp_path, content, key="S")
        refused(tmp_path, content, key="S.A")


def test_a_small_file_that_unpacks_to_much_is_refused(tmp_path):
    """100 KB that unpack to 128 MB: honest, and a length that is not the content's."""
    packer = zlib.compressobj(1)
    start = variable((16_384, 8_193), bytes(16_384 * 8_193))[:8192]
    stored = packer.compress(start) + b"".join(packer.compress(bytes(1 << 20)) for _ in range(128))
    content = whole(struct.pack("<II", 15, len(stored)) + stored)
    with foreign_files.little_memory(8 << 20):
        refused(tmp_path, content, "at most")
    claims = zlib.compress(variable((2, 2), bytes(4)) + bytes(100 << 20), 9)
    with foreign_files.little_memory():
        refused(tmp_path, whole(struct.pack("<II", 15, len(claims)) + claims), "S")


def test_a_variable_without_its_checksum_is_refused(tmp_path):
    stored = zlib.compress(variable((2, 2), bytes(4)))
    for kept in (-1, -4, -5):
        short = stored[:kept]
        refused(tmp_path, whole(struct.pack("<II", 15, len(short)) + short), "bytes")


def test_every_changed_byte_of_a_compressed_file_is_noticed_or_harmless(tmp_path):
    label = LABELS.astype(np.uint8)
    content = mat({"S": label}, do_compression=True)
    read_again = 0
    for at in range(len(content)):
        for change in (1, 0x80, 0xFF):
            damaged = bytearray(content)
            damaged[at] ^= change
            try:
                np.testing.assert_array_equal(read(tmp_path, bytes(damaged)), label)
                read_again += 1
            except DataError as error:
                assert "a.mat" in str(error)
    assert read_again > 120 * 3  # the text of the header means nothing


def test_a_cut_file_is_refused_at_every_length(tmp_path):
    for compress in (False, True):
        content = mat({"S": LABELS.astype(np.uint8)}, do_compression=compress)
        for kept in range(len(content)):
            refused(tmp_path, content[:kept])
