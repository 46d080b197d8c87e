"""Stopping a run early, by SIGTERM or Ctrl-C."""

import os
import signal
from typing import Any

import jax

from fcn_jax.devices.processes import stop_agreed


class StoppedError(Exception):
    """An evaluation was left because the run was asked to stop."""


class StopRequest:
    """Turns SIGTERM and Ctrl-C into a request to stop; a second one ends the process as before.

    The request is noted inside the `with` block. Several processes all stop at the same call of
    `asked`, whichever of them got the signal: JAX's own handler of SIGTERM tells the others. So
    that handler stays, and Ctrl-C is sent on as SIGTERM.

    Attributes:
        signal: the signal that asked to stop; None if there was none.
    """

    def __init__(self):
        self.signal: signal.Signals | None = None
        self._several = False
        self._before: dict[int, Any] = {}
        self._calls = 0

    def __enter__(self) -> "StopRequest":
        self._several = jax.process_count() > 1
        own = (signal.SIGINT,) if self._several else (signal.SIGTERM, signal.SIGINT)
        try:
            for number in own:
                if (before := signal.getsignal(number)) is not signal.SIG_IGN:
                    signal.signal(number, self._note)
                    self._before[number] = before
        except ValueError:  # not in the main thread, which alone receives signals
            pass
        return self

    def _note(self, number: int, frame: Any) -> None:
        signal.signal(number, self._before[number] or signal.SIG_DFL)
        self.signal = signal.Signals(number)
        if self._several:
            os.kill(os.getpid(), signal.SIGTERM)

    def asked(self) -> bool:
        """Whether to stop now. Several processes call it equally often, and all stop together."""
        self._calls += 1
        if not self._several:
            return self.signal is not None
        if not stop_agreed(self._calls):
            return False
        self.signal = self.signal or signal.SIGTERM
        return True

    def check(self) -> None:
        """Raise StoppedError if asked to stop; called after every batch of an evaluation."""
        if self.asked():
            raise StoppedError

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler or signal.SIG_DFL)
