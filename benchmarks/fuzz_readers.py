"""Damages files of every kind at random and reads them: expects one clear error and little memory.

    nice python benchmarks/fuzz_readers.py --files 100000

The sound files and their readers are in `tests/fuzz_samples.py`: images in all ways to read them,
labels, `.mat`, lists, weights, run folders and archives. The damage: bits, bytes, lengths, cuts,
repetitions, pieces of other files. A damaged file must be read, or refused with a ValueError that
names it. Each batch runs in a process of its own, so a signal is counted like any other failure.
Files at which a reader fails are kept in `--keep`.
"""

import argparse
import collections
import gc
import json
import random
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import foreign_files  # noqa: E402  # pyright: ignore[reportMissingImports]
import fuzz_samples  # noqa: E402  # pyright: ignore[reportMissingImports]
from fuzz_samples import Kind  # noqa: E402  # pyright: ignore[reportMissingImports]

BATCH = 2_000
SECONDS = 60  # after which a file counts as one that is never read
MOST_MEMORY = 64 << 20
"""Upper bound on the bytes that Python and numpy allocate for a damaged file of some kilobytes."""

EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 32, (1 << 63) - 1, (1 << 64) - 1)


def mutated(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """The content after one to eight random changes."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 8))):
        at = rng.randrange(len(data) + 1)
        length = rng.randrange(1, 17)
        kind = rng.randrange(9)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < len(data):
            data[at] = rng.randrange(256)
        elif kind == 2:
            del data[at:]
        elif kind == 3:
            del data[at : at + length]
        elif kind == 4:
            data[at:at] = data[at : at + length] * rng.choice((1, 2, 50))
        elif kind == 5:
            code = rng.choice(("<H", "<I", "<Q", ">H", ">I", ">Q"))
            mask = (1 << 8 * struct.calcsize(code)) - 1
            number = struct.pack(code, rng.choice(EXTREMES) & mask)
            data[at : at + len(number)] = number
        elif kind == 6:
            data[at : at + length] = foreign_files.varint(rng.choice(EXTREMES))
        elif kind == 7:
            other = rng.choice(others)
            start = rng.randrange(len(other) + 1)
            data[at : at + length] = other[start : start + rng.randrange(1, 65)]
        else:
            data[at:at] = rng.randbytes(length)
    return bytes(data)


def use(value: object) -> Iterator[float]:
    """Sums every array that a reader gave, so that all of it is read."""
    if isinstance(value, np.ndarray):
        with np.errstate(all="ignore"):
            yield float(value.sum()) if value.dtype.kind in "fiub" else 0.0
    elif isinstance(value, dict):
        yield from use(list(value.values()))
    elif isinstance(value, list | tuple | Iterator):
        for item in value:
            yield from use(item)
    else:
        yield 0.0


def damaged(kinds: dict[str, Kind], number: int, seed: int) -> tuple[str, bytes]:
    """Name of the kind and content of a damaged file; a function of number and seed."""
    rng = random.Random(f"{seed}/{number}")
    name = list(kinds)[number % len(kinds)]
    others = kinds[rng.choice(list(kinds))].contents
    return name, kinds[name].stored(mutated(rng.choice(kinds[name].contents), others, rng))


def outcome(kind: Kind, path: Path) -> str:
    """`read`, `refused`, or what went wrong."""
    tracemalloc.start()
    try:
        list(use(kind.read(path)))
        result = "read"
    except ValueError as error:
        result = "refused"
        if str(path.parent) not in str(error):  # the folder of a run may be named
            result = f"an error that does not name its file: {error!r}"
    except Exception as error:
        result = f"{type(error).__name__}: {error}"
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return result if used < MOST_MEMORY else f"{used >> 20} MiB of memory"


def fuzz(first: int, files: int, seed: int, folder: Path) -> Iterator[tuple[str, str]]:
    """Reads damaged files in a folder, and gives for each its kind and what came of it.

    While a file is read, `folder/now` holds it.
    """
    kinds = fuzz_samples.kinds()
    (folder / "now").mkdir()
    for number in range(first, first + files):
        name, content = damaged(kinds, number, seed)
        fuzz_samples.empty(folder / "now")
        path = folder / "now" / kinds[name].name
        path.write_bytes(content)
        (folder / "number").write_text(f"{number} {name}")
        yield name, outcome(kinds[name], path)


def run_batch(first: int, files: int, seed: int, folder: Path) -> None:
    """A child process: prints kind and outcome of each file, and its own memory in KB so far."""
    import warnings

    warnings.simplefilter("ignore")
    for done in fuzz(first, files, seed, folder):
        gc.collect(0)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(json.dumps([*done, memory]), flush=True)
        signal.alarm(SECONDS)


def batches(files: int, seed: int, keep: Path) -> Iterator[tuple[str, str, int]]:
    """The outcomes of all batches; after a signal, the next one begins behind the file."""
    first = 0
    while first < files:
        count = min(BATCH, files - first)
        with tempfile.TemporaryDirectory(prefix="fuzz_") as folder:
            command = [sys.executable, __file__, "--batch", str(first), str(count), folder]
            child = subprocess.run(
                [*command, "--seed", str(seed)], stdout=subprocess.PIPE, text=True, check=False
            )
            done = [json.loads(line) for line in child.stdout.splitlines()]
            if child.returncode:
                number, name = (Path(folder) / "number").read_text().split(" ", 1)
                assert child.returncode < 0, f"the batch from {first} on failed"
                done.append([name, f"signal {-child.returncode}", 0])
                assert int(number) == first + len(done) - 1
        for number, (name, result, memory) in enumerate(done, first):
            if result not in ("read", "refused"):
                keep.mkdir(parents=True, exist_ok=True)
                kinds = fuzz_samples.kinds()
                file = keep / f"{number}_{kinds[name].name}"
                file.write_bytes(damaged(kinds, number, seed)[1])
                print(f"{file} ({name}): {result}", file=sys.stderr, flush=True)
                result = "FAILED"
            yield name, result, memory
        first += len(done)


def main() -> int:
    """The command line; 1 if a reader failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("fuzz_failures"))
    parser.add_argument("--batch", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.batch:
        first, files, folder = args.batch
        run_batch(int(first), int(files), args.seed, Path(folder))
        return 0
    start, most = time.time(), 0
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for name, result, memory in batches(args.files, args.seed, args.keep):
        counts[name][result] += 1
        most = max(most, memory)
    total = sum(counts.values(), collections.Counter())
    for name, count in [*counts.items(), ("all", total)]:
        print(f"{name:28}", *(f"{count[r]:7} {r}" for r in ("read", "refused", "FAILED")))
    print(
        f"{args.files} files in {time.time() - start:.0f} s, a process had {most >> 10} MiB at most"
    )
    return int(total["FAILED"] > 0)


if __name__ == "__main__":
    sys.exit(main())
