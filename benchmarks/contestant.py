"""One contestant in its own process: `python -m benchmarks.contestant JSON`; see peers.py.

The role `files` writes the files of all contestants, and `onnx` the net for engines.
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
from benchmarks.turns import host_peak, reset_host_peak, serve
from fcn_jax.devices.memory import keep_memory


def make(name: str, library: str, case: Case, folder: Path, iterations: int) -> Callable:
    """The contestant as a function that answers requests.

    "ready" runs it for the check: it writes the scores to `NAME.npy`, or answers the losses before
    three updates. The answer has the seconds of the setup and `peak`, the bytes of setup,
    compilation and first iterations. "go" answers the seconds of one iteration, "memory" the peak
    bytes since "ready".
    """
    start = time.monotonic()
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
        answer = {"peak": host_peak(), "setup": time.monotonic() - start}
        reset_host_peak()
        return answer | ({"losses": [float(r) for r in results]} if case.train else {})

    def go() -> dict[str, Any]:
        if iterations > 1:
            iterate(1)  # warms up an accelerator
        start, cpu_start = time.perf_counter(), time.process_time()
        iterate(iterations)
        seconds = (time.perf_counter() - start) / iterations
        return {"seconds": seconds, "cpu": (time.process_time() - cpu_start) / iterations}

    def memory() -> dict[str, Any]:
        device = program.device_peak
        return {"peak": host_peak(), "device": device() if device else None}

    return lambda request: {"ready": ready, "go": go, "memory": memory}[request]()


def main() -> None:
    given = json.loads(sys.argv[1])
    keep_memory()  # for all contestants, who need not know of it
    case, folder = Case.from_json(given["case"]), Path(given["folder"])
    if given["role"] == "files":
        from benchmarks.prepare import prepare  # imports jax, which other engines do not need

        prepare(case, folder)
    elif given["role"] == "onnx":
        from benchmarks.contestants.in_torch import export_onnx

        export_onnx(case, folder)
    else:
        library, name, iterations = given["library"], given["role"], given["iterations"]
        serve(lambda: make(name, library, case, folder, iterations), case.threads)


if __name__ == "__main__":
    main()
