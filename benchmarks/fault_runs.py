"""Runs of the tiny recipe in processes of their own, for `faults.py`, and what differs in two."""

import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np

TESTS = Path(__file__).resolve().parents[1] / "tests"
PROCESS = """
import os, signal, sys
import jax
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 2)
import fcn_jax.runs.run as run_module
from fcn_jax.devices.compiling import use_compile_cache
from fcn_jax.training.checkpoints import Checkpoints
import one_of_several
use_compile_cache()
dies, what, *arguments = sys.argv[1:]
def killed(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
if dies == arguments[0]:
    if what == "save":
        Checkpoints.save = killed
    if what == "evaluation":
        run_module.evaluate = killed
    if what == "training":
        arguments += ["kill", "5"]
one_of_several.main(*arguments)
"""


def start(workdir: Path, limit: int | None = None) -> subprocess.Popen[str]:
    """The tiny recipe, in a process of its own; its files are at most `limit` bytes long."""

    def limited() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.Popen(
        [sys.executable, str(TESTS / "tiny_recipe.py"), "--workdir", str(workdir)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=limited,
    )


def finish(process: subprocess.Popen[str]) -> str:
    """What a run says that must not fail."""
    said, _ = process.communicate()
    if process.returncode:
        sys.exit(f"a run failed:\n{said}")
    return said


def kill(process: subprocess.Popen[str]) -> None:
    """End a run by SIGKILL."""
    process.kill()
    process.communicate()


def steps_of(run: Path) -> list[int]:
    """The steps of complete checkpoints; readable while the run trains."""
    return sorted(int(p.name) for p in run.glob("checkpoints/*") if p.name.isdigit())


def last_state(run: Path) -> dict[str, np.ndarray]:
    """Every array of the last checkpoint, by path."""
    import jax

    from fcn_jax.training.checkpoints import Checkpoints

    state = Checkpoints(run / "checkpoints").restore_as_saved(steps_of(run)[-1])
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def differences(a: Path, b: Path) -> list[str]:
    """Arrays and files of two finished runs that differ in any bit."""
    left, right = last_state(a), last_state(b)
    wrong = [f"{key} is in one run only" for key in left.keys() ^ right.keys()]
    wrong += [
        key for key in left.keys() & right.keys() if left[key].tobytes() != right[key].tobytes()
    ]
    if (a / "metrics.jsonl").read_text() != (b / "metrics.jsonl").read_text():
        wrong.append("metrics.jsonl")
    return wrong


def several(folder: Path, dies: str, what: str) -> list[tuple[int, str]]:
    """Two processes of a run, with their statuses and what they say."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, dies, what]
            + [str(i), "2", address, str(folder), "data=2,space=2", "8"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(2)
    ]
    return [(p.wait(), said) for said, p in [(p.communicate()[0], p) for p in processes]]
