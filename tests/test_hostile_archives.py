"""Archives that would do harm: one message names archive and entry, and nothing is left behind."""

import gzip
import io
import os
import struct
import tarfile
import zipfile
import zlib

import foreign_files
import pytest
from download_server import names, special, tar_of, tree, zip_of

from fcn_jax.data import DataError
from fcn_jax.prepare.download.unpack import unpack

FIRST = ("a/first", b"what was unpacked before")


def refused(tmp_path, archive, *parts, at_most=10_000, members=100):
    """The message names the archive and the parts, and the folder is as empty as before."""
    (tmp_path / "x.archive").write_bytes(archive)
    (tmp_path / "out").mkdir(exist_ok=True)
    with pytest.raises(DataError) as error:
        unpack(tmp_path / "x.archive", tmp_path / "out", at_most=at_most, members=members)
    for part in ("x.archive", *parts):
        assert part in str(error.value), error.value
    assert len(str(error.value)) < 1000
    assert names(tmp_path) == ["out", "x.archive"] and names(tmp_path / "out") == []


def named(name, content=b"1"):
    """The same two entries in every kind of archive."""
    tar = tar_of(FIRST, (name, content), compress=False)
    return {"tar": tar, "tar.gz": gzip.compress(tar), "zip": zip_of(FIRST, (name, content))}


LONG = {
    "2,000 folders": ("d/" * 2000 + "evil", "d/d/d"),
    "65 folders": ("d/" * 65 + "evil", "more than 64 folders"),
    "300 characters": ("e" * 300, "eee"),
    "300 characters of a folder": ("e" * 300 + "/evil", "more than 255 bytes"),
    "200 characters of 3 bytes": ("語" * 200, "more than 255 bytes"),
    "a long path": (("e" * 200 + "/") * 20 + "evil", "a path of more than 1024"),
    "folders of no file": ("d/" * 2000, "d/d/d"),
}


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])
@pytest.mark.parametrize(("name", "part"), LONG.values(), ids=LONG)
def test_names_that_no_disk_holds_are_refused(tmp_path, name, part, kind):
    refused(tmp_path, named(name)[kind], part)


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])
@pytest.mark.parametrize("name", ["f" * 255, "é" * 127, "d/" * 63 + "deep", "../a"[3:] + "b c.d"])
def test_names_that_a_disk_holds_are_unpacked(tmp_path, name, kind):
    (tmp_path / "x.archive").write_bytes(named(name)[kind])
    (tmp_path / "out").mkdir()
    unpack(tmp_path / "x.archive", tmp_path / "out", at_most=1000, members=100)
    assert tree(tmp_path / "out") == {"a/first": FIRST[1], name: b"1"}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])
@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("a/first", "the same name"),
        ("a/FIRST", "the same name"),
        ("A/second", "the same name"),
        ("a", "the same name"),
        ("a/first/x", "the same name"),
        ("../evil", "leads out"),
        ("a/../../evil", "leads out"),
        ("/evil", "absolute"),
        ("//evil", "absolute"),
        ("C:/evil", "absolute"),
        ("a\nb", "not a valid file name"),
    ],
)
def test_names_that_do_harm_are_refused_after_others_were_unpacked(tmp_path, name, part, kind):
    refused(tmp_path, named(name)[kind], part)
    assert not os.path.exists("/evil")


@pytest.mark.parametrize("type", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE,
                                  tarfile.BLKTYPE, tarfile.FIFOTYPE])  # fmt: skip
def test_links_and_devices_are_refused_after_others_were_unpacked(tmp_path, type):
    refused(tmp_path, tar_of(FIRST, special("evil", type, "a/first")), "'evil'")


def test_more_than_expected_names_the_entry_that_is_too_much(tmp_path):
    refused(tmp_path, tar_of(FIRST, ("evil", bytes(2000))), "'evil'", at_most=1000)
    refused(tmp_path, zip_of(FIRST, ("evil", bytes(2000))), "'evil'", at_most=1000)
    refused(tmp_path, zip_of(FIRST, ("b", b""), ("evil", b"")), "'evil'", members=2)


def test_a_zip_whose_entry_lies_about_its_size(tmp_path):
    """10 MB in 10 KB, where both headers claim 10 bytes."""
    honest = zip_of(("evil", bytes(10_000_000)))
    size, lie = struct.pack("<I", 10_000_000), struct.pack("<I", 10)
    assert honest.count(size) == 2
    with foreign_files.little_memory(4 << 20):
        refused(tmp_path, honest.replace(size, lie), "'evil'")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_kinds_of_compression_that_take_much_memory_are_refused(tmp_path, method):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        archive.writestr("evil", b"1" * 1000)
    refused(tmp_path, stream.getvalue(), "'evil'", "compressed in a way")


def test_a_damaged_entry_is_named(tmp_path):
    archive = bytearray(zip_of(FIRST, ("evil", b"0123456789" * 20)))
    archive[archive.index(b"evil") + 8] ^= 255
    refused(tmp_path, bytes(archive), "'evil'")


def test_a_damaged_header_is_not_the_end_of_a_tar(tmp_path):
    tar = bytearray(tar_of(FIRST, ("second", b"2"), ("third", b"3"), compress=False))
    tar[tar.index(b"second")] ^= 1
    refused(tmp_path, bytes(tar), "damaged header")
    refused(tmp_path, gzip.compress(bytes(tar)), "damaged header")


def test_a_tar_without_blocks_at_its_end_is_unpacked(tmp_path):
    tar = tar_of(FIRST, compress=False)[:1024]
    (tmp_path / "x.archive").write_bytes(tar)
    (tmp_path / "out").mkdir()
    unpack(tmp_path / "x.archive", tmp_path / "out", at_most=1000, members=10)
    assert tree(tmp_path / "out") == dict([FIRST])


def test_a_full_disk_is_no_damage_and_leaves_nothing(tmp_path):
    (tmp_path / "x.archive").write_bytes(tar_of(FIRST, ("b", b"2")))
    (tmp_path / "out").mkdir()

    def full(count):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        unpack(tmp_path / "x.archive", tmp_path / "out", at_most=100, members=9, advance=full)
    assert names(tmp_path / "out") == []


def test_a_directory_that_claims_gigabytes_takes_no_memory(tmp_path):
    honest = zip_of(FIRST)
    end = honest.rindex(b"PK\x05\x06")
    claims = honest[: end + 12] + struct.pack("<I", 0xFFFFFFF0) + honest[end + 16 :]
    with foreign_files.little_memory():
        refused(tmp_path, claims)
    body = zlib.compress(bytes(1000))
    assert body  # a bare zlib stream is no archive
    refused(tmp_path, body)
