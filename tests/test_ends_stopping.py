"""SIGTERM and Ctrl-C: what is saved, what a resumed run makes up for, and the exit status."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

import fcn_jax.runs.run as run_module
from fcn_jax.devices import processes
from fcn_jax.runs import evaluating, experiment
from fcn_jax.runs.lookup import import_recipe_module
from fcn_jax.runs.place import Place
from fcn_jax.runs.run import run
from fcn_jax.training.checkpoints import Checkpoints
from fcn_jax.training.run_folder import RunFolder
from fcn_jax.training.stopping import StopRequest

TINY = Path(__file__).with_name("tiny_recipe.py")
ORIGIN = {"module": str(TINY), "overrides": {}}


@pytest.fixture(scope="module")
def recipe():
    return import_recipe_module(str(TINY)).RECIPE


def ran(recipe, folder, stop=None):
    said = []
    place = Place(workdir=folder, threads=0)
    return run(recipe, place, origin=ORIGIN, say=said.append, stop=stop), said


@pytest.fixture(scope="module", autouse=True)
def compiled_once(tmp_path_factory):
    """Every run compiles the same programs."""
    options = {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("compiled")),
        "jax_persistent_cache_min_compile_time_secs": 0,
    }
    before = {name: jax.config.values[name] for name in options}
    for values in (options, before):
        for name, value in values.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()
        if values is options:
            yield


@pytest.fixture(scope="module")
def whole(recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    ran(recipe, folder)
    return (folder / "metrics.jsonl").read_text()


def signalled_at(batch_number, number):
    """`read_ahead` that sends this process a signal before it gives that batch."""
    read_ahead = run_module.read_ahead

    def reader(batches, start, stop, *, threads):
        for n, batch in enumerate(read_ahead(batches, start, stop, threads=threads), start):
            if n == batch_number:
                os.kill(os.getpid(), number)
            yield batch

    return reader


def test_stopped_between_two_checkpoints_the_metrics_end_the_same(
    recipe, whole, tmp_path, monkeypatch
):
    step = 14  # of checkpoints at 12 and 15
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "read_ahead", signalled_at(step - 1, signal.SIGTERM))
        stop = StopRequest()
        assert ran(recipe, tmp_path, stop)[0] is None
    assert stop.signal == signal.SIGTERM
    assert Checkpoints(tmp_path / "checkpoints").latest() == step
    ran(recipe, tmp_path)
    assert (tmp_path / "metrics.jsonl").read_text() == whole


@pytest.mark.parametrize(
    ("at", "how"), [(20, signal.SIGINT), (30, signal.SIGTERM), (30, RuntimeError)], ids=str
)
def test_an_evaluation_that_was_left_is_made_by_the_resumed_run(
    recipe, whole, tmp_path, monkeypatch, at, how
):
    evaluate, batches_done = evaluating.evaluate, []

    def interrupted(model, variables, *arguments, progress, **options):
        def after_batch(done, total):
            batches_done.append((done, total))
            progress(done, total)

        steps = Checkpoints(tmp_path / "checkpoints").steps()
        assert steps  # saved before
        if steps[-1] == at:
            batches_done.clear()
            if how is RuntimeError:
                raise RuntimeError
            os.kill(os.getpid(), how)
        return evaluate(model, variables, *arguments, progress=after_batch, **options)

    stop = StopRequest()
    with monkeypatch.context() as patch:
        patch.setattr(evaluating, "evaluate", interrupted)
        if how is RuntimeError:
            with pytest.raises(RuntimeError):
                ran(recipe, tmp_path)
        else:
            assert ran(recipe, tmp_path, stop)[0] is None
            assert stop.signal == how and batches_done == [(1, 3)]
    folder = RunFolder(tmp_path)
    scored = [line["step"] for line in folder.metrics() if "mean_iu" in line]
    assert scored == list(range(10, at, 10)) and folder.checkpoints().latest() == at
    line, _ = ran(recipe, tmp_path)
    assert line is not None and (tmp_path / "metrics.jsonl").read_text() == whole
    assert (tmp_path / "examples.png").exists()
    assert folder.checkpoints().steps() == sorted({folder.best_step(), 30})


def test_before_the_first_step_is_done_a_signal_is_not_held_back(recipe, tmp_path, monkeypatch):
    """Compiling may take minutes, and there is nothing to save."""
    make, seen = run_module.make_train_step, []

    def making(*arguments, **options):
        step = make(*arguments, **options)

        def observed(state, batch):
            seen.append(signal.getsignal(signal.SIGTERM))
            return step(state, batch)

        return observed

    monkeypatch.setattr(run_module, "make_train_step", making)
    monkeypatch.setattr(run_module, "read_ahead", signalled_at(3, signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    assert ran(recipe, tmp_path)[0] is None
    assert seen[0] == before != seen[1] and signal.getsignal(signal.SIGTERM) == before


def test_a_process_that_ignores_ctrl_c_still_does():
    """As those do that a script starts in the background."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert not stop.asked()
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_command_line_ends_with_the_signals_status(recipe, monkeypatch, number, status):
    def stopped(recipe, place, *, origin, stop):
        stop.signal = number

    monkeypatch.setattr(run_module, "run", stopped)
    monkeypatch.setattr(sys, "argv", ["recipe.py"])
    for name in ("own_process", "join", "use_compile_cache"):
        monkeypatch.setattr(experiment, name, lambda *_, **__: None)
    with pytest.raises(SystemExit) as end:
        experiment.main(recipe)
    assert end.value.code == status


# Ctrl-C in a callback of the garbage collector, such as JAX's, is lost as a KeyboardInterrupt.
LOST = """
import gc, os, signal
gc.callbacks.append(lambda *_: os.kill(os.getpid(), signal.SIGINT))
gc.collect()
print("went on")
"""


@pytest.mark.parametrize(
    "start",
    [
        "from fcn_jax.runs.command_line import interruptible; interruptible()",
        "import sys; sys.argv = ['-m']; import experiments",
        "import sys, tyro; tyro.cli = lambda *_, **__: exec(LOST, {}); sys.argv = ['', 'list'];"
        "from fcn_jax.__main__ import main; main()",
    ],
    ids=["function", "experiment", "command"],
)
def test_ctrl_c_before_training_ends_the_process_at_once(start):
    code = f"LOST = '''{LOST}'''\n{start}\nexec(LOST)"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=TINY.parents[1]
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGINT, "", "")


def test_another_process_that_ended_is_named_whatever_the_error(monkeypatch):
    monkeypatch.setattr("jax.distributed.is_initialized", lambda: True)
    cause = ValueError("UNKNOWN: Gloo AllGather failed: Connection closed by peer")
    wrapped = RuntimeError("saving failed")
    wrapped.__cause__ = cause
    for error in (cause, wrapped):
        said = processes.lost_process_message(error)
        assert said and "Start all of them again: the run resumes from its last checkpoint" in said
    assert processes.lost_process_message(ValueError("photo.jpg is damaged")) is None
