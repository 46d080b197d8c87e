"""Processes of one run meet before JAX joins them: JAX waits in silence, and ends in a C++ trace.

Process 0 answers at the coordinator's address until all others have called, and leaves it to JAX
then. The others call again and again. A call is one line, `PROCESS PROCESSES CALLER`; its answer is
`come`, `wait ...` or `no ...`.
"""

import contextlib
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator

_PAUSE = 0.2  # seconds between two calls
_GONE = 3.0  # seconds after which a process that stopped calling is missing again


class Patience:
    """Says every minute what a process waits for, and gives up in the end.

    Args:
        timeout: seconds until it gives up.
        every: seconds between two lines.
    """

    def __init__(self, timeout: int | float, every: int | float = 60.0):
        self._timeout, self._every = timeout, every
        self._start = self._said = time.monotonic()

    def still(self, what: str) -> None:
        """Say what is waited for, if the last line is old enough; call it all the time.

        Raises:
            ValueError: the time is over.
        """
        now = time.monotonic()
        if now - self._start >= self._timeout:
            raise ValueError(
                f"{what}; gave up after {self._timeout:.0f} s (--join-timeout). Start all "
                "processes within this time, each with its own --process, and with a --coordinator "
                "HOST:PORT of process 0 that every machine can reach"
            )
        if now - self._said >= self._every:
            self._said = now
            print(f"{what} ({now - self._start:.0f} s)", file=sys.stderr, flush=True)


def meet(address: str, processes: int, process: int, patience: Patience) -> None:
    """Return when all processes of the run are there.

    Args:
        address: HOST:PORT of process 0.
        processes: how many there are.
        process: which of them this is, from 0.
        patience: says who is missing.

    Raises:
        ValueError: one did not come, the port is taken, or two contradict each other.
    """
    host, port = address.rsplit(":", 1)
    if process == 0:
        _answer_calls(address, int(port), processes, patience)
        return
    greeting = f"{process} {processes} {secrets.token_hex(8)}\n".encode()
    problem = ""
    while True:
        patience.still(
            f"process {process} of {processes} waits for process 0 at {address}{problem}"
        )
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=5) as call:
                call.sendall(greeting)
                word, _, text = call.makefile(errors="replace").readline().strip().partition(" ")
        except OSError as error:
            word, problem = "", f" ({_reason(error)})"
        if word == "come":
            return
        if word == "no":
            raise ValueError(text)
        if word:
            problem = f": {text}" if word == "wait" else " (another program answers there)"
        time.sleep(_PAUSE)


def _reason(error: OSError) -> str:
    if error.errno is None or error.errno < 0:  # a name that is not known
        return error.strerror or str(error)
    return os.strerror(error.errno)


def _answer_calls(address: str, port: int, processes: int, patience: Patience) -> None:
    """Process 0: answer until all others know that all are there."""
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        server = socket.create_server(("", port), family=family, dualstack_ipv6=both)
    except OSError as error:
        raise ValueError(
            f"--coordinator {address}: process 0 cannot listen at port {port} ({_reason(error)}). "
            "Another program may use it: choose another port for all processes"
        ) from None
    last_call: dict[int, tuple[str, float]] = {}  # of each other process: who it is, and when
    told: set[int] = set()
    with server:
        server.settimeout(_PAUSE)
        while len(told) < processes - 1:
            late = time.monotonic() - _GONE
            missing = [n for n in range(1, processes) if last_call.get(n, ("", 0.0))[1] <= late]
            what = f"{processes - len(missing)} of {processes} processes are at {address}"
            what += f"; missing: {', '.join(map(str, missing))}" if missing else ""
            patience.still(what)
            with contextlib.suppress(OSError, UnicodeError):  # nobody calls, or another program
                call, _ = server.accept()
                with call:
                    call.settimeout(1)
                    greeting = call.recv(100).decode().split()
                    if refused := _refusal(greeting, processes, last_call, late):
                        call.sendall(f"no {refused}\n".encode())
                        continue
                    number, _, caller = greeting
                    last_call[int(number)] = (caller, time.monotonic())
                    call.sendall(f"wait {what}\n".encode() if missing else b"come\n")
                    told |= set() if missing else {int(number)}


def _refusal(
    greeting: list[str], processes: int, last_call: dict[int, tuple[str, float]], late: float
) -> str:
    """Why a caller does not belong to this run; empty if it does."""
    if len(greeting) != 3 or not (greeting[0].isdecimal() and greeting[1].isdecimal()):
        return "this is the meeting point of a run of fcn_jax"
    number, total, caller = int(greeting[0]), int(greeting[1]), greeting[2]
    if total != processes:
        return f"process 0 was started with --processes {processes}, this one with {total}"
    known, when = last_call.get(number, (caller, 0.0))
    if known != caller and when > late:
        return f"another process has --process {number} too"
    return ""


@contextlib.contextmanager
def aloud(what: str, patience: Patience) -> Iterator[None]:
    """Say what JAX waits for, and end this process where it waits too long.

    JAX cannot be interrupted, so a thread watches it.
    """
    done = threading.Event()

    def watch() -> None:
        try:
            while not done.wait(_PAUSE):
                patience.still(what)
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            os._exit(1)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
