"""Progress of a run: a bar in a terminal, plain lines elsewhere."""

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Reporter:
    """Progress of steps: loss, images per second, share of time waiting for data, time left.

    In a terminal it is a live bar; otherwise plain lines. Use it as a context manager.

    Args:
        what: name of the run.
        total: steps of the whole run.
        done: steps that were done before.
        images_per_step: images in the batch of a step.
        every: the least time between two plain lines, in seconds.
        quiet: print nothing; with several processes, one prints.

    Attributes:
        speed: `images_per_second` and `waiting`, the share of time; empty until the second step.
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
        self.speed: dict[str, float] = {}
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._live,
        )
        self._task = self._bar.add_task(what, total=total, completed=done, text="compiling")

    def __enter__(self) -> "Reporter":
        self._bar.start()
        self._console.show_cursor()  # a second Ctrl-C ends the process at once
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def step(self, step: int, loss: float) -> None:
        """Show that `step` updates are done, and the last loss."""
        now = time.monotonic()
        if self._first is None:  # measure from the end of the first step
            self._start, self._first, self._paused, self._waited = now, step, 0.0, 0.0
        seconds = now - self._start - self._paused
        rate = (step - self._first) / seconds if seconds > 0 and step > self._first else 0.0
        text = f"loss {loss:.4g}"
        if rate:
            speed, waiting = rate * self._images, self._waited / seconds
            self.speed = {"images_per_second": round(speed, 3), "waiting": round(waiting, 4)}
            text += f", {speed:.1f} images/s, {waiting:.0%} waiting for data"
        if self._live:
            self._bar.update(self._task, completed=step, text=text)
        elif now - self._last >= self._every:
            self._last = now
            left = f", {(self._total - step) / rate:.0f} s left" if rate else ""
            self.say(f"{self._what}: step {step} of {self._total}, {text}{left}")

    def wait(self, seconds: float) -> None:
        """Count time spent waiting for the next batch."""
        self._waited += seconds

    def pause(self, seconds: float) -> None:
        """Do not count this time in the time per image (evaluating, saving)."""
        self._paused += seconds

    def say(self, text: str) -> None:
        """Print a line."""
        if self._live:
            self._console.print(text, highlight=False)
        elif not self._quiet:
            print(text, flush=True)
