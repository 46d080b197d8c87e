"""The training loop: steps, evaluations, checkpoints, and stopping early.

A run may be killed at any moment. Started again, it resumes from its last checkpoint, sees the same
batches and ends with the same parameters: state and batch of step n depend on (seed, n) alone.
"""

import contextlib
import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax

from fcn_jax.atomic import write_atomically
from fcn_jax.devices.processes import is_leader
from fcn_jax.training.checkpoints import Checkpoints
from fcn_jax.training.progress import Reporter
from fcn_jax.training.run_folder import RunFolder, deciding_score
from fcn_jax.training.state import State, not_finite
from fcn_jax.training.step import Batch
from fcn_jax.training.stopping import StoppedError, StopRequest


class NonFiniteLossError(ArithmeticError):
    """The loss or the state became infinite or not a number."""


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


class _Losses:
    """Losses of dispatched steps, read one step late so that the device never waits."""

    def __init__(self, folder: RunFolder, reporter: Reporter, log_every: int, saved: int):
        self._saved = saved  # the step of the last checkpoint; 0 if there is none
        self._folder, self._reporter, self._log_every = folder, reporter, log_every
        self._pending: tuple[int, Any] | None = None
        self._since_last_line: list[float] = []
        self._kept_file = folder.path / "losses.json"

    def keep(self, step: int) -> None:
        """Keep what has no line yet for the run that resumes after this step."""
        if is_leader():
            kept = json.dumps({"step": step, "losses": self._since_last_line})
            write_atomically(self._kept_file, lambda part: part.write_text(kept + "\n"))

    def take(self, step: int) -> None:
        """Take what `keep` kept, if it was kept at this step."""
        with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
            kept = json.loads(self._kept_file.read_text())
            self._since_last_line = kept["losses"] if kept["step"] == step else []

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
            raise self._error(f"the loss of step {step} is {loss}")
        self._since_last_line.append(loss)
        self._reporter.step(step, loss)
        if step % self._log_every == 0:
            self.write(step)

    def settle(self, state: State, step: int, *, as_line: bool) -> None:
        """Before a save: write or keep the losses, or raise if the state must not be saved."""
        self.check()
        if names := not_finite(state):
            more = f" and {len(names) - 1} other arrays" if len(names) > 1 else ""
            raise self._error(
                f"after the update of step {step}, {names[0]}{more} hold values that are infinite "
                "or not a number, so this state is not saved"
            )
        (self.write if as_line else self.keep)(step)
        self._folder.check_ours()
        self._saved = step

    def _error(self, what: str) -> NonFiniteLossError:
        last = f"the checkpoint of step {self._saved} is the last good one"
        return NonFiniteLossError(
            f"{what}; {last if self._saved else 'there is no checkpoint yet'}. Lower the learning "
            "rate, or check that it fits this loss normalisation (a rate for a mean over pixels is "
            "about 1e5 times too large for their sum)"
        )

    def write(self, step: int) -> None:
        """Write the mean loss since the last line, and the speed."""
        losses, self._since_last_line = self._since_last_line, []
        if not losses:
            return
        self._folder.append(step=step, loss=sum(losses) / len(losses))
        if self._reporter.speed:
            self._folder.append_speed(step=step, **self._reporter.speed, time=round(time.time()))


def _evaluated(
    state: State,
    step: int,
    evaluate: Callable[[State, int], dict[str, Any]],
    folder: RunFolder,
    checkpoints: Checkpoints,
    after: Callable[[], object],
) -> bool:
    """Evaluate a saved state, unless that was done before; False where asked to stop."""
    done = (line["step"] for line in folder.metrics() if deciding_score(line) is not None)
    if step in done:
        return True
    try:
        folder.append(**evaluate(jax.block_until_ready(state), step))
    except StoppedError:
        return False
    checkpoints.keep_only(step, folder.best_step())
    folder.keep_counts_of(step, folder.best_step())
    after()
    return True


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
    stop: StopRequest | None = None,
    after_evaluation: Callable[[], object] = lambda: None,
) -> tuple[State, bool]:
    """Train from `state.step` to `intervals.steps`.

    Args:
        state: where to start; its memory is reused.
        train_step: see `fcn_jax.training.step`.
        batches: from batch number `state.step` on, on the devices.
        intervals: how long to train, and how often to do the rest.
        folder: gets the logged losses, the evaluations and, in another file, the speed.
        checkpoints: get the state at every interval, and when the process is asked to stop.
        evaluate: called with a saved state and its step; returns the line of metrics, or raises
            StoppedError. If the run is stopped or killed first, the resumed run evaluates.
        reporter: shows the progress.
        stop: asks to stop early.
        after_evaluation: called when an evaluation is complete, with its line in the folder.

    Returns:
        The last state, saved, and whether all is done: not if SIGTERM or Ctrl-C stopped the run.

    Raises:
        NonFiniteLossError: the loss or the state is not finite; the last checkpoint stays.
    """
    stop = stop or StopRequest()
    step = first = int(state.step)
    losses = _Losses(folder, reporter, intervals.log_every, saved=step)
    losses.take(step)

    def evaluated() -> bool:
        return not intervals.evaluates_at(step) or _evaluated(
            state, step, evaluate, folder, checkpoints, after_evaluation
        )

    with contextlib.ExitStack() as noting:
        going_on = step == 0 or evaluated()
        while going_on and step < intervals.steps:
            before = time.monotonic()
            batch = next(batches)
            reporter.wait(time.monotonic() - before)
            state, metrics = train_step(state, batch)
            if step == first:  # before, there is nothing to save, and compiling may take minutes
                noting.enter_context(stop)
            step += 1
            losses.add(step, metrics["loss"])
            going_on = not stop.asked()
            if going_on and not intervals.saves_at(step):
                continue
            before = time.monotonic()
            losses.settle(state, step, as_line=intervals.saves_at(step))
            checkpoints.save(step, state, best=folder.best_step())
            going_on = going_on and evaluated()
            reporter.pause(time.monotonic() - before)
    if not going_on and stop.signal:
        reporter.say(
            f"stopped by {stop.signal.name} after step {step}, which is saved; the same command "
            "resumes from there"
        )
    return state, going_on
