"""Archives are unpacked, or refused if they are hostile or damaged."""

import gzip
import os
import tarfile

import pytest
from download_server import names, special, tar_of, tree, zip_link, zip_of

from fcn_jax.data import DataError
from fcn_jax.prepare.download.unpack import unpack


@pytest.mark.parametrize(
    "archive",
    [
        tar_of(("./a/b.txt", b"1"), special("a", tarfile.DIRTYPE), ("a/c d.txt", b"")),
        tar_of(("a/b.txt", b"1"), ("a/c d.txt", b""), compress=False),
        zip_of(("a/", b""), ("a/b.txt", b"1"), (r"a\c d.txt", b"")),
    ],
    ids=["tar.gz", "tar", "zip"],
)
def test_archives_are_unpacked(tmp_path, archive):
    (tmp_path / "archive").write_bytes(archive)
    (tmp_path / "out").mkdir()
    written = []
    unpack(tmp_path / "archive", tmp_path / "out", at_most=1, members=3, advance=written.append)
    assert tree(tmp_path / "out") == {"a/b.txt": b"1", "a/c d.txt": b""}
    assert sum(written) == 1


HOSTILE = {
    "parent": (tar_of(("a/../../evil", b"")), "leads out"),
    "parent in zip": (zip_of(("../evil", b"")), "leads out"),
    "parent with backslashes": (zip_of((r"..\evil", b"")), "leads out"),
    "absolute": (tar_of(("/tmp/evil", b"")), "absolute"),
    "absolute in zip": (zip_of(("/tmp/evil", b"")), "absolute"),
    "drive": (zip_of((r"C:\evil", b"")), "absolute"),
    "symbolic link": (tar_of(special("evil", tarfile.SYMTYPE, "/etc")), "a link to '/etc'"),
    "link inside": (tar_of(("a", b""), special("evil", tarfile.SYMTYPE, "a")), "a link to 'a'"),
    "link in zip": (zip_of(zip_link("evil", "/etc")), "symbolic link"),
    "hard link": (tar_of(("a", b""), special("evil", tarfile.LNKTYPE, "a")), "a link to 'a'"),
    "character device": (tar_of(special("evil", tarfile.CHRTYPE)), "device"),
    "block device": (tar_of(special("evil", tarfile.BLKTYPE)), "device"),
    "pipe": (tar_of(special("evil", tarfile.FIFOTYPE)), "pipe"),
    "control character": (tar_of(("evil\x1b[2J", b"")), "not a valid file name"),
    "no name": (tar_of((".", b"")), "not a valid file name"),
    "bytes": (tar_of(("evil", bytes(2000))), "more than the expected"),
    "bytes in zip": (zip_of(("evil", bytes(2000))), "more than the expected"),
    "members": (tar_of(*((f"{i}", b"") for i in range(11))), "more than the expected"),
    "twice": (tar_of(("evil", b"1"), ("evil", b"2")), "the same name"),
    "twice, spelled differently": (tar_of(("a/evil", b"1"), ("a/./evil", b"2")), "the same name"),
    "case": (tar_of(("a/evil", b"1"), ("a/EVIL", b"2")), "the same name"),
    "case of a folder": (tar_of(("a/1", b"1"), ("A/2", b"2")), "the same name"),
    "accents": (tar_of(("\u00e9", b"1"), ("e\u0301", b"2")), "the same name"),
    "file as folder": (tar_of(("evil", b"1"), ("evil/a", b"2")), "the same name"),
    "folder as file": (tar_of(("evil/a", b"1"), ("evil", b"2")), "the same name"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("archive, message", HOSTILE.values(), ids=HOSTILE)
def test_hostile_archives_are_refused(tmp_path, archive, message):
    (tmp_path / "archive").write_bytes(archive)
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match=message):
        unpack(tmp_path / "archive", tmp_path / "out", at_most=1000, members=10)
    assert names(tmp_path) == ["archive", "out"] and not os.path.exists("/tmp/evil")


def long_header(size, kind):
    """The header of a member that claims to have `size` bytes."""
    info = tarfile.TarInfo("evil")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    "bomb",
    [
        long_header(1 << 40, tarfile.XHDTYPE) + bytes(1 << 20),
        long_header(1 << 30, tarfile.GNUTYPE_LONGNAME) + bytes(1 << 20),
        long_header(1 << 15, tarfile.GNUTYPE_LONGNAME) + b"x" * (1 << 16),
        tar_of(("a", b""), compress=False) + bytes(1 << 20),
        long_header(1 << 40, tarfile.REGTYPE) + bytes(1024),
        long_header(-512, tarfile.REGTYPE) + bytes(1024),
        long_header(-1024, tarfile.REGTYPE) + bytes(1024),
    ],
    ids=["extended header", "long name", "longer name", "end", "member", "back", "further back"],
)
def test_a_bomb_stops_before_it_is_unpacked(tmp_path, bomb):
    (tmp_path / "archive").write_bytes(gzip.compress(bomb))
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match="more than (the )?expected|cannot be read as"):
        unpack(tmp_path / "archive", tmp_path / "out", at_most=1000, members=10)
    assert sum(map(len, tree(tmp_path / "out").values())) == 0


def flipped(archive, *at):
    """The archive with the lowest bit of some bytes flipped."""
    return bytes(byte ^ (i in at) for i, byte in enumerate(archive))


WHOLE = tar_of(*((f"{i}", bytes(1000)) for i in range(9)))

ZIP = zip_of(("b", bytes(1000)))


@pytest.mark.parametrize(
    "damaged",
    [
        WHOLE[:-5],
        flipped(WHOLE, len(WHOLE) - 8),
        gzip.decompress(WHOLE)[:1200],
        ZIP[:-5],
        flipped(ZIP, 33),
        flipped(ZIP, 6, ZIP.index(b"PK\x01\x02") + 8),
        b"",
        b"<html>gone</html>",
    ],
    ids=["cut", "checksum", "cut tar", "cut zip", "altered", "encrypted", "empty", "no archive"],
)
def test_damaged_archives_are_refused(tmp_path, damaged):
    (tmp_path / "archive").write_bytes(damaged)
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match="cannot be read as|is encrypted"):
        unpack(tmp_path / "archive", tmp_path / "out", at_most=10**6, members=10)
