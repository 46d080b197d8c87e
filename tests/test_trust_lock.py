"""A run folder belongs to one run at a time, and a dead process holds nothing."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys

import pytest

from fcn_jax.training import lock as module
from fcn_jax.training.lock import FolderInUseError, hold
from fcn_jax.training.run_folder import RunFolder

HOLDER = """
import sys, time
from pathlib import Path
from fcn_jax.training.lock import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def quiet(_):
    pytest.fail("it waited")


@pytest.fixture
def no_flock(monkeypatch):
    """A file system without locks, and short times."""

    def flock(*_):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(module, "BEAT", 0.02)
    monkeypatch.setattr(module, "EXPIRY", 0.4)


def test_the_second_is_refused_and_told_who_has_it(tmp_path):
    folder = tmp_path / "new" / "run[1]"
    with hold(folder, quiet):
        found = json.loads((folder / "running.json").read_text())
        with pytest.raises(FolderInUseError) as error, hold(folder, quiet):
            pass
        for part in (str(folder), f"process {os.getpid()} on {found['host']}", found["since"]):
            assert part in str(error.value)
    assert list(folder.iterdir()) == []
    with hold(folder, quiet):
        pass


def test_a_process_that_was_killed_holds_nothing(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(FolderInUseError, match=f"process {process.pid} "), hold(tmp_path):
            pass
        process.send_signal(signal.SIGSTOP)  # a process that sleeps still has it
        with pytest.raises(FolderInUseError, match=f"process {process.pid} "), hold(tmp_path):
            pass
        process.kill()
    with hold(tmp_path, quiet):
        assert json.loads((tmp_path / "running.json").read_text())["pid"] == os.getpid()


def test_without_locks_signs_of_life_tell(tmp_path, no_flock):
    said = []
    with (
        hold(tmp_path, quiet),
        pytest.raises(FolderInUseError, match=f"process {os.getpid()} "),
        hold(tmp_path, said.append),
    ):
        pass
    assert len(said) == 1 and "waiting" in said[0]


@pytest.mark.parametrize("machine", ["the same", "another"])
def test_without_signs_of_life_it_is_taken_over_after_a_while(tmp_path, no_flock, machine):
    left = {"host": "gone", "pid": 7, "since": "then", "machine": "elsewhere", "token": "x"}
    if machine == "the same":
        left["machine"] = module._machine()
    (tmp_path / "running.json").write_text(json.dumps(left))
    said = []
    with hold(tmp_path, said.append):
        assert "process 7 on gone since then" in said[0]


def test_a_lock_of_another_machine_may_not_reach_here(tmp_path, monkeypatch):
    """The lock succeeds, and yet another machine shows signs of life."""
    monkeypatch.setattr(module, "BEAT", 0.02)
    monkeypatch.setattr(module, "EXPIRY", 5.0)
    with hold(tmp_path, quiet):
        monkeypatch.setattr(module, "_flock", lambda *_: True)
        monkeypatch.setattr(module, "_machine", lambda: "another")
        with pytest.raises(FolderInUseError), hold(tmp_path, lambda _: None):
            pass


@pytest.mark.parametrize("text", ["", "[]", "nonsense", "[" * 100_000, "{}"])
def test_a_damaged_note_holds_nothing(tmp_path, text):
    (tmp_path / "running.json").write_text(text)
    with hold(tmp_path, quiet):
        pass


def test_a_run_whose_folder_was_taken_over_writes_nothing_more(tmp_path):
    with hold(tmp_path, quiet) as lock:
        folder = RunFolder(tmp_path, lock=lock)
        folder.append(step=1, loss=1.0)
        found = json.loads((tmp_path / "running.json").read_text())
        other = json.dumps({**found, "token": "x", "host": "elsewhere"})
        (tmp_path / "running.json").write_text(other)
        for write in (folder.append, folder.append_speed):
            with pytest.raises(FolderInUseError, match="taken over by process .* on elsewhere"):
                write(step=2)
    assert len(folder.metrics()) == 1
    assert (tmp_path / "running.json").read_text() == other  # it is the other's
