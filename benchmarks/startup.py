"""Startup times: of `--help`, of the first train step, of the first prediction.

    python -m benchmarks.startup --runs 5 --out startup.md

Wall time and processor time from the command to the end of the process. The train step and the
prediction run first with an empty compile cache, then with the cache that the first run filled. The
recipe is FCN-8s VGG16 at 375x500 (`startup_recipe.py`). The prediction is `python -m fcn_jax
predict` on one image and a run's folder.
"""

import argparse
import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.first_step import DONE
from benchmarks.report import Report, machine
from benchmarks.turns import ROOT, Quartiles, last_line

HELP = {
    "--help of the library": ("fcn_jax", "--help"),
    "--help of an experiment": ("experiments.voc_fcn8s", "--help"),
}
CACHES = ("empty", "filled")


@dataclasses.dataclass
class Waits:
    """Seconds of each run of a command: wall time and processor time."""

    wall: list[float] = dataclasses.field(default_factory=list)
    cpu: list[float] = dataclasses.field(default_factory=list)


def run(
    command: Sequence[str], waits: Waits | None = None, *, cache: Path, status: int = 0
) -> None:
    """Runs `python -m COMMAND` and adds its time to `waits`.

    Raises:
        RuntimeError: its exit status is not `status`.
    """
    with tempfile.TemporaryFile("w+") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            stdout=output,
            stderr=output,
            env={**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache)},
        )
        _, wait_status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(wait_status)
        if process.returncode != status:
            output.seek(0)
            raise RuntimeError(f"{' '.join(command)}: {last_line(output.read())}")
    if waits is not None:
        waits.wall.append(seconds)
        waits.cpu.append(usage.ru_utime + usage.ru_stime)


def measure(recipe: str, runs: int, folder: Path) -> dict[str, Waits]:
    """The times of all commands, by name."""
    from PIL import Image

    cache, image = folder / "cache", folder / "image.png"
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (375, 500, 3), np.uint8)).save(image)
    names = [*HELP, *(f"{w}, {c} cache" for w in ("first step", "prediction") for c in CACHES)]
    waits = {name: Waits() for name in names}
    run((recipe, "--workdir", f"{folder}/run"), cache=cache)  # also caches the imported files
    for n in range(runs):
        for name, command in HELP.items():
            run(command, waits[name], cache=cache)
        step = ("benchmarks.first_step", recipe, "--workdir")
        predict = ("fcn_jax", "predict", f"{folder}/run", str(image), "--out", f"{folder}/out")
        for c in CACHES:
            own, filled = f"{folder}/{n}{c}", folder / f"cache{n}"
            run((*step, own), waits[f"first step, {c} cache"], cache=filled, status=DONE)
            run(predict, waits[f"prediction, {c} cache"], cache=filled)
    return waits


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--recipe", default="benchmarks.startup_recipe", help="module")
    parser.add_argument("--out", type=Path, help="FILE.md; FILE.json has every run")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        waits = measure(args.recipe, args.runs, Path(folder))
    made = Report(
        title="seconds from the command to the end of the process",
        about=[
            f"{args.recipe}; {args.runs} runs of each in turns; median (first and third quartile)",
            *machine(),
        ],
        columns=("", "wall time", "processor time"),
        rows=[
            [name, str(Quartiles.of(w.wall)), str(Quartiles.of(w.cpu))] for name, w in waits.items()
        ],
        raw={"waits": {name: dataclasses.asdict(w) for name, w in waits.items()}},
    )
    made.show()
    if args.out:
        made.write(args.out)


if __name__ == "__main__":
    main()
