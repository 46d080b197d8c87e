"""Compares contestants: runs them, checks their results, and summarises their turns."""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.case import TRUNKS, Case
from benchmarks.turns import ROOT, Contestant, Excluded, Quartiles, last_line, ratios, take_turns

MODULE = "benchmarks.contestant"
TOLERANCE = {"fp32": 1e-4, "bf16": 2e-2}
"""Relative to the largest score or the first loss. bfloat16 has 8 bits, over 16 layers."""
MIN_FALL = 2e-3
"""Smallest relative fall of the loss over two updates: 20 times the tolerance of float32."""


@dataclasses.dataclass(frozen=True)
class Peer:
    """A possible contestant: a module of `benchmarks.contestants` and its options.

    Attributes:
        library: the module's name.
        options: see the module.
        dtype: `fp32` or `bf16`.
        trains: whether it has train steps.
        trunks: the trunks that it has.
        gpu: whether it takes part on a GPU.
    """

    library: str
    options: tuple[str, ...] = ()
    dtype: str = "fp32"
    trains: bool = True
    trunks: tuple[str, ...] = TRUNKS
    gpu: bool = False


PEERS = {
    "fcn_jax": Peer("ours"),
    "torch": Peer("in_torch"),
    "torch-nhwc": Peer("in_torch", ("nhwc",)),
    "torch-compile": Peer("in_torch", ("compile",)),
    "torch-compile-nhwc": Peer("in_torch", ("compile", "nhwc")),
    "onnxruntime": Peer("engines", ("onnxruntime",), trains=False),
    "opencv": Peer("engines", ("opencv",), trains=False),
    "flax": Peer("plain_flax", trunks=("vgg16",)),
    "fcn_jax-bf16": Peer("ours", dtype="bf16", gpu=True),
    "torch-nhwc-bf16": Peer("in_torch", ("nhwc",), "bf16", gpu=True),
    "torch-compile-nhwc-bf16": Peer("in_torch", ("compile", "nhwc"), "bf16", gpu=True),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of a contestant.

    Attributes:
        seconds: of one iteration.
        ratio: its seconds over the first contestant's in the same round.
        difference: from the first contestant, relative to the largest score or the first loss.
        peak: peak memory of its process in bytes.
        peak_in_turns: the same after setup and compilation, where the system can measure it.
        device_peak: peak memory of the accelerator in bytes; None on the host.
        idle: processor time used while others ran, over the first contestant's time.
        turns: its answers.
    """

    seconds: Quartiles
    ratio: Quartiles
    difference: float
    peak: int
    peak_in_turns: int
    device_peak: int | None
    idle: float
    turns: list[dict[str, Any]]


def compare(
    case: Case, names: Sequence[str], folder: Path, *, rounds: int, alive: int, iterations: int
) -> dict[str, Outcome | str]:
    """Checks all contestants and lets them take turns, at most `alive` processes at a time.

    The first contestant takes part in every group; the others are compared with it.

    Returns:
        By name: the outcome, or the reason why the contestant was not timed.

    Raises:
        Excluded: the first contestant cannot take part.
    """

    def start(name: str) -> Contestant:
        peer = PEERS[name]
        own = dataclasses.replace(case, dtype=peer.dtype, options=peer.options)
        if peer.library == "engines" and not (folder / "net.onnx").exists():
            run_role("onnx", own, folder)
        argument = arguments(name, own, folder, library=peer.library, iterations=iterations)
        return Contestant(name, MODULE, argument, threads=case.threads, env=platform(case))

    outcomes: dict[str, Outcome | str] = {}
    run_role("files", case, folder)
    with start(names[0]) as base:
        check(case, base, base, folder)
        rest = names[1:]
        for first in range(0, max(len(rest), 1), alive - 1):
            with contextlib.ExitStack() as stack:
                group = []
                for name in rest[first : first + alive - 1]:
                    try:
                        contestant = stack.enter_context(start(name))
                        check(case, base, contestant, folder)
                    except Excluded as reason:
                        outcomes[name] = str(reason)
                        continue
                    group.append(contestant)
                    seconds = contestant.ready["setup"]
                    print(f"{name}: ready after {seconds:.0f} s", file=sys.stderr)
                take_turns([base, *group], rounds, seed=first)
                for contestant in group:
                    outcomes[contestant.name] = outcome(case, base, contestant, folder)
        return {base.name: outcome(case, base, base, folder), **outcomes}


def check(case: Case, base: Contestant, other: Contestant, folder: Path) -> None:
    """Raises Excluded if a contestant's results differ from the first one's."""
    tolerance = max(TOLERANCE[PEERS[c.name].dtype] for c in (base, other))
    differs = difference(case, base, other, folder)
    if not differs <= tolerance:
        raise Excluded(
            f"{other.name}: differs from {base.name} by {differs:.1e}, over {tolerance:.0e}"
        )


def difference(case: Case, base: Contestant, other: Contestant, folder: Path) -> float:
    """Largest difference of the scores over the largest score; of three losses over the first."""
    if case.train:
        ours, theirs = (np.array(c.ready["losses"]) for c in (base, other))
        if not ours[2] < (1 - MIN_FALL) * ours[0]:
            raise Excluded(f"{base.name}: the losses {ours} do not fall; cannot compare them")
        return float(np.abs(ours - theirs).max() / ours[0])
    ours, theirs = (np.load(folder / f"{c.name}.npy", allow_pickle=False) for c in (base, other))
    if ours.shape != theirs.shape:
        return float("inf")
    return float(np.abs(ours - theirs).max() / np.abs(ours).max())


def outcome(case: Case, base: Contestant, own: Contestant, folder: Path) -> Outcome:
    """The result of a contestant's turns so far."""
    memory = own.ask("memory")
    rounds = min(len(own.turns), len(base.turns))
    theirs = sum(turn["seconds"] for turn in base.turns[-rounds:])
    return Outcome(
        seconds=Quartiles.of([turn["seconds"] for turn in own.turns]),
        ratio=ratios(own, base),
        difference=difference(case, base, own, folder),
        peak=max(own.ready["peak"], memory["peak"]),
        peak_in_turns=memory["peak"],
        device_peak=memory["device"],
        idle=sum(turn["idle_cpu"] for turn in own.turns) / theirs,
        turns=own.turns,
    )


def arguments(role: str, case: Case, folder: Path, **more: Any) -> str:
    """The command line of `benchmarks.contestant`."""
    return json.dumps({"role": role, "case": case.to_json(), "folder": str(folder), **more})


def run_role(role: str, case: Case, folder: Path) -> None:
    """Runs a role of `benchmarks.contestant`; raises Excluded if it fails."""
    command = [sys.executable, "-m", MODULE, arguments(role, case, folder)]
    env = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    if done.returncode:
        raise Excluded(f"{role}: {last_line(done.stderr)}")


def platform(case: Case) -> dict[str, str]:
    """Environment variables: JAX's device, and that no process holds memory or threads."""
    return {
        "JAX_PLATFORMS": "cuda" if case.device == "gpu" else "cpu",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "TORCHINDUCTOR_COMPILE_THREADS": "1",  # more would stay as a pool of processes
    }
