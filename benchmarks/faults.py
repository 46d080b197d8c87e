"""A campaign of faults: what becomes of runs that are killed, damaged, or find the disk full.

    python benchmarks/faults.py

Trains `tests/tiny_recipe.py` once undisturbed. Every fault hits another run, which is then started
again with the same command. It must end with the same `metrics.jsonl`, byte for byte, and with the
same bits in every array of the last checkpoint:

- kills: SIGKILL at random moments, a quarter of them while a checkpoint is being written.
- damaged: a file of the latest checkpoint is cut off, emptied, overwritten or deleted.
- flips: one bit of the latest checkpoint is another.
- disk: the disk is full at several sizes (a tmpfs where this may be mounted, otherwise a limit on
  the size of files), and then it is not.
- processes: of two, one is killed in training, in a save and in an evaluation.

Prints one line for each fault and a table: how many were resumed exactly from the latest
checkpoint, how many from the one before it with a message, and how many ended otherwise. Exits
with status 1 if there are any of these.
"""

import argparse
import collections
import contextlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from fault_runs import differences, finish, kill, several, start, steps_of

UNFINISHED = "*.orbax-checkpoint-tmp*"
EXACT, FELL_BACK, WRONG = "exact", "from the checkpoint before", "otherwise"


class Campaign:
    """Runs below a folder, and what became of them.

    Args:
        folder: for the runs.
        seed: of the random moments and places.
    """

    def __init__(self, folder: Path, seed: int):
        self.folder, self.random = folder, random.Random(seed)
        self.whole = folder / "whole"
        self.counts: dict[str, collections.Counter[str]] = {}
        finish(start(self.whole))
        started = time.monotonic()
        finish(start(folder / "again"))  # all programs are in the compile cache by now
        self.seconds = time.monotonic() - started
        assert not differences(self.whole, folder / "again")
        print(f"an undisturbed run takes {self.seconds:.1f} s; two are the same", flush=True)

    def judge(self, kind: str, what: str, run: Path, said: str, whole: Path | None = None) -> None:
        """Compare a finished run with the undisturbed one, count it and print a line."""
        wrong = differences(whole or self.whole, run)
        end = WRONG if wrong else FELL_BACK if "instead" in said else EXACT
        self.count(kind, what, end, "; ".join(wrong[:3]))
        shutil.rmtree(run)

    def count(self, kind: str, what: str, end: str, why: str = "") -> None:
        """Count what became of a run, and print a line."""
        self.counts.setdefault(kind, collections.Counter())[end] += 1
        print(f"{kind}: {what}: {end}{f' ({why})' if why else ''}", flush=True)

    def table(self) -> str:
        """A Markdown table of the counts."""
        ends = (EXACT, FELL_BACK, WRONG)
        rows = [["fault", "times", *ends]]
        rows += [
            [kind, str(counts.total()), *(str(counts[end]) for end in ends)]
            for kind, counts in self.counts.items()
        ]
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])

    def half_done(self) -> Path:
        """A copy of a run that was killed when it had two checkpoints."""
        made = self.folder / "half_done"
        while len(steps_of(made)) < 2:
            shutil.rmtree(made, ignore_errors=True)
            process = start(made)
            while process.poll() is None and not (
                max(steps_of(made), default=0) > 12 and len(steps_of(made)) > 1
            ):
                time.sleep(0.001)
            kill(process)
            for unfinished in made.glob(f"checkpoints/{UNFINISHED}"):
                shutil.rmtree(unfinished)
        copy = self.folder / "damaged"
        shutil.copytree(made, copy)
        return copy


def kills(campaign: Campaign, times: int) -> None:
    """SIGKILL; a run is killed again and again until it ends by itself."""
    done = number = 0
    while done < times:
        number += 1
        run, kinds = campaign.folder / f"killed{number}", []
        while done < times and (process := start(run)):
            step = max(steps_of(run), default=0)
            later = campaign.random.choice(range(step, 30, 3)) if step < 30 else 30
            while process.poll() is None and max(steps_of(run), default=0) < later:
                time.sleep(0.001)
            if done % 4 == 3:  # the next save
                while process.poll() is None and not any(run.glob(f"checkpoints/{UNFINISHED}")):
                    time.sleep(0.001)
                time.sleep(campaign.random.uniform(0, 0.02))
            elif later == step:  # importing, checking data, compiling, restoring
                time.sleep(campaign.random.uniform(0, campaign.seconds))
            else:  # training, evaluating, saving
                time.sleep(campaign.random.uniform(0, 0.3))
            if process.poll() is not None:
                process.communicate()
                break
            process.send_signal(signal.SIGSTOP)
            inside = any(run.glob(f"checkpoints/{UNFINISHED}"))
            kill(process)
            done += 1
            kinds.append(("kills inside a save" if inside else "other kills", steps_of(run)[-1:]))
        finish(start(run))
        wrong = differences(campaign.whole, run)
        for kind, last in kinds:
            what = f"run {number}, after checkpoint {last[0] if last else 'none'}"
            campaign.count(kind, what, WRONG if wrong else EXACT, "; ".join(wrong[:3]))
        shutil.rmtree(run)


def damaged(campaign: Campaign, times: int, flips: int) -> None:
    """Files of the latest checkpoint that are not what was written."""
    for n in range(times + flips):
        run = campaign.half_done()
        step = steps_of(run)[-1]
        files = sorted(p for p in (run / "checkpoints" / str(step)).rglob("*") if p.is_file())
        file = campaign.random.choices(files, [200 + p.stat().st_size for p in files])[0]
        content = bytearray(file.read_bytes())
        how = ("cut off", "emptied", "overwritten", "deleted")[n % 4]
        if n >= times:
            bit = campaign.random.randrange(8 * len(content)) if content else 0
            how = f"bit {bit}"
            if content:
                content[bit // 8] ^= 1 << bit % 8
        elif how == "overwritten":
            content[:] = campaign.random.randbytes(len(content))
        else:
            del content[len(content) // 2 if how == "cut off" else 0 :]
        file.write_bytes(content)
        if how == "deleted":
            file.unlink()
        said = finish(start(run))
        name = file.relative_to(run / "checkpoints" / str(step))
        campaign.judge("flipped bits" if n >= times else "damage", f"{name} {how}", run, said)


@contextlib.contextmanager
def disk(folder: Path, size: int) -> Iterator[bool]:
    """A file system of `size` bytes at a folder; False where it cannot be mounted."""
    folder.mkdir(exist_ok=True)
    options = ["-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    mounted = not subprocess.run(["mount", *options], capture_output=True, check=False).returncode
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


def full_disk(campaign: Campaign, sizes: int) -> None:
    """One message that names a file or folder; with space, the run resumes."""
    most = sum(p.stat().st_size for p in campaign.whole.rglob("*") if p.is_file())
    for n in range(1, sizes + 1):
        size, folder = 3 * most * n // sizes, campaign.folder / "disk"
        with disk(folder, size) as mounted:
            run = folder / "run"
            process = start(run, None if mounted else size // 8)
            said, _ = process.communicate()
            what = f"{size >> 10} KiB{'' if mounted else ' / 8 for each file'}"
            errors = [line for line in said.splitlines() if line.startswith("error: ")]
            if process.returncode:
                what += f", stopped after checkpoint {steps_of(run)[-1:]}"
            else:
                what += ", enough"
            fails = process.returncode and not (len(errors) == 1 and str(run) in errors[0])
            if fails or "Traceback" in said:
                campaign.count("full disk", what, WRONG, said[-500:])
                continue
            if mounted:
                remount = ["mount", "-o", f"remount,size={100 * most}", str(folder)]
                subprocess.run(remount, check=True)
            campaign.judge("full disk", what, run, finish(start(run)))


def two_processes(campaign: Campaign) -> None:
    """One of two is killed; the other one must end and say what to do."""
    whole = campaign.folder / "whole_of_two"
    several(whole, "", "")
    for dies in "10":
        for what in ("training", "save", "evaluation"):
            run = campaign.folder / f"{what}{dies}"
            ends = several(run, dies, what)
            told = f"process {dies} killed in {what}"
            status, said = ends[1 - int(dies)]
            if status == 0 or not (
                "Start all of them again" in said or "another task died" in said
            ):
                campaign.count("two processes", told, WRONG, f"status {status}: {said[-300:]}")
                continue
            assert ends[int(dies)][0] == -signal.SIGKILL
            ends = several(run, "", "")
            if [status for status, _ in ends] != [0, 0]:
                campaign.count("two processes", told, WRONG, str(ends)[-300:])
                continue
            campaign.judge("two processes", told, run, ends[0][1], whole)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--damaged", type=int, default=20)
    parser.add_argument("--flips", type=int, default=20)
    parser.add_argument("--sizes", type=int, default=5)
    parser.add_argument("--no-processes", dest="processes", action="store_false")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", help="for the runs; a temporary one by default")
    args = parser.parse_args()
    if args.folder:
        Path(args.folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        campaign = Campaign(Path(folder), args.seed)
        kills(campaign, args.kills)
        damaged(campaign, args.damaged, args.flips)
        full_disk(campaign, args.sizes)
        if args.processes:
            two_processes(campaign)
    print(f"\n{campaign.table()}")
    if any(counts[WRONG] for counts in campaign.counts.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
