"""How a mistake of the user ends a command: one message and exit status 1."""

import errno
import re
import sys
from typing import Any

_NOTES = re.compile("Grain|JAX_TRACEBACK_FILTERING")
"""Notes of libraries on their own internals, which they add to an error."""


class messages:  # noqa: N801 - reads as a word at its use
    """Turns a user's mistake into one message and exit status 1, unless debugging."""

    def __init__(self, debug: bool):
        self._debug = debug

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, at: Any) -> None:
        if error is None or self._debug:
            return
        from fcn_jax.devices.processes import exit_process, lost_process_message

        if text := lost_process_message(error) or _mistake(error):
            notes = [note for note in getattr(error, "__notes__", []) if not _NOTES.search(note)]
            print("\n".join([f"error: {text}", *notes]), file=sys.stderr)
            exit_process(1)


def _mistake(error: BaseException) -> str:
    """The message for a user's mistake; empty for other errors."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        what = f"{error.filename or 'a file'} cannot be written: {error.strerror}"
        return f"{what}. Free some space, and start the same command again"
    return str(error) if isinstance(error, ValueError | ArithmeticError | OSError) else ""
