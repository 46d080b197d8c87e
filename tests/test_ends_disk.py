"""A disk that is full: one message, and the good checkpoint stays."""

import errno
import logging
import os
import resource
import sys
from types import SimpleNamespace

import jax.numpy as jnp
import pytest

from fcn_jax.atomic import write_atomically
from fcn_jax.runs.messages import messages
from fcn_jax.training.checkpoints import Checkpoints
from fcn_jax.training.run_folder import RunFolder
from fcn_jax.training.state import State
from fcn_jax.training.write_errors import write_errors_of_orbax


@pytest.fixture(autouse=True)
def logs_as_before():
    """After an error, what Orbax's threads log stays kept back."""
    logs = [logging.getLogger(name) for name in ("absl", "asyncio")]
    before, hook = [log.filters[:] for log in logs], sys.unraisablehook
    yield
    sys.unraisablehook = hook
    for log, filters in zip(logs, before, strict=True):
        log.filters = filters


@pytest.fixture
def at_most():
    """`at_most(n)`: this process cannot write files larger than n bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def state(step):
    values = jnp.arange(20_000, dtype=jnp.float32) * step
    return State(jnp.int32(step), {"conv": {"kernel": values}}, {}, {}, ())


@pytest.mark.parametrize("size", [0, 300, 8000])
def test_a_checkpoint_that_does_not_fit_is_one_error_and_the_one_before_stays(
    tmp_path, at_most, capfd, caplog, size
):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(1, state(1), best=None)
    at_most(size)
    with pytest.raises(OSError) as raised:
        checkpoints.save(2, state(2), best=None)
    at_most(resource.RLIM_INFINITY)
    assert raised.value.errno == errno.EFBIG
    assert raised.value.filename == str(tmp_path / "checkpoints")
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["1"]
    assert checkpoints.restore(1, state(0)).learning["conv"]["kernel"][5] == 5.0
    said = capfd.readouterr().err + caplog.text
    assert "Traceback" not in said and "Event loop" not in said


def test_only_the_noise_of_orbaxs_threads_is_kept_back(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: shown.append(str(found.exc_value)))
    with pytest.raises(OSError, match="No space left"), write_errors_of_orbax(tmp_path):
        raise ValueError("RESOURCE_EXHAUSTED: no luck [os_error_code='28']")
    for text in ("Event loop is closed", "another"):
        sys.unraisablehook(SimpleNamespace(exc_value=RuntimeError(text)))  # type: ignore
    assert shown == ["another"]
    with pytest.raises(ValueError, match="learning"), write_errors_of_orbax(tmp_path):
        raise ValueError("learning is not what was saved")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_any_file_that_does_not_fit_is_named(tmp_path, capsys, number):
    def write(part):
        part.write_text("half")
        raise OSError(number, os.strerror(number))

    file = tmp_path / "a.txt"
    file.write_text("before")
    with pytest.raises(SystemExit) as end, messages(False):
        write_atomically(file, write)
    assert end.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: {file} cannot be written: {os.strerror(number)}. Free some")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert file.read_text() == "before"


def test_the_name_of_another_file_stays(tmp_path):
    missing = tmp_path / "source"
    with pytest.raises(FileNotFoundError) as raised:
        write_atomically(tmp_path / "target", lambda part: part.write_bytes(missing.read_bytes()))
    assert raised.value.filename == str(missing)


def test_metrics_that_do_not_fit_are_named(tmp_path, at_most):
    folder = RunFolder(tmp_path)
    folder.append(step=1, loss=0.5)
    at_most(folder.metrics_file.stat().st_size + 5)
    with pytest.raises(OSError, match="metrics.jsonl"):
        folder.append(step=2, loss=0.25)
    at_most(resource.RLIM_INFINITY)
    assert [line["step"] for line in RunFolder(tmp_path).metrics()] == [1]
