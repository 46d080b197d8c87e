"""The training loop: steps, evaluations, checkpoints, and stopping early.

A run may be killed at any moment. Started again, it resumes from its last checkpoint, sees the same
batches and ends with the same parameters: state and batch of step n depend on (seed, n) alone.
"""

import dataclasses
import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax

from fcn_jax.devices.processes import stop_agreed
from fcn_jax.training.checkpoints import Checkpoints
from fcn_jax.training.progress import Reporter
from fcn_jax.training.run_folder import RunFolder
from fcn_jax.training.state import State
from fcn_jax.training.step import Batch


class NonFiniteLossError(ArithmeticError):
    """The loss became infinite or not a number."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Intervals:
    """How long to train, and how often to save, evaluate and log the loss, in updates.

    Attributes:
        steps: length of the whole run; the last state is evaluated and saved.
        checkpoint_every: from one checkpoint to the next; 0 means never.
        evaluate_every: from one evaluation to the next; 0 means never.
        log_every: from one line of loss to the next.
    """

    steps: int
    checkpoint_every: int
    evaluate_every: int
    log_every: int = 20

    def saves_at(self, step: int) -> bool:
        """Whether the state after `step` updates is saved."""
        return self.evaluates_at(step) or bool(
            self.checkpoint_every and step % self.checkpoint_every == 0
        )

    def evaluates_at(self, step: int) -> bool:
        """Whether the state after `step` updates is evaluated."""
        return step == self.steps or bool(self.evaluate_every and step % self.evaluate_every == 0)


class StopRequest:
    """Turns SIGTERM and Ctrl-C into a request to save and stop; a second Ctrl-C interrupts.

    Several processes all stop after the same step, whichever of them got the signal: JAX's own
    handler of SIGTERM tells the others. So that handler stays, and Ctrl-C is sent on as SIGTERM.
    """

    def __init__(self):
        self._several = jax.process_count() > 1
        self.signal: signal.Signals | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        try:
            own = (signal.SIGINT,) if self._several else (signal.SIGTERM, signal.SIGINT)
            for number in own:
                self._before[number] = signal.signal(number, self._note)
        except ValueError:  # not in the main thread, which alone receives signals
            pass
        return self

    def _note(self, number: int, frame: Any) -> None:
        signal.signal(number, self._before[number] or signal.SIG_DFL)
        if self._several:
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            self.signal = signal.Signals(number)

    def asked_at(self, step: int) -> bool:
        """Whether to stop after this step; call it once after every step."""
        if self._several and stop_agreed(step):
            self.signal = signal.SIGTERM
        return self.signal is not None

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler or signal.SIG_DFL)


class _Losses:
    """Losses of dispatched steps, read one step late so that the device never waits."""

    def __init__(self, folder: RunFolder, reporter: Reporter, log_every: int):
        self._folder, self._reporter, self._log_every = folder, reporter, log_every
        self._pending: tuple[int, Any] | None = None
        self._since_last_line: list[float] = []

    def add(self, step: int, loss: Any) -> None:
        self.check()
        self._pending = (step, loss)

    def check(self) -> None:
        """Wait for the pending loss; report it, or raise NonFiniteLossError."""
        if self._pending is None:
            return
        step, loss = self._pending[0], float(self._pending[1])
        self._pending = None
        if not math.isfinite(loss):
            raise NonFiniteLossError(
                f"the loss of step {step} is {loss}; the last checkpoint is from an earlier step. "
                "Lower the learning rate, or check that it fits this loss normalisation (a rate "
                "for a mean over pixels is about 1e5 times too large for their sum)"
            )
        self._since_last_line.append(loss)
        self._reporter.step(step, loss)
        if step % self._log_every == 0:
            self.write(step)

    def write(self, step: int) -> None:
        """Write the mean loss since the last line, and the speed."""
        losses, self._since_last_line = self._since_last_line, []
        if losses:
            self._folder.append(step=step, loss=sum(losses) / len(losses))
        if self._reporter.speed:
            self._folder.append_speed(step=step, **self._reporter.speed)


def fit(
    state: State,
    train_step: Callable[[State, Batch], tuple[State, dict[str, Any]]],
    batches: Iterator[Batch],
    intervals: Intervals,
    *,
    folder: RunFolder,
    checkpoints: Checkpoints,
    evaluate: Callable[[State, int], dict[str, Any]],
    reporter: Reporter,
) -> tuple[State, bool]:
    """Train from `state.step` to `intervals.steps`.

    Args:
        state: where to start; its memory is reused.
        train_step: see `fcn_jax.training.step`.
        batches: from batch number `state.step` on, on the devices.
        intervals: how long to train, and how often to do the rest.
        folder: gets the logged losses, the evaluations and, in another file, the speed.
        checkpoints: get the state at every interval, and when the process is asked to stop.
        evaluate: called with a state and its step; returns the line of metrics.
        reporter: shows the progress.

    Returns:
        The last state, saved, and whether all steps are done: not if SIGTERM or Ctrl-C stopped it.

    Raises:
        NonFiniteLossError: names the step; the last checkpoint is from an earlier step.
    """
    losses = _Losses(folder, reporter, intervals.log_every)
    with StopRequest() as stop:
        for step in range(int(state.step) + 1, intervals.steps + 1):
            before = time.monotonic()
            batch = next(batches)
            reporter.wait(time.monotonic() - before)
            state, metrics = train_step(state, batch)
            losses.add(step, metrics["loss"])
            if not (stop.asked_at(step) or intervals.saves_at(step)):
                continue
            losses.check()
            losses.write(step)
            before = time.monotonic()
            if intervals.evaluates_at(step):
                jax.block_until_ready(state)
                folder.append(**evaluate(state, step))
            checkpoints.save(step, state, best=folder.best_step())
            reporter.pause(time.monotonic() - before)
            if stop.signal and step < intervals.steps:
                reporter.say(
                    f"stopped by {stop.signal.name} after step {step}, which is saved; the same "
                    "command resumes from there"
                )
                return state, False
    return state, True
