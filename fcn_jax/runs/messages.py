"""How a mistake of the user ends a command: one message and exit status 1."""

import sys
from typing import Any


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

        mistake = isinstance(error, ValueError | ArithmeticError | OSError)
        if text := str(error) if mistake else lost_process_message(error):
            # Grain adds a note on its own internals to what its threads raise.
            notes = [note for note in getattr(error, "__notes__", []) if "Grain" not in note]
            print("\n".join([f"error: {text}", *notes]), file=sys.stderr)
            exit_process(1)
