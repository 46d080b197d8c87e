"""Runs programs in turns: each in its own process, one at a time, controlled over pipes.

The speed of a machine changes over time, so programs that are timed one after another cannot be
compared. Here all contestants stay in memory and run once per round, in a new order each time,
while the others wait. Ratios are taken within a round.

The child writes one line of JSON when it is ready and one as the answer to each line it receives.
The output of its libraries goes to its standard error, which is read if the child fails.
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
# Threads must not spin while another contestant runs.
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
PAUSE = 0.1
"""Seconds between turns, until spinning threads sleep (ONNX Runtime spins for 0.02 s)."""
_POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Excluded(RuntimeError):
    """A contestant's process has ended, or its results are wrong; the message says why."""


class Contestant:
    """A process that waits for its turn.

    Attributes:
        name: for the tables.
        ready: its answer when it was ready.
        turns: its answer for each turn so far: `seconds`, `idle_cpu` and what the program adds.
    """

    def __init__(
        self, name: str, module: str, argument: str, *, threads: int, env: dict[str, str] | None
    ):
        """Starts `python -m MODULE ARGUMENT` and waits until it is ready.

        Raises:
            Excluded: it ended before that; the message is the last line of its output.
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
        """Runs one turn."""
        self.turns.append(self.ask("go"))
        return self.turns[-1]

    def ask(self, request: str) -> dict[str, Any]:
        """Sends a request and waits for the answer."""
        assert self._process.stdin is not None
        try:
            print(request, file=self._process.stdin, flush=True)
        except BrokenPipeError:
            pass  # reading the answer raises the reason
        return self._answer()

    def __enter__(self) -> "Contestant":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process."""
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
        reason = last_line(self._errors.read())
        self.close()
        raise Excluded(f"{self.name}: {reason or f'ended with status {status}'}")


def last_line(text: str) -> str:
    """The last line that is not empty, where Python prints an error."""
    return next((line for line in reversed(text.splitlines()) if line.strip()), "")


def serve(make: Callable[[], Callable[[str], dict[str, Any]]], threads: int) -> None:
    """The child's side: makes the program, then answers requests until its input ends.

    Args:
        make: makes the program, a function from a request to an answer. The first request is
            "ready"; the answer to "go" has `seconds`.
        threads: number of processors that the child may use.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if hasattr(os, "sched_setaffinity"):  # before a library counts the processors
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    program = make()
    print(json.dumps(program("ready")), file=answers, flush=True)
    answered = time.process_time()
    for line in sys.stdin:
        idle_cpu = time.process_time() - answered  # used while others had their turns
        print(json.dumps({**program(line.strip()), "idle_cpu": idle_cpu}), file=answers, flush=True)
        answered = time.process_time()


def take_turns(contestants: Sequence[Contestant], rounds: int, seed: int = 0) -> None:
    """Runs every contestant once per round, in a random order."""
    rng = random.Random(seed)
    for _ in range(rounds):
        for contestant in rng.sample(contestants, len(contestants)):
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
        """The quartiles of at least one value."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        return cls(*statistics.quantiles(values, n=4, method="inclusive"))

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g}–{self.high:.3g})"


def ratios(of: Contestant, over: Contestant, what: str = "seconds") -> Quartiles:
    """Ratios of a figure of two contestants in the same round, over their last common rounds."""
    rounds = min(len(of.turns), len(over.turns))
    pairs = zip(of.turns[-rounds:], over.turns[-rounds:], strict=True)
    return Quartiles.of([a[what] / b[what] for a, b in pairs])


def host_peak() -> int:
    """Peak memory of this process in bytes."""
    try:
        status = Path("/proc/self/status").read_text()
    except FileNotFoundError:
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def reset_host_peak() -> bool:
    """Resets `host_peak` to the memory in use now; False if the system cannot do that."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # Source: proc(5), clear_refs
    except OSError:
        return False
    return True
