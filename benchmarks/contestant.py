"""One contestant in its own process: `python -m benchmarks.contestant JSON`; see peers.py.

The role `files` writes what all others read, and `onnx` the net for engines.
"""

import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.case import Case
from benchmarks.turns import forget_host_peak, host_peak, serve


def make(name: str, library: str, case: Case, folder: Path, iterations: int) -> Callable:
    """The contestant as a function from a word to an answer.

    "ready" runs it for the check and answers `peak`, bytes of setting up, compiling and the first
    iterations; the scores are written to `NAME.npy`, the losses before three updates are answered.
    "go" answers the seconds of one iteration, "memory" the bytes since it was ready.
    """
    begun = time.monotonic()
    program = importlib.import_module(f"benchmarks.contestants.{library}").program(case, folder)

    def iterate(times: int) -> Any:
        for _ in range(times):
            out = program.run()
        program.wait(out)
        return out

    def ready() -> dict[str, Any]:
        results = [program.result(iterate(1)) for _ in range(3 if case.train else 2)]
        if not case.train:
            scores = results[0]
            scores = scores.transpose(0, 2, 3, 1) if program.channels_first else scores
            np.save(folder / f"{name}.npy", scores, allow_pickle=False)
        answer = {"peak": host_peak(), "setup": time.monotonic() - begun}
        forget_host_peak()
        return answer | ({"losses": [float(r) for r in results]} if case.train else {})

    def go() -> dict[str, Any]:
        if iterations > 1:
            iterate(1)  # an accelerator's clocks and queues
        begun, busy = time.perf_counter(), time.process_time()
        iterate(iterations)
        seconds = (time.perf_counter() - begun) / iterations
        return {"seconds": seconds, "cpu": (time.process_time() - busy) / iterations}

    def memory() -> dict[str, Any]:
        device = program.device_peak
        return {"peak": host_peak(), "device": device() if device else None}

    return lambda word: {"ready": ready, "go": go, "memory": memory}[word]()


def main() -> None:
    given = json.loads(sys.argv[1])
    case, folder = Case.from_json(given["case"]), Path(given["folder"])
    if given["role"] == "files":
        from benchmarks.prepare import prepare  # imports jax, which other engines should not hold

        prepare(case, folder)
    elif given["role"] == "onnx":
        from benchmarks.contestants.in_torch import export_onnx

        export_onnx(case, folder)
    else:
        library, name, iterations = given["library"], given["role"], given["iterations"]
        serve(lambda: make(name, library, case, folder, iterations), case.threads)


if __name__ == "__main__":
    main()
