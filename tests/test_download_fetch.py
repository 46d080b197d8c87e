"""Downloads one file from a server that misbehaves as real ones do."""

import contextlib
import dataclasses
import hashlib
import io

import pytest
from download_server import CONTENT, SHA256, Served, names, quiet, remote, serving
from rich.console import Console

from fcn_jax.data import DataError
from fcn_jax.prepare.download import fetch as fetch_module
from fcn_jax.prepare.download.fetch import TRIES, fetch
from fcn_jax.prepare.download.report import Report
from fcn_jax.prepare.download.spec import Remote


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with serving() as server:
        yield server


@pytest.fixture
def said():
    return quiet()


def test_a_file_is_fetched_once(server, said, tmp_path):
    server.files["/a.tar"] = Served()
    for _ in range(2):
        assert fetch(remote(server), tmp_path, said).read_bytes() == CONTENT
    assert names(tmp_path) == ["a.tar"]
    assert server.requests == [("/a.tar", None)]


@pytest.mark.parametrize("tag", ['"one"', "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_a_broken_connection_is_resumed(server, said, tmp_path, tag):
    server.files["/a.tar"] = Served(cuts=[100_000, 0, 50_000], tag=tag)
    pauses = []
    path = fetch(remote(server), tmp_path, said, pause=pauses.append)
    assert path.read_bytes() == CONTENT
    ranges = [r for _, r in server.requests]
    assert ranges == [None, "bytes=100000-", "bytes=100000-", "bytes=150000-"]
    assert pauses == [1, 1, 1]  # an attempt that receives bytes restarts the count
    assert "closed after 100000 of 300000 bytes; trying again" in said.text()


def test_another_process_resumes_the_part(server, said, tmp_path):
    server.files["/a.tar"] = Served(cuts=[100_000] + [0] * TRIES)
    with pytest.raises(DataError, match=r"closed after 100000 of 300000 bytes \(4 attempts\)"):
        fetch(remote(server), tmp_path, said, pause=lambda s: None)
    assert not (tmp_path / "a.tar").exists()
    server.files["/a.tar"] = Served()
    assert fetch(remote(server), tmp_path, said).read_bytes() == CONTENT
    assert server.requests[-1] == ("/a.tar", "bytes=100000-")


@pytest.mark.parametrize(
    "served",
    [Served(ranges=False), Served(tag='"two"'), Served(tag="")],
    ids=["no ranges", "changed", "no tag"],
)
def test_it_starts_over_where_it_cannot_resume(server, said, tmp_path, served):
    (tmp_path / "a.tar.part").write_bytes(b"x" * 100_000)
    (tmp_path / "a.tar.part.tag").write_text('"one"')
    server.files["/a.tar"] = served
    assert fetch(remote(server), tmp_path, said).read_bytes() == CONTENT


@pytest.mark.parametrize("tag", ["", 'W/"one"'])
def test_a_version_without_a_strong_tag_is_not_resumed(server, said, tmp_path, tag):
    server.files["/a.tar"] = Served(tag=tag, cuts=[100_000])
    assert fetch(remote(server), tmp_path, said, pause=lambda s: None).read_bytes() == CONTENT
    assert [r for _, r in server.requests] == [None, None]


def test_a_part_without_its_tag_starts_over(server, said, tmp_path):
    (tmp_path / "a.tar.part").write_bytes(b"x" * 100_000)
    server.files["/a.tar"] = Served()
    assert fetch(remote(server), tmp_path, said).read_bytes() == CONTENT
    assert server.requests == [("/a.tar", None)]


@pytest.mark.parametrize("size, requests", [(300_000, 1), (300_001, 2)])
def test_a_part_that_is_complete_or_too_long(server, said, tmp_path, size, requests):
    (tmp_path / "a.tar.part").write_bytes((CONTENT + b"x")[:size])
    (tmp_path / "a.tar.part.tag").write_text('"one"')
    server.files["/a.tar"] = Served()
    path = fetch(remote(server), tmp_path, said, pause=lambda s: None)
    assert path.read_bytes() == CONTENT and names(tmp_path) == ["a.tar"]
    assert len(server.requests) == requests


def test_only_temporary_errors_are_tried_again(server, said, tmp_path):
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


def test_an_altered_file_is_refused(server, said, tmp_path):
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


def test_a_truncated_file_is_refused_where_no_length_is_sent(server, said, tmp_path):
    server.files["/a.tar"] = Served(length=False, cuts=[200_000])
    with pytest.raises(DataError, match="200000 bytes"):
        fetch(remote(server), tmp_path, said)
    assert fetch(remote(server), tmp_path, said).read_bytes() == CONTENT


def test_a_published_md5_is_compared(server, said, tmp_path):
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
