"""Fetching from a server on this machine that can do what servers do wrong."""

import contextlib
import dataclasses
import gzip
import hashlib
import http.server
import io
import os
import re
import tarfile
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image
from rich.console import Console

from fcn_jax.data import SBD, VOC, DataError, SIFTFlow, pascal_context
from fcn_jax.data.nyud import NYUDv2
from fcn_jax.data.pascal_context import PASCALContext
from fcn_jax.download import fetch as fetch_module
from fcn_jax.download import install as install_module
from fcn_jax.download.fetch import TRIES, fetch
from fcn_jax.download.install import install
from fcn_jax.download.report import Report
from fcn_jax.download.spec import Remote
from fcn_jax.download.table import SETS
from fcn_jax.download.unpack import unpack

CONTENT = np.random.default_rng(0).bytes(300_000)
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


@dataclasses.dataclass
class Served:
    """A file on the server, and how the server misbehaves.

    Attributes:
      cuts: Bytes after which the connection is closed, one entry for each request.
      statuses: Answers to give before the right one.
      ranges, length: Whether parts are served, and the length is told.
    """

    content: bytes = CONTENT
    tag: str = '"one"'
    cuts: list = dataclasses.field(default_factory=list)
    statuses: list = dataclasses.field(default_factory=list)
    location: str = ""
    ranges: bool = True
    length: bool = True


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):  # noqa: N802
        server = self.server
        server.requests.append((self.path, self.headers.get("Range")))
        served = server.files.get(self.path)
        if served is None or served.statuses or served.location:
            status = 404 if served is None else 302 if served.location else served.statuses.pop(0)
            self.send_response(status)
            if served is not None and served.location:
                self.send_header("Location", served.location)
            self.send_header("Content-Length", "0")
            return self.end_headers()
        start, total = 0, len(served.content)
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if wanted and served.ranges and self.headers.get("If-Range") == served.tag:
            start = int(wanted[1])
        if start >= total and start:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{total}")
            return self.end_headers()
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        if served.length:
            self.send_header("Content-Length", str(total - start))
        if served.tag:
            self.send_header("ETag" if '"' in served.tag else "Last-Modified", served.tag)
        self.end_headers()
        body = served.content[start:]
        self.wfile.write(body[: served.cuts.pop(0)] if served.cuts else body)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.files, server.requests = {}, []
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def said():
    """A report, and what it said."""
    report = Report(Console(file=io.StringIO(), width=80))
    report.text = report._console.file.getvalue
    return report


def remote(server, *paths, checksum=SHA256, size=400_000):
    paths = paths or ("/a.tar",)
    return Remote(
        name="a.tar", urls=tuple(server.url + p for p in paths), bytes=size, checksum=checksum
    )


def names(folder):
    return sorted(p.name for p in folder.iterdir())


# --- one file ---


def test_a_file_is_fetched_once(server, said, tmp_path):
    server.files["/a.tar"] = Served()
    for _ in range(2):
        assert fetch(remote(server), tmp_path, said).read_bytes() == CONTENT
    assert names(tmp_path) == ["a.tar"]
    assert server.requests == [("/a.tar", None)]


@pytest.mark.parametrize("tag", ['"one"', "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_a_broken_connection_is_gone_on_with(server, said, tmp_path, tag):
    server.files["/a.tar"] = Served(cuts=[100_000, 0, 50_000], tag=tag)
    pauses = []
    path = fetch(remote(server), tmp_path, said, pause=pauses.append)
    assert path.read_bytes() == CONTENT
    ranges = [r for _, r in server.requests]
    assert ranges == [None, "bytes=100000-", "bytes=100000-", "bytes=150000-"]
    assert pauses == [1, 1, 1]  # what gained bytes starts the count anew
    assert "closed after 100000 of 300000 bytes; trying again" in said.text()


def test_another_process_goes_on_with_the_part(server, said, tmp_path):
    server.files["/a.tar"] = Served(cuts=[100_000] + [0] * TRIES)
    with pytest.raises(DataError, match=r"closed after 100000 of 300000 bytes \(4 attempts\)"):
        fetch(remote(server), tmp_path, said, pause=lambda s: None)
    assert not (tmp_path / "a.tar").exists()
    server.files["/a.tar"] = Served()
    assert fetch(remote(server), tmp_path, said).read_bytes() == CONTENT
    assert server.requests[-1] == ("/a.tar", "bytes=100000-")


@pytest.mark.parametrize(
    "later",
    [Served(ranges=False), Served(tag='"two"'), Served(tag="")],
    ids=["no ranges", "changed", "no tag"],
)
def test_it_starts_over_where_it_cannot_go_on(server, said, tmp_path, later):
    (tmp_path / "a.tar.part").write_bytes(b"x" * 100_000)
    (tmp_path / "a.tar.part.tag").write_text('"one"')
    server.files["/a.tar"] = later
    assert fetch(remote(server), tmp_path, said).read_bytes() == CONTENT


@pytest.mark.parametrize("tag", ["", 'W/"one"'])
def test_a_version_that_cannot_be_named_is_not_gone_on_with(server, said, tmp_path, tag):
    server.files["/a.tar"] = Served(tag=tag, cuts=[100_000])
    assert fetch(remote(server), tmp_path, said, pause=lambda s: None).read_bytes() == CONTENT
    assert [r for _, r in server.requests] == [None, None]


def test_a_part_without_its_tag_starts_over(server, said, tmp_path):
    (tmp_path / "a.tar.part").write_bytes(b"x" * 100_000)
    server.files["/a.tar"] = Served()
    assert fetch(remote(server), tmp_path, said).read_bytes() == CONTENT
    assert server.requests == [("/a.tar", None)]


@pytest.mark.parametrize("size, requests", [(300_000, 1), (300_001, 2)])
def test_a_part_that_is_whole_or_too_long(server, said, tmp_path, size, requests):
    (tmp_path / "a.tar.part").write_bytes((CONTENT + b"x")[:size])
    (tmp_path / "a.tar.part.tag").write_text('"one"')
    server.files["/a.tar"] = Served()
    path = fetch(remote(server), tmp_path, said, pause=lambda s: None)
    assert path.read_bytes() == CONTENT and names(tmp_path) == ["a.tar"]
    assert len(server.requests) == requests


def test_statuses_that_pass_are_tried_again_and_others_not(server, said, tmp_path):
    server.files["/a.tar"] = Served(statuses=[503, 429])
    pauses = []
    fetch(remote(server), tmp_path, said, pause=pauses.append)
    assert pauses == [1, 2]
    with pytest.raises(DataError, match="404 Not Found") as raised:
        fetch(dataclasses.replace(remote(server, "/no"), name="b"), tmp_path, said)
    assert server.requests.count(("/no", None)) == 1
    assert f"save it as {tmp_path / 'b'} ({SHA256})" in str(raised.value)


def test_without_a_server_the_message_says_what_to_fetch_by_hand(said, tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    nowhere = Remote(name="a.tar", urls=("http://127.0.0.1:9/a.tar",), bytes=9)
    pauses = []
    with pytest.raises(DataError) as raised:
        fetch(nowhere, tmp_path, said, pause=pauses.append)
    assert pauses == [1, 2, 4]
    for part in ("http://127.0.0.1:9/a.tar: no answer", "by hand", str(tmp_path / "a.tar")):
        assert part in str(raised.value)
    (tmp_path / "a.tar").write_bytes(b"by hand")
    assert fetch(nowhere, tmp_path, said).read_bytes() == b"by hand"


def test_redirects_are_followed_with_the_range(server, said, tmp_path):
    server.files |= {"/a.tar": Served(location="/b"), "/b": Served(cuts=[1000])}
    assert fetch(remote(server), tmp_path, said, pause=lambda s: None).read_bytes() == CONTENT
    assert server.requests[-1] == ("/b", "bytes=1000-")


def test_an_altered_file_is_not_taken(server, said, tmp_path):
    altered = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    server.files |= {"/a.tar": Served(altered), "/mirror": Served()}
    with pytest.raises(DataError, match=f"expected {SHA256} as published, found sha256:"):
        fetch(remote(server), tmp_path, said)
    assert names(tmp_path) == []
    path = fetch(remote(server, "/a.tar", "/mirror"), tmp_path, said)
    assert path.read_bytes() == CONTENT
    path.write_bytes(altered)
    with pytest.raises(DataError, match="a.tar: not the right file.*Delete it"):
        fetch(remote(server), tmp_path, said)


def test_a_truncated_file_is_not_taken_where_no_length_is_told(server, said, tmp_path):
    server.files["/a.tar"] = Served(length=False, cuts=[200_000])
    with pytest.raises(DataError, match="200000 bytes"):
        fetch(remote(server), tmp_path, said)
    assert fetch(remote(server), tmp_path, said).read_bytes() == CONTENT


def test_md5_is_compared_where_that_is_published(server, said, tmp_path):
    server.files["/a.tar"] = Served()
    right = f"md5:{hashlib.md5(CONTENT).hexdigest()}"
    with pytest.raises(DataError, match="expected md5:0123"):
        fetch(remote(server, checksum="md5:0123"), tmp_path, said)
    assert fetch(remote(server, checksum=right), tmp_path, said).exists()


def test_without_a_checksum_the_first_download_sets_it(server, said, tmp_path):
    server.files["/a.tar"] = Served()
    path = fetch(remote(server, checksum=None), tmp_path, said)
    assert (tmp_path / "a.tar.sha256").read_text() == f"{SHA256[7:]}  a.tar\n"
    assert SHA256 in said.text() and "nothing to compare" in said.text()
    path.unlink()
    server.files["/a.tar"] = Served(CONTENT + b"x")
    with pytest.raises(DataError, match=f"expected {SHA256} kept in"):
        fetch(remote(server, checksum=None), tmp_path, said)


@pytest.mark.parametrize("length, got", [(True, 0), (False, 200_000)])
def test_a_file_larger_than_expected_is_refused(server, tmp_path, monkeypatch, length, got):
    monkeypatch.setattr(fetch_module, "_CHUNK", 10_000)
    received = []

    class Counting(Report):
        @contextlib.contextmanager
        def progress(self, what, total, done=0):
            yield received.append

    server.files["/a.tar"] = Served(length=length)
    with pytest.raises(DataError, match="expected.* 200000"):
        fetch(remote(server, size=200_000), tmp_path, Counting())
    assert names(tmp_path) == [] and sum(received) == got


def test_progress_is_plain_lines_without_a_terminal(server, said):
    with said.progress("a.tar", 1000, done=100) as advance:
        for _ in range(90):
            advance(10)
    lines = said.text().splitlines()
    assert len(lines) == 9 and lines[3].startswith("a.tar: 500 bytes of 1.0 kB, ")
    assert lines[-1].endswith("/s, 0 s left")


def test_progress_is_a_bar_in_a_terminal():
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with Report(console).progress("a [b].tar", 1000) as advance:
        advance(1000)
    assert "a [b].tar" in console.file.getvalue() and "1.0/1.0 kB" in console.file.getvalue()


# --- archives ---


def tar_of(*members, compress=True):
    """A tar of (name, content) or of `TarInfo`s with their content."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for info, content in members:
            if isinstance(info, str):
                info = tarfile.TarInfo(info)
            if info.type in (tarfile.REGTYPE, tarfile.AREGTYPE):
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return gzip.compress(stream.getvalue(), 1) if compress else stream.getvalue()


def zip_of(*members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for info, content in members:
            archive.writestr(info, content)
    return stream.getvalue()


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def zip_link(name, target):
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, 0o120777 << 16
    return info, target


def tree(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


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
    "control character": (tar_of(("evil\x1b[2J", b"")), "no name"),
    "no name": (tar_of((".", b"")), "no name"),
    "bytes": (tar_of(("evil", bytes(2000))), "more than the expected"),
    "bytes in zip": (zip_of(("evil", bytes(2000))), "more than the expected"),
    "members": (tar_of(*((f"{i}", b"") for i in range(11))), "more than the expected"),
    "twice": (tar_of(("evil", b"1"), ("evil", b"2")), "one name"),
    "twice, written otherwise": (tar_of(("a/evil", b"1"), ("a/./evil", b"2")), "one name"),
    "case": (tar_of(("a/evil", b"1"), ("a/EVIL", b"2")), "one name"),
    "case of a folder": (tar_of(("a/1", b"1"), ("A/2", b"2")), "one name"),
    "accents": (tar_of(("\u00e9", b"1"), ("e\u0301", b"2")), "one name"),
    "file as folder": (tar_of(("evil", b"1"), ("evil/a", b"2")), "one name"),
    "folder as file": (tar_of(("evil/a", b"1"), ("evil", b"2")), "one name"),
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
    """A member's header that says it is followed by `size` bytes."""
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
    with pytest.raises(DataError, match="more than (the )?expected|cannot be unpacked"):
        unpack(tmp_path / "archive", tmp_path / "out", at_most=1000, members=10)
    assert sum(map(len, tree(tmp_path / "out").values())) == 0


def flipped(archive, *at):
    """The archive with the lowest bit of some bytes turned over."""
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
    with pytest.raises(DataError, match="cannot be unpacked|is encrypted"):
        unpack(tmp_path / "archive", tmp_path / "out", at_most=10**6, members=10)


# --- whole sets ---

SCENES = "spatial_envelope_256x256_static_8outdoorcategories"


def encoded(image, kind):
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def mat(contents):
    stream = io.BytesIO()
    scipy.io.savemat(stream, contents)
    return stream.getvalue()


def indexed(names, first):
    return "".join(f"{i}: {name}\n" for i, name in names.items() if i >= first).encode()


PHOTO = encoded(Image.new("RGB", (8, 6), (10, 20, 30)), "JPEG")
LABEL = np.tile(np.arange(6, dtype=np.uint8)[:, None], (1, 8))
PNG = encoded(Image.fromarray(LABEL), "PNG")
DEPTH = encoded(Image.fromarray(np.arange(48, dtype=np.uint16).reshape(6, 8)), "PNG")
CONTEXT_CLASSES = dict(enumerate(pascal_context.CLASSES))
CONTEXT_459 = CONTEXT_CLASSES | {11: "table", 28: "cloth", 52: "bedclothes", 60: "accordion"}
SBD_LABEL = np.zeros((1, 1), [("Segmentation", object), ("Boundaries", object)])
SBD_LABEL[0, 0] = (LABEL, LABEL)


def voc_members(year):
    top = f"TrainVal/VOCdevkit/VOC{year}" if year == 2011 else f"VOCdevkit/VOC{year}"
    yield from ((f"{top}/JPEGImages/{i}.jpg", PHOTO) for i in "abc")
    yield from ((f"{top}/SegmentationClass/{i}.png", PNG) for i in "abc")
    lists = {"train": "a\n", "val": "b\nc\n", "trainval": "a\nb\nc\n"}
    yield from ((f"{top}/ImageSets/Segmentation/{k}.txt", v.encode()) for k, v in lists.items())


CONTENTS = {
    "VOCtrainval_25-May-2011.tar": tar_of(*voc_members(2011), compress=False),
    "VOCtrainval_11-May-2012.tar": tar_of(*voc_members(2012), compress=False),
    "benchmark.tgz": tar_of(
        *((f"benchmark_RELEASE/dataset/img/{i}.jpg", PHOTO) for i in "abc"),
        *((f"benchmark_RELEASE/dataset/cls/{i}.mat", mat({"GTcls": SBD_LABEL})) for i in "abc"),
        ("benchmark_RELEASE/dataset/train.txt", b"a\nb\n"),
        ("benchmark_RELEASE/dataset/val.txt", b"c\n"),
    ),
    "SiftFlowDataset.zip": zip_of(
        *((f"Images/{SCENES}/{i}.jpg", PHOTO) for i in "abc"),
        *((f"SemanticLabels/{SCENES}/{i}.mat", mat({"S": LABEL})) for i in "abc"),
        *((f"GeoLabels/{SCENES}/{i}.mat", mat({"S": LABEL // 2})) for i in "abc"),
    ),
    "nyud.tar.gz": tar_of(
        *((f"nyud/data/images/img_{i}.png", PNG) for i in (5001, 5002, 5003)),
        *((f"nyud/data/depth/img_{i}.png", DEPTH) for i in (5001, 5002, 5003)),
        *(
            (f"nyud/segmentation/img_{i}.mat", mat({"segmentation": LABEL}))
            for i in (5001, 5002, 5003)
        ),
    ),
    "VOCtrainval_03-May-2010.tar": tar_of(
        *((f"VOCdevkit/VOC2010/JPEGImages/{i}.jpg", PHOTO) for i in "abc"),
        *(
            (f"VOCdevkit/VOC2010/ImageSets/Main/{k}.txt", v)
            for k, v in {"train": b"a\n", "val": b"b\nc\n", "trainval": b"a\nb\nc\n"}.items()
        ),
        compress=False,
    ),
    "pascal-context-trainval.tar.gz": tar_of(
        *((f"trainval/{i}.mat", mat({"LabelMap": LABEL.astype(np.uint16)})) for i in "abc"),
        ("59_labels.txt", b"11: table\n"),
    ),
    "pascal-seg11valid.txt": b"b\n",
    "sift-flow-trainval.txt": b"a\nb\n",
    "sift-flow-test.txt": b"c\n",
    "nyud-train.txt": b"5001\n",
    "nyud-val.txt": b"5002\n",
    "nyud-test.txt": b"5003\n",
    "pascal-context-classes-400.txt": indexed(CONTEXT_459, 1),
    "pascal-context-classes-59.txt": indexed(CONTEXT_CLASSES, 0),
}


def small(server, name):
    """A set of the table with three images, served here."""

    def served(file):
        content = CONTENTS[file.name]
        server.files.setdefault(f"/{file.name}", Served(content))
        checksum = f"sha256:{hashlib.sha256(content).hexdigest()}" if file.checksum else None
        urls = (f"{server.url}/{file.name}",)
        return dataclasses.replace(file, urls=urls, checksum=checksum, bytes=10**6)

    def reduced(folder):
        return dataclasses.replace(
            folder,
            archive=served(folder.archive),
            unpacked=10**6,
            holds=tuple((pattern, min(count, 3)) for pattern, count in folder.holds),
            lists=tuple((path, served(file)) for path, file in folder.lists),
        )

    found = next(s for s in SETS if s.name == name)
    return dataclasses.replace(found, folders=tuple(map(reduced, found.folders)))


def readers(name, data):
    sources = {
        "voc2011": (VOC(year=2011, split="trainval"), VOC(year=2011, split="seg11valid")),
        "voc2012": (VOC(split="trainval"), VOC(split="seg11valid")),
        "sbd": (SBD(split="train"), SBD(split="val")),
        "siftflow": (SIFTFlow(split="trainval"), SIFTFlow(split="test")),
        "nyudv2": (NYUDv2(split="trainval"), NYUDv2(split="test", inputs=("depth",))),
        "pascal_context": (PASCALContext(split="train"), PASCALContext(split="val")),
    }
    return [source.at(data) for source in sources[name]]


@pytest.mark.parametrize("name", [s.name for s in SETS])
def test_the_readers_read_what_was_installed(server, said, tmp_path, name):
    install(small(server, name), tmp_path / "new" / "data", report=said)
    for source in readers(name, tmp_path / "new" / "data"):
        assert len(source) > 0
        for i in range(len(source)):
            example = source[i]
            assert np.asarray(example.image).shape[:2] == (6, 8)
            expected = LABEL - np.uint8(1) if name in ("siftflow", "nyudv2") else LABEL
            assert np.array_equal(example.label, expected)
    assert said.text().count(f"{name}, terms of use: ") == 1


def test_a_complete_set_is_left_alone(server, said, tmp_path):
    chosen = small(server, "pascal_context")
    install(chosen, tmp_path, report=said)
    before = len(server.requests)
    for path in (tmp_path / "downloads").iterdir():
        path.unlink()
    (tmp_path / "downloads").rmdir()
    install(chosen, tmp_path, report=said)
    assert len(server.requests) == before and not (tmp_path / "downloads").exists()
    assert said.text().count("complete, left alone") == 2


def test_a_set_put_elsewhere_by_hand_is_recognised(server, said, tmp_path):
    chosen = small(server, "voc2012")
    install(chosen, tmp_path, report=said)
    (tmp_path / "VOCdevkit" / "VOC2012").rename(tmp_path / "VOC2012")
    before = len(server.requests)
    install(chosen, tmp_path, report=said)
    assert len(server.requests) == before and names(tmp_path / "VOCdevkit") == []


def test_a_set_that_lacks_its_lists_gets_them_alone(server, said, tmp_path):
    chosen = small(server, "nyudv2")
    install(chosen, tmp_path, report=said)
    (tmp_path / "nyud" / "val.txt").write_text("mine\n")
    (tmp_path / "nyud" / "test.txt").unlink()
    server.requests.clear()
    (tmp_path / "downloads" / "nyud-test.txt").unlink()
    install(chosen, tmp_path, report=said)
    assert [path for path, _ in server.requests] == ["/nyud-test.txt"]
    assert (tmp_path / "nyud" / "test.txt").read_text() == "5003\n"
    assert (tmp_path / "nyud" / "val.txt").read_text() == "mine\n"


def test_an_incomplete_folder_is_not_touched(server, said, tmp_path):
    mine = tmp_path / "sift-flow" / "SemanticLabels" / SCENES / "mine.mat"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    with pytest.raises(DataError, match=r"SemanticLabels/\*/\*.mat: 1 of 3.*Move .*sift-flow away"):
        install(small(server, "siftflow"), tmp_path, report=said)
    assert mine.read_bytes() == b"mine"


def test_what_is_to_be_fetched_by_hand_is_said_at_once(server, said, tmp_path):
    chosen = small(server, "siftflow")
    del server.files["/sift-flow-test.txt"], server.files["/SiftFlowDataset.zip"]
    with pytest.raises(DataError, match="404 Not Found") as raised:
        install(chosen, tmp_path, report=said)
    (note,) = raised.value.__notes__
    assert note.splitlines() == [
        "siftflow still needs",
        f"  {tmp_path}/downloads/sift-flow-test.txt from {server.url}/sift-flow-test.txt",
        f"  {tmp_path}/downloads/SiftFlowDataset.zip from {server.url}/SiftFlowDataset.zip",
    ]
    for file in ("sift-flow-test.txt", "SiftFlowDataset.zip"):
        (tmp_path / "downloads" / file).write_bytes(CONTENTS[file])
    install(chosen, tmp_path, report=said)
    assert readers("siftflow", tmp_path)[0].ids == ("a", "b")


class Killed(BaseException):
    pass


def test_a_process_killed_while_unpacking_leaves_nothing_that_looks_complete(
    server, said, tmp_path, monkeypatch
):
    chosen = small(server, "sbd")
    monkeypatch.setattr(install_module.shutil, "rmtree", lambda *args, **kwargs: None)
    original = install_module.unpack

    def killed(*args, advance, **kwargs):
        count = iter(range(4))

        def counted(done):
            advance(done)
            if next(count, None) is None:
                raise Killed

        original(*args, advance=counted, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(install_module, "unpack", killed)
        with pytest.raises(Killed):
            install(chosen, tmp_path, report=said)
    monkeypatch.undo()
    monkeypatch.setenv("no_proxy", "*")
    left = tmp_path / "downloads" / ".benchmark.tgz.unpacking"
    assert len(tree(left)) == 5 and names(tmp_path) == ["downloads"]
    with pytest.raises(DataError):
        readers("sbd", tmp_path)[0].ids  # noqa: B018
    requests = len(server.requests)
    install(chosen, tmp_path, report=said)
    assert len(server.requests) == requests  # the archive was there
    assert readers("sbd", tmp_path)[0].ids == ("a", "b") and not left.exists()


def test_the_wrong_archive_is_not_installed(server, said, tmp_path):
    chosen = small(server, "sbd")
    folder = chosen.folders[0]
    for holds, message in (
        ((("nothing/*", 1),), "expected a folder with nothing"),
        ((("cls/*.mat", 4), *folder.holds[1:]), r"incomplete \(cls/\*.mat: 3 of 4\)"),
    ):
        other = dataclasses.replace(folder, holds=holds)
        with pytest.raises(DataError, match=message):
            install(dataclasses.replace(chosen, folders=(other,)), tmp_path, report=said)
    assert names(tmp_path) == ["downloads"]
    assert names(tmp_path / "downloads") == [".lock", "benchmark.tgz"]


def test_a_hostile_archive_leaves_nothing_behind(server, said, tmp_path):
    server.files["/nyud.tar.gz"] = Served(tar_of(("a", b""), ("../evil", b"")))
    with pytest.raises(DataError, match="leads out of the folder"):
        install(small(server, "nyudv2"), tmp_path, report=said)
    assert names(tmp_path) == ["downloads"]
    assert not [n for n in names(tmp_path / "downloads") if "unpacking" in n]


def test_two_at_once_take_turns(server, tmp_path):
    chosen, errors = small(server, "siftflow"), []

    def run():
        try:
            install(chosen, tmp_path, report=Report(Console(file=io.StringIO())))
        except DataError as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    paths = [path for path, _ in server.requests]
    assert sorted(paths) == sorted(set(paths)) and len(paths) == 3


def test_a_waiting_process_says_so(server, said, tmp_path):
    """The lock is another process's: another open file of this one counts as such."""
    fcntl = pytest.importorskip("fcntl", reason="no file locks of this kind on this system")
    (tmp_path / "downloads").mkdir()
    with (tmp_path / "downloads" / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        waiting = threading.Event()
        say = said.say
        said.say = lambda text: (say(text), "waiting" in text and waiting.set())
        thread = threading.Thread(
            target=install, args=(small(server, "voc2012"), tmp_path), kwargs={"report": said}
        )
        thread.start()
        assert waiting.wait(30) and not server.requests
    thread.join()
    assert (tmp_path / "VOCdevkit" / "VOC2012").exists()


def test_too_little_room_is_said_before_anything_is_fetched(server, said, tmp_path, monkeypatch):
    usage = install_module.shutil.disk_usage(tmp_path)._replace(free=1_999_999)
    monkeypatch.setattr(install_module.shutil, "disk_usage", lambda path: usage)
    chosen = small(server, "sbd")
    with pytest.raises(DataError, match=r"2.0 MB are free; benchmark.tgz needs up to 2.0 MB"):
        install(chosen, tmp_path, report=said)
    assert not server.requests
    (tmp_path / "downloads" / "benchmark.tgz.part").write_bytes(b"x")
    install(chosen, tmp_path, report=said)


def test_a_disk_that_refuses_is_an_error_of_one_line(server, said, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written to.*--data"):
        install(small(server, "sbd"), tmp_path / "file", report=said)


def test_the_table_is_sound_and_documented():
    files, document = [], (Path(__file__).parents[1] / "docs" / "data.md").read_text()
    for data_set in SETS:
        assert f"`{data_set.name}`" in document
        for folder in data_set.folders:
            assert f"`{folder.places[0]}`" in document
            assert folder.holds[0][1] > 0 and folder.unpacked > 0 and folder.members > 0
            files += [folder.archive, *(file for _, file in folder.lists)]
    assert len({s.name for s in SETS}) == len(SETS) == 6
    for file in files:
        assert all(re.fullmatch(r"https?://\S+", url) for url in file.urls) and file.bytes > 0
        assert re.fullmatch(r"sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}|", file.checksum or "")
        same = [other for other in files if other.name == file.name]
        assert all(other == file for other in same)


def test_the_command_knows_every_set(monkeypatch, tmp_path):
    import tyro

    from fcn_jax.download import command

    installed = []
    monkeypatch.setattr(install_module, "install", lambda s, data: installed.append((s.name, data)))
    for name in [s.name for s in SETS] + ["all"]:
        tyro.cli(command.download, args=[name, "--data", str(tmp_path)])
    assert [name for name, _ in installed] == 2 * [s.name for s in SETS]
    assert {data for _, data in installed} == {tmp_path}

    def refuse(data_set, data):
        raise DataError("cannot be had")

    monkeypatch.setattr(install_module, "install", refuse)
    with pytest.raises(SystemExit) as stopped:
        command.download("sbd")
    assert stopped.value.code == 1
