"""What a person sees of a download: a bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.filesize import decimal

_EVERY = 500 * 10**6  # bytes between two plain lines where the total is unknown


class Report:
    """Prints lines, and the progress of bytes with rate and time left.

    Args:
      console: Where to; standard output by default.
    """

    def __init__(self, console: Console | None = None):
        self._console = console or Console()

    def say(self, text: str) -> None:
        """Print a line as it is."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    @contextlib.contextmanager
    def progress(
        self, what: str, total: int | None, done: int = 0
    ) -> Iterator[Callable[[int], None]]:
        """Shows a piece of work; yields a function that takes the bytes just dealt with.

        Args:
          what: Its name.
          total: Bytes in all, where that is known.
          done: Bytes that were dealt with before.
        """
        if self._console.is_terminal:
            with self._bar() as bar:
                task = bar.add_task(what, total=total, completed=done)
                yield lambda count: bar.advance(task, count)
        else:
            yield _Lines(self.say, what, total, done).advance

    def _bar(self):
        from rich import progress

        return progress.Progress(
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(),
            progress.DownloadColumn(),
            progress.TransferSpeedColumn(),
            progress.TimeRemainingColumn(),
            console=self._console,
        )


class _Lines:
    """A line for each tenth of the work."""

    def __init__(self, say: Callable[[str], None], what: str, total: int | None, done: int):
        self._say, self._what, self._total = say, what, total
        self._first = self._done = done
        self._start = time.monotonic()
        self._said = self._stage()

    def _stage(self) -> int:
        return 10 * self._done // self._total if self._total else self._done // _EVERY

    def advance(self, count: int) -> None:
        self._done += count
        stage = self._stage()
        if stage == self._said:
            return
        self._said = stage
        rate = (self._done - self._first) / max(time.monotonic() - self._start, 1e-3)
        text = f"{self._what}: {decimal(self._done)}"
        if self._total:
            left = (self._total - self._done) / rate
            text += f" of {decimal(self._total)}, {decimal(int(rate))}/s, {left:.0f} s left"
        else:
            text += f", {decimal(int(rate))}/s"
        self._say(text)
