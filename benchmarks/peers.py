"""Compares fcn_jax with other libraries on one net, its weights and a batch: time and memory.

    python -m benchmarks.peers                      # FCN-8s VGG16, 375x500, the forward pass
    python -m benchmarks.peers --train --size 500x500 --rounds 15 --out train.md
    python -m benchmarks.peers --trunk squeezenet --only fcn_jax,torch,torch-nhwc
    python -m benchmarks.peers --device gpu --batch 8 --train

Needs `pip install -e '.[benchmarks]'`; libraries that are not installed are listed as not timed.
Each contestant has its own process; they run one at a time on the same processors (`turns.py`).
First it gives its scores, or its losses over three updates; if these differ from the first
contestant's by more than the tolerance, it is not timed. Dropout is off, since its masks differ
between libraries. A train step is the loss summed over pixels (255 = ignored) and SGD with momentum
0.99.
"""

import argparse
import dataclasses
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.case import TRUNKS, Case
from benchmarks.match import PEERS, Outcome, compare
from benchmarks.report import Report, machine
from benchmarks.turns import Excluded


def invited(case: Case, dtype: str) -> list[str]:
    """Names of the contestants that can run the case."""
    return [
        name
        for name, peer in PEERS.items()
        if case.trunk in peer.trunks
        and (peer.trains or not case.train)
        and (peer.gpu or case.device == "cpu")
        and (dtype in (peer.dtype, "both") or name == "fcn_jax")  # to compare with
    ]


def report(case: Case, outcomes: dict[str, Outcome | str], rounds: int) -> Report:
    """The table; those that were not timed are listed below it."""
    base = next(iter(outcomes))
    timed = {name: o for name, o in outcomes.items() if isinstance(o, Outcome)}
    memory = ("GB on the device",) if case.device == "gpu" else ("GB in turns", "GB in all")

    def cells(o: Outcome) -> list[str]:
        peaks = [o.device_peak] if case.device == "gpu" else [o.peak_in_turns, o.peak]
        gigabytes = [f"{(peak or 0) / 1e9:.2f}" for peak in peaks]
        return [str(o.seconds), str(o.ratio), f"{o.difference:.0e}", *gigabytes]

    spinning = [f"{name} {o.idle:.0%}" for name, o in timed.items() if o.idle > 0.02]
    about = [
        f"{case.threads} processors; {rounds} rounds of turns; median (first and third quartile)",
        "differs: from the first row, relative to the largest score"
        if not case.train
        else "differs: from the first row over three updates, relative to the first loss",
        *machine(),
        *(f"not timed: {reason}" for reason in outcomes.values() if isinstance(reason, str)),
        *([f"busy while others ran: {', '.join(spinning)}"] if spinning else []),
    ]
    kind = "train step" if case.train else "forward pass"
    h, w = case.size
    return Report(
        title=f"{case.trunk}, {kind}, {h}x{w}, batch {case.batch}, {case.device}",
        about=about,
        columns=("", "seconds", f"times {base}", "differs", *memory),
        rows=[[name, *cells(o)] for name, o in timed.items()],
        raw={
            "case": dataclasses.asdict(case),
            "outcomes": {
                name: dataclasses.asdict(o) if isinstance(o, Outcome) else o
                for name, o in outcomes.items()
            },
        },
    )


def size(text: str) -> tuple[int, int]:
    """Rows and columns from `375x500`."""
    rows, columns = map(int, text.split("x"))
    return rows, columns


def parsed() -> tuple[Case, list[str], argparse.Namespace]:
    """The case, the contestants' names and the rest of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trunk", choices=TRUNKS, default="vgg16")
    parser.add_argument("--size", type=size, default="375x500", help="rows x columns")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--train", action="store_true", help="time a train step")
    parser.add_argument("--dtype", choices=("fp32", "bf16", "both"), default="both")
    parser.add_argument("--only", help="names with commas; others are compared with the first")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="processors")
    parser.add_argument("--alive", type=int, default=5, help="processes at a time")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--iterations", type=int, help="per turn; default 1, on a GPU 20")
    parser.add_argument("--out", type=Path, help="FILE.md; FILE.json has every turn")
    args = parser.parse_args()
    fields = ("trunk", "size", "batch", "train", "device", "threads")
    case = Case(**{name: getattr(args, name) for name in fields})
    possible = invited(case, "both")
    names = args.only.split(",") if args.only else invited(case, args.dtype)
    if unknown := [name for name in names if name not in possible]:
        parser.error(f"--only: found {', '.join(unknown)}, expected some of {', '.join(possible)}")
    if args.alive < 2:
        parser.error("--alive: expected at least 2, the first contestant and another")
    args.iterations = args.iterations or (20 if case.device == "gpu" else 1)
    return case, names, args


def main() -> None:
    case, names, args = parsed()
    options = {name: getattr(args, name) for name in ("rounds", "alive", "iterations")}
    with tempfile.TemporaryDirectory() as folder:
        try:
            outcomes = compare(case, names, Path(folder), **options)
        except Excluded as reason:
            sys.exit(f"error: {reason}")
    made = report(case, outcomes, args.rounds)
    made.show()
    if args.out:
        made.write(args.out)
    sys.exit(any("differs" in o for o in outcomes.values() if isinstance(o, str)))


if __name__ == "__main__":
    main()
