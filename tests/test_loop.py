"""The loop with a stand-in for the step: what it writes and saves, and when it stops."""

import itertools
import os
import signal

import jax.numpy as jnp
import pytest

from fcn_jax.training.checkpoints import Checkpoints
from fcn_jax.training.loop import Intervals, NonFiniteLossError, fit
from fcn_jax.training.progress import Reporter
from fcn_jax.training.run_folder import RunFolder
from fcn_jax.training.state import State


class Saved(Checkpoints):
    """Stands in for the checkpoints, and remembers the calls."""

    def __init__(self):
        self.calls = []

    def save(self, step, state, best):
        assert int(state.step) == step
        self.calls.append((step, best))

    def keep_only(self, *kept):
        self.calls.append(kept)


def loop(tmp_path, losses, intervals, *, at_step=lambda step: None, mean_iu=lambda step: step):
    state = State(jnp.int32(0), {}, {}, {}, ())
    folder, saved = RunFolder(tmp_path), Saved()

    def train_step(state, batch):
        step = int(state.step) + 1
        at_step(step)
        return state.replace(step=jnp.int32(step)), {"loss": jnp.float32(losses[step - 1])}

    def evaluate(state, step):
        return {"step": step, "split": "val", "mean_iu": float(mean_iu(step))}

    reporter = Reporter("test", intervals.steps, done=0, images_per_step=1)
    state, finished = fit(
        state,
        train_step,
        itertools.repeat({}),
        intervals,
        folder=folder,
        checkpoints=saved,
        evaluate=evaluate,
        reporter=reporter,
    )
    return state, finished, folder, saved.calls


def test_lines_evaluations_and_checkpoints_come_at_the_intervals(tmp_path):
    intervals = Intervals(steps=7, checkpoint_every=2, evaluate_every=3, log_every=100)
    losses = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    state, finished, folder, saved = loop(tmp_path, losses, intervals)
    assert finished and int(state.step) == 7
    assert sorted({step for step, _ in saved}) == [2, 3, 4, 6, 7]
    train = [(line["step"], line["loss"]) for line in folder.metrics() if "loss" in line]
    assert train == [(2, 1.5), (3, 3.0), (4, 4.0), (6, 5.5), (7, 7.0)]
    assert [line["step"] for line in folder.metrics() if "mean_iu" in line] == [3, 6, 7]


def test_the_best_checkpoint_is_kept(tmp_path):
    intervals = Intervals(steps=4, checkpoint_every=0, evaluate_every=1)
    iu = {1: 0.3, 2: 0.9, 3: 0.5, 4: 0.6}
    *_, saved = loop(tmp_path, [1.0] * 4, intervals, mean_iu=iu.get)
    assert saved[::2] == [(1, None), (2, 1), (3, 2), (4, 2)]  # saved before it is evaluated
    assert saved[1::2] == [(1, 1), (2, 2), (3, 2), (4, 2)]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(tmp_path, monkeypatch, bad):
    intervals = Intervals(steps=6, checkpoint_every=2, evaluate_every=0)
    saved = []
    monkeypatch.setattr(Saved, "save", lambda self, step, state, best: saved.append(step))
    with pytest.raises(NonFiniteLossError, match="step 4"):
        loop(tmp_path, [1.0, 1.0, 1.0, bad, 1.0, 1.0], intervals)
    assert saved == [2]  # the state after step 4 is not saved


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_stops(tmp_path, capsys, number):
    before = signal.getsignal(number)
    intervals = Intervals(steps=6, checkpoint_every=0, evaluate_every=0)
    state, finished, folder, saved = loop(
        tmp_path,
        [1.0] * 6,
        intervals,
        at_step=lambda step: os.kill(os.getpid(), number) if step == 3 else None,
    )
    assert not finished and int(state.step) == 3
    assert [step for step, _ in saved] == [3]
    assert f"stopped by {number.name} after step 3" in capsys.readouterr().out
    assert signal.getsignal(number) is before


def test_progress_tells_loss_speed_waiting_and_time_left(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("fcn_jax.training.progress.time.monotonic", lambda: now[0])
    reporter = Reporter("run", 100, done=10, images_per_step=4, every=1.0)
    for step in range(11, 16):
        now[0] += 50.0 if step == 11 else 2.0  # the first step compiles
        reporter.step(step, 1.5)
    reporter.pause(100.0)
    reporter.wait(1.0)  # of the ten seconds since the first step
    now[0] += 102.0  # an evaluation, and one more step
    reporter.step(16, 1.25)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "run: step 11 of 100, loss 1.5"
    assert (
        lines[-1]
        == "run: step 16 of 100, loss 1.25, 2.0 images/s, 10% waiting for data, 168 s left"
    )
