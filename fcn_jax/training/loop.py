"""The training loop: steps, evaluations, checkpoints, and how a run ends early.

A run that is killed at any moment and started again goes on from its last checkpoint, sees the
same batches and ends in the same parameters: state and batch of step n depend on (seed, n) alone.
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
class Schedule:
    """When to stop, save, evaluate and write down the loss, in steps; 0 means never."""

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
    """Turns SIGTERM and Ctrl-C into a request to save and leave; a second Ctrl-C interrupts.

    Of several processes all leave after the same step, whichever was asked: JAX's own handler of
    SIGTERM passes the word on, so that stays in place, and Ctrl-C becomes a SIGTERM.
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
        except ValueError:  # not in the main thread, where nobody sends us signals
            pass
        return self

    def _note(self, number: int, frame: Any) -> None:
        signal.signal(number, self._before[number] or signal.SIG_DFL)
        if self._several:
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            self.signal = signal.Signals(number)

    def asked_at(self, step: int) -> bool:
        """Whether to leave after this step; to be called once after every one."""
        if self._several and stop_agreed(step):
            self.signal = signal.SIGTERM
        return self.signal is not None

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler or signal.SIG_DFL)


class _Losses:
    """Losses of dispatched steps, looked at one step late so that the device never waits."""

    def __init__(self, folder: RunFolder, reporter: Reporter, log_every: int):
        self._folder, self._reporter, self._log_every = folder, reporter, log_every
        self._pending: tuple[int, Any] | None = None
        self._window: list[float] = []

    def add(self, step: int, loss: Any) -> None:
        self.check()
        self._pending = (step, loss)

    def check(self) -> None:
        """Wait for the pending loss and look at it."""
        if self._pending is None:
            return
        step, loss = self._pending[0], float(self._pending[1])
        self._pending = None
        if not math.isfinite(loss):
            raise NonFiniteLossError(
                f"the loss of step {step} is {loss}. The last checkpoint is from before; lower the "
                "learning rate, or check that it belongs to this loss normalisation (a rate for a "
                "mean over pixels is about 1e5 times too large for their sum)"
            )
        self._window.append(loss)
        self._reporter.step(step, loss)
        if step % self._log_every == 0:
            self.write(step)

    def write(self, step: int) -> None:
        """Write down the mean loss since the last line."""
        if self._window:
            self._folder.append(step=step, loss=sum(self._window) / len(self._window))
            self._window = []
        if self._reporter.images_per_second is not None:
            self._folder.append_speed(
                step=step,
                images_per_second=round(self._reporter.images_per_second, 3),
                waiting=round(self._reporter.waiting or 0.0, 4),
            )


def fit(
    state: State,
    train_step: Callable[[State, Batch], tuple[State, dict[str, Any]]],
    batches: Iterator[Batch],
    schedule: Schedule,
    *,
    folder: RunFolder,
    checkpoints: Checkpoints,
    evaluate: Callable[[State, int], dict[str, Any]],
    reporter: Reporter,
) -> tuple[State, bool]:
    """Train from `state.step` to the end of the schedule.

    Args:
        state: where to start; its memory is reused.
        train_step: see `fcn_jax.training.step`.
        batches: from batch number `state.step` on, on the devices.
        schedule: when to do what.
        folder: gets a line with `loss` every so often, and one for every evaluation; and, in
            another file, images per second and the share of the time that went by waiting for data.
        checkpoints: get the state where the schedule says, and when asked to stop.
        evaluate: called with a state and its step; returns the line to write down.
        reporter: what a person sees.

    Returns:
        The last state, and whether the end of the schedule was reached; it is not when the process
        was asked to stop by SIGTERM or Ctrl-C, after the state was saved.

    Raises:
        NonFiniteLossError: names the step; the last checkpoint is from before.
    """
    losses = _Losses(folder, reporter, schedule.log_every)
    first = int(state.step)

    def save(state: State, step: int) -> None:
        best = folder.best_step()
        checkpoints.save(step, state, keep=set() if best is None else {best})

    with StopRequest() as stop:
        for step in range(first + 1, schedule.steps + 1):
            before = time.monotonic()
            batch = next(batches)
            reporter.wait(time.monotonic() - before)
            state, metrics = train_step(state, batch)
            losses.add(step, metrics["loss"])
            if not (stop.asked_at(step) or schedule.saves_at(step)):
                continue
            losses.check()
            losses.write(step)
            before = time.monotonic()
            if schedule.evaluates_at(step):
                jax.block_until_ready(state)
                folder.append(**evaluate(state, step))
            save(state, step)
            reporter.pause(time.monotonic() - before)
            if stop.signal and step < schedule.steps:
                reporter.say(
                    f"stopped by {stop.signal.name} after step {step}, which is saved; the same "
                    "command goes on from there"
                )
                return state, False
    return state, True
