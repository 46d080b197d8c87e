"""The progress bar of a command that takes a while."""

import contextlib
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def bar(what: str) -> Iterator[Callable[[float, int], None]]:
    """A bar on standard error, in a terminal; call the result with the numbers done and in all."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as shown:
        console.show_cursor()  # Ctrl-C ends the process at once
        task = shown.add_task(what, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)
