"""Installing where something fails: killed, a hostile archive, two processes, a full disk."""

import dataclasses
import io
import threading

import pytest
from download_server import Served, names, quiet, serving, tar_of, tree
from download_sets import readers, small
from rich.console import Console

from fcn_jax.data import DataError
from fcn_jax.prepare.download import install as install_module
from fcn_jax.prepare.download.install import install
from fcn_jax.prepare.download.report import Report


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with serving() as server:
        yield server


@pytest.fixture
def said():
    return quiet()


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
    assert len(server.requests) == requests  # the archive was there already
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


def test_installs_at_the_same_time_take_turns(server, tmp_path):
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
    """A second open file of this process stands for another process."""
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


def test_too_little_space_is_reported_before_the_download(server, said, tmp_path, monkeypatch):
    usage = install_module.shutil.disk_usage(tmp_path)._replace(free=1_999_999)
    monkeypatch.setattr(install_module.shutil, "disk_usage", lambda path: usage)
    chosen = small(server, "sbd")
    with pytest.raises(DataError, match=r"2.0 MB are free; benchmark.tgz needs up to 2.0 MB"):
        install(chosen, tmp_path, report=said)
    assert not server.requests
    (tmp_path / "downloads" / "benchmark.tgz.part").write_bytes(b"x")
    install(chosen, tmp_path, report=said)


def test_a_disk_that_cannot_be_written_is_reported(server, said, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written to.*--data"):
        install(small(server, "sbd"), tmp_path / "file", report=said)
