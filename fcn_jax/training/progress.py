"""What a person sees of a run: a bar in a terminal, plain lines elsewhere."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Reporter:
    """Progress of `total` steps: loss, images per second, share of waiting for data, time left.

    In a terminal a live bar; otherwise a plain line at most every `every` seconds. Use as a
    context manager. A `quiet` one says nothing: of several processes, one speaks.
    """

    def __init__(
        self,
        what: str,
        total: int,
        *,
        done: int,
        images_per_step: int,
        every: float = 10.0,
        quiet: bool = False,
    ):
        self._console = Console()
        self._quiet = quiet
        self._live = sys.stdout.isatty() and not quiet
        self._what, self._total = what, total
        self._images, self._every = images_per_step, every
        self._start = self._last = time.monotonic()
        self._first: int | None = None  # the first step of this process; it compiles
        self._paused = self._waited = 0.0
        self.images_per_second: float | None = None
        self.waiting: float | None = None
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=self._console, disable=not self._live)
        self._task = self._bar.add_task(what, total=total, completed=done, text="compiling")

    def __enter__(self) -> "Reporter":
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def step(self, step: int, loss: float) -> None:
        """Say that `step` updates are done and what the last loss was."""
        now = time.monotonic()
        if self._first is None:  # time from the end of the first step
            self._start, self._first, self._paused, self._waited = now, step, 0.0, 0.0
        seconds = now - self._start - self._paused
        rate = (step - self._first) / seconds if seconds > 0 and step > self._first else 0.0
        text = f"loss {loss:.4g}"
        if rate:
            self.images_per_second, self.waiting = rate * self._images, self._waited / seconds
            text += f", {self.images_per_second:.1f} images/s, {self.waiting:.0%} waiting for data"
        if self._live:
            self._bar.update(self._task, completed=step, text=text)
        elif now - self._last >= self._every:
            self._last = now
            left = f", {(self._total - step) / rate:.0f} s left" if rate else ""
            self.say(f"{self._what}: step {step} of {self._total}, {text}{left}")

    def wait(self, seconds: float) -> None:
        """Count time in which the next batch was not there yet."""
        self._waited += seconds

    def pause(self, seconds: float) -> None:
        """Leave that much out of the time per image (evaluating, saving)."""
        self._paused += seconds

    def say(self, text: str) -> None:
        """Print a line."""
        if self._live:
            self._console.print(text, highlight=False)
        elif not self._quiet:
            print(text, flush=True)
