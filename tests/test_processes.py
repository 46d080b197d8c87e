"""Several processes as one run: two of four devices each, killed, stopped and resumed."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from one_of_several import recipe

from fcn_jax.devices.processes import join
from fcn_jax.runs.place import Place
from fcn_jax.runs.run import run
from fcn_jax.training.checkpoints import Checkpoints
from fcn_jax.training.run_folder import RunFolder

PROGRAM = Path(__file__).with_name("one_of_several.py")
SECONDS = 280  # enough on a busy machine; only a process that hangs takes longer


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """`start(folder, mesh, steps, happens={1: "kill 5"}, processes=2)`, to (status, out, error)."""
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_backend_optimization_level=0",  # compiling is most of the time
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("compiled")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }

    def runs(folder, mesh, steps, happens=None, processes=2):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        started = []
        for i in range(processes):
            arguments = [i, processes, address, folder, mesh, steps]
            command = [sys.executable, str(PROGRAM), *map(str, arguments)]
            started.append(
                subprocess.Popen(
                    command + (happens or {}).get(i, "").split(),
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        try:
            ends = [process.communicate(timeout=SECONDS) for process in started]
        finally:
            for process in started:
                process.kill()
        return [(p.returncode, *said) for p, said in zip(started, ends, strict=True)]

    return runs


def printed_lines(out):
    """What the program printed, without gloo's messages about its connections."""
    return [line for line in out.splitlines() if line.strip() and "peer ranks" not in line]


def state(folder):
    checkpoints = Checkpoints(folder / "checkpoints")
    try:
        return checkpoints.restore_as_saved(checkpoints.steps()[-1])
    finally:
        checkpoints.close()


def losses(folder):
    return [line["loss"] for line in RunFolder(folder).metrics() if "loss" in line]


def test_two_processes_equal_one(start, tmp_path, close):
    """Each holds rows of every image and a part of the optimizer's state."""
    (status, out, error), other = start(tmp_path / "two", "data=2,space=2", 2)
    assert status == other[0] == 0, error + other[2]
    assert any("2 steps done" in line for line in printed_lines(out))
    assert printed_lines(other[1]) == []
    alone = Place(workdir=tmp_path / "one", threads=0, mesh="data=1")
    run(recipe(2), alone, origin={}, say=lambda _: None)
    close(state(tmp_path / "two"), state(tmp_path / "one"))
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)
    described = json.loads((tmp_path / "two" / "recipe.json").read_text())
    assert len(described["environment"]["devices"]) == 8
    scores = [
        [line for line in RunFolder(tmp_path / name).metrics() if "mean_iu" in line]
        for name in ("one", "two")
    ]
    assert scores[0] == scores[1] != []


@pytest.mark.slow
def test_killed_with_two_processes_it_resumes_with_two_or_with_one(start, tmp_path, close):
    whole, killed, alone = (tmp_path / name for name in ("whole", "killed", "alone"))
    for status, _, error in start(whole, "data=2,space=4", 8):
        assert status == 0, error
    survivor, victim = start(killed, "data=2,space=4", 8, {1: "kill 5"})
    assert victim[0] == -9
    assert survivor[0] != 0
    assert "another process has ended" in survivor[2] or "another task died" in survivor[2]
    assert Checkpoints(killed / "checkpoints").steps() == [4]
    shutil.copytree(killed, alone)
    for status, _, error in start(killed, "data=2,space=4", 8):
        assert status == 0, error
    ((status, out, error),) = start(alone, "data=2", 8, processes=1)
    assert status == 0, error
    assert "resuming after step 4 of 8" in out
    close(state(killed), state(whole), 1e-6)
    close(state(alone), state(whole))
    assert losses(alone) == pytest.approx(losses(whole), rel=1e-5)


@pytest.mark.slow
def test_one_is_stopped_and_all_save_after_the_same_step(start, tmp_path):
    (status, out, error), other = start(tmp_path, "data=1,space=8", 8, {1: "stop 1"})
    assert status == other[0] == 0, error + other[2]
    (step,) = Checkpoints(tmp_path / "checkpoints").steps()
    assert step < 8
    assert f"stopped by SIGTERM after step {step}, which is saved" in out
    assert printed_lines(other[1]) == []


@pytest.mark.slow
@pytest.mark.parametrize("happens", [{1: "fail 3"}, {0: "kill 3"}], ids=str)
def test_a_process_that_ends_ends_the_others(start, tmp_path, happens):
    ends = start(tmp_path, "data=2,space=4", 8, happens)
    for i, (status, _, error) in enumerate(ends):
        assert status != 0
        if i not in happens:
            assert "another process has ended" in error or "another task died" in error
        elif happens[i].startswith("fail"):
            assert error.splitlines()[-1] == "error: photo.jpg is damaged"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("host:1234", None, None), "--coordinator without --processes, --process"),
        ((None, 2, 0), "without --coordinator"),
        (("host:1234", 2, 2), "--process 2: expected 0 to 1 of 2"),
    ],
)
def test_flags_that_contradict_or_miss_each_other_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        join(*given)


def test_a_single_slurm_task_joins_nobody(monkeypatch):
    """JAX would give it one GPU of its node."""
    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setattr(jax.distributed, "initialize", lambda *_, **__: pytest.fail("joined"))
    join()


def test_without_a_cluster_a_process_is_alone(monkeypatch):
    def initialize(*_, **__):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    monkeypatch.setattr("fcn_jax.devices.processes.meet", lambda *_: None)
    join()
    with pytest.raises(ValueError, match="coordinator_address"):
        join("host:1234", 2, 0)


def test_a_process_that_does_not_write_keeps_its_lines(tmp_path):
    leader, other = RunFolder(tmp_path), RunFolder(tmp_path, writes=False)
    leader.claim({"recipe": {}}, lambda stored, new: ())
    leader.append(step=1, mean_iu=0.5)
    leader.append(step=3, mean_iu=0.9)
    for folder in (other, leader):
        folder.rewind(2)
        folder.append(step=2, mean_iu=0.7)
    assert other.metrics() == leader.metrics() == RunFolder(tmp_path).metrics()
    assert other.best_step() == 2
    other.append(step=4, mean_iu=0.8)
    other.claim({"recipe": {}}, lambda stored, new: ())
    assert len(leader.metrics()) == 2
