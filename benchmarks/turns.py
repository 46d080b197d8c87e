"""Programs that take turns: each in a process of its own, one at a time, over pipes.

A machine drifts; programs that are timed one after the other are compared with its moods. Here all
contestants are started, one by one, and stay; then, round by round and in a new order each time,
one of them is told to go, and the others wait. Ratios are taken within a round.

The child writes one line of JSON when it is ready and one for every line that it is sent. What its
libraries print goes to its standard error, which is kept for the day it dies.
"""

import dataclasses
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# Threads that spin while another contestant runs would take its processors.
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
PAUSE = 0.1
"""Seconds between turns, for threads that spin a while before they sleep (ONNX Runtime: 0.02 s)."""
_POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Left(RuntimeError):
    """A contestant's process ended, or it may not take part."""


class Contestant:
    """A process that waits for its turn.

    Attributes:
        name: for the tables.
        ready: what it said when it was ready.
        turns: what it said of each turn so far: `seconds` and what the program adds.
    """

    def __init__(
        self, name: str, module: str, argument: str, *, threads: int, env: dict[str, str] | None
    ):
        """Starts `python -m MODULE ARGUMENT` and waits until it is ready.

        Raises:
            Left: it ended before that; the message is the last line that it wrote.
        """
        self.name, self.turns = name, []
        self._errors = tempfile.TemporaryFile("w+")
        pools = dict.fromkeys(_POOLS, str(threads))
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, argument],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, **PASSIVE, **pools, **(env or {})},
        )
        self.ready: dict[str, Any] = self._answer()

    def turn(self) -> dict[str, Any]:
        """One turn; the others wait."""
        self.turns.append(self.ask("go"))
        return self.turns[-1]

    def ask(self, word: str) -> dict[str, Any]:
        """Send a word and wait for the answer."""
        assert self._process.stdin is not None
        try:
            print(word, file=self._process.stdin, flush=True)
        except BrokenPipeError:
            pass  # the answer says why
        return self._answer()

    def __enter__(self) -> "Contestant":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        for file in (self._process.stdin, self._process.stdout, self._errors):
            file.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        status = self._process.wait()
        self._errors.seek(0)
        said = last_line(self._errors.read())
        self.close()
        raise Left(f"{self.name}: {said or f'ended with status {status}'}")


def last_line(text: str) -> str:
    """Where Python says what went wrong."""
    return next((line for line in reversed(text.splitlines()) if line.strip()), "")


def serve(make: Callable[[], Callable[[str], dict[str, Any]]], threads: int) -> None:
    """The child's side: makes the program, then answers words until its input ends.

    Args:
        make: makes the program, on no more processors than it may use: a function from a word to
            an answer. "ready" comes first; the answer to "go" has `seconds`.
        threads: processors that it may use.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if hasattr(os, "sched_setaffinity"):  # before any library counts them
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    program = make()
    print(json.dumps(program("ready")), file=answers, flush=True)
    busy = time.process_time()
    for line in sys.stdin:
        idle_cpu = time.process_time() - busy  # spent while others had their turns
        print(json.dumps({**program(line.strip()), "idle_cpu": idle_cpu}), file=answers, flush=True)
        busy = time.process_time()


def take_turns(contestants: Sequence[Contestant], rounds: int, seed: int = 0) -> None:
    """Every contestant once a round, in an order of the round's own."""
    rng = random.Random(seed)
    order = list(contestants)
    for _ in range(rounds):
        rng.shuffle(order)
        for contestant in order:
            contestant.turn()
            time.sleep(PAUSE)


@dataclasses.dataclass(frozen=True)
class Quartiles:
    """First quartile, median, third quartile."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Quartiles":
        """Of one value or more."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        return cls(*statistics.quantiles(values, n=4, method="inclusive"))

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g}–{self.high:.3g})"


def ratios(of: Contestant, over: Contestant, what: str = "seconds") -> Quartiles:
    """The one's figure over the other's in the same round; the last rounds of both."""
    rounds = min(len(of.turns), len(over.turns))
    pairs = zip(of.turns[-rounds:], over.turns[-rounds:], strict=True)
    return Quartiles.of([a[what] / b[what] for a, b in pairs])


def host_peak() -> int:
    """The most memory that this process has had, in bytes."""
    try:
        status = Path("/proc/self/status").read_text()
    except FileNotFoundError:
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def forget_host_peak() -> bool:
    """Let `host_peak` begin again from now; False where the system cannot."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # Source: proc(5), clear_refs
    except OSError:
        return False
    return True
