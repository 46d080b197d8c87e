"""Kills a run many times; its result must be bit-exactly that of an undisturbed run.

    python benchmarks/kill_and_resume.py --kills 20

Trains `tests/tiny_recipe.py` once undisturbed. Then kills a second run by SIGKILL at random moments
(while importing, compiling, training, evaluating, saving) and starts it again each time. Compares
every array of the last checkpoints and every line of metrics.jsonl.
"""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

RECIPE = Path(__file__).resolve().parents[1] / "tests" / "tiny_recipe.py"


def start(workdir: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(RECIPE), "--workdir", str(workdir)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen[bytes]) -> None:
    _, errors = process.communicate()
    if process.returncode:
        sys.exit(f"a run failed:\n{errors.decode()}")


def last_state(workdir: Path) -> dict[str, np.ndarray]:
    """Every array of the last checkpoint, by path."""
    from fcn_jax.training.checkpoints import Checkpoints

    checkpoints = Checkpoints(workdir / "checkpoints")
    state = checkpoints.restore_as_saved(checkpoints.steps()[-1])
    checkpoints.close()
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def differences(a: Path, b: Path) -> list[str]:
    """Arrays and files that are not bit-exactly the same in two finished runs."""
    left, right = last_state(a), last_state(b)
    wrong = [f"{key} is in one run only" for key in left.keys() ^ right.keys()]
    wrong += [
        key for key in left.keys() & right.keys() if left[key].tobytes() != right[key].tobytes()
    ]
    if (a / "metrics.jsonl").read_text() != (b / "metrics.jsonl").read_text():
        wrong.append("metrics.jsonl")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, broken = Path(folder) / "whole", Path(folder) / "broken"
        finish(start(whole))
        started = time.monotonic()
        finish(start(broken))  # all programs are in the compile cache by now
        length = time.monotonic() - started
        print(f"a run takes {length:.1f} s; two undisturbed runs: {differences(whole, broken)}")
        killed = rounds = 0
        while killed < args.kills:
            rounds += 1
            target = Path(folder) / f"broken{rounds}"
            where: list[str] = []
            while killed < args.kills:
                process = start(target)
                try:
                    process.wait(rng.uniform(0.1, 0.9) * length)
                    break
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGKILL)
                    process.wait()
                    killed += 1
                    names = [path.name for path in target.glob("checkpoints/*")]
                    steps = sorted(int(name) for name in names if name.isdigit())
                    saving = any("tmp" in name for name in names)
                    where.append(f"{steps[-1] if steps else 0}{' (saving)' if saving else ''}")
            finish(start(target))
            wrong = differences(whole, target)
            print(f"round {rounds}: killed after step {', '.join(where)}; differences: {wrong}")
            if wrong:
                sys.exit(1)
        print(f"{killed} kills; every resumed run is identical to the undisturbed one")


if __name__ == "__main__":
    main()
