"""Reports the progress of a download: a bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from rich import progress
from rich.console import Console
from rich.filesize import decimal

_BYTES_PER_LINE = 500 * 10**6  # where the total is unknown


class Report:
    """Prints messages, and the progress of long steps with their rate and the time left.

    Args:
      console: Where to print; standard output by default.
    """

    def __init__(self, console: Console | None = None):
        self._console = console or Console()

    def say(self, text: str) -> None:
        """Prints a line without interpreting markup."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    @contextlib.contextmanager
    def progress(
        self, what: str, total: int | None, done: int = 0
    ) -> Iterator[Callable[[int], None]]:
        """Shows the progress of one step.

        Args:
          what: The step's name.
          total: Bytes in total; None if unknown.
          done: Bytes done earlier.

        Yields:
          A function that is called with the number of bytes just done.
        """
        if not self._console.is_terminal:
            yield _Lines(self.say, what, total, done).advance
            return
        columns = (
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(),
            progress.DownloadColumn(),
            progress.TransferSpeedColumn(),
            progress.TimeRemainingColumn(),
        )
        with progress.Progress(*columns, console=self._console) as bar:
            self._console.show_cursor()  # Ctrl-C ends the process at once
            task = bar.add_task(what, total=total, completed=done)
            yield lambda count: bar.advance(task, count)


class _Lines:
    """Prints a line for each tenth of a step."""

    def __init__(self, say: Callable[[str], None], what: str, total: int | None, done: int):
        self._say, self._what, self._total = say, what, total
        self._first = self._done = done
        self._start = time.monotonic()
        self._last_line = self._line()

    def _line(self) -> int:
        """The number of the line that is due."""
        return 10 * self._done // self._total if self._total else self._done // _BYTES_PER_LINE

    def advance(self, count: int) -> None:
        self._done += count
        if self._line() == self._last_line:
            return
        self._last_line = self._line()
        rate = (self._done - self._first) / max(time.monotonic() - self._start, 1e-3)
        of_total = left = ""
        if self._total:
            of_total = f" of {decimal(self._total)}"
            left = f", {(self._total - self._done) / rate:.0f} s left"
        self._say(f"{self._what}: {decimal(self._done)}{of_total}, {decimal(int(rate))}/s{left}")
