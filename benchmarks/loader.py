"""Images per second from files: our read-ahead and PyTorch's DataLoader, in turns.

    python -m benchmarks.loader                         # single images as they are
    python -m benchmarks.loader --batch 8 --augment --workers 0,2,4 --out loader.md

JPEGs of 375x500 with the 94 kB of a photograph, and label PNGs, are made in a temporary folder.
Both libraries read them with Pillow and, with `--augment`, apply `Augment`. They differ in what
runs this work: Grain's threads, or worker processes. A turn is one pass over all files, from the
first read to the last. Before that, every contestant gives the sums of all pixels and labels as
they are on disk; it is not timed if its sums differ from the first contestant's.
"""

import argparse
import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.report import Report, machine
from benchmarks.turns import Contestant, Excluded, Quartiles, ratios, take_turns

SIZE = (375, 500)
MODULE = "benchmarks.contestants.loading"


def make_files(folder: Path, count: int, size: tuple[int, int] = SIZE) -> int:
    """Writes `images/*.jpg` and `labels/*.png`; returns the mean bytes of a JPEG.

    The images are noise on four scales, which compresses roughly as photographs do.
    """
    rng = np.random.default_rng(0)
    h, w = size
    for name in ("images", "labels"):
        (folder / name).mkdir()
    for i in range(count):
        picture = np.full((h, w, 3), 128.0)
        for cells, amplitude in ((4, 60), (16, 40), (64, 30), (256, 40)):
            noise = rng.uniform(-1, 1, (cells * h // w + 1, cells, 3)) * 127 + 128
            grown = Image.fromarray(noise.astype(np.uint8)).resize((w, h), Image.Resampling.BICUBIC)
            picture += (np.asarray(grown, np.float32) / 128 - 1) * amplitude
        image = Image.fromarray(picture.clip(0, 255).astype(np.uint8))
        image.save(folder / "images" / f"{i:04}.jpg", quality=92)
        coarse = rng.integers(0, 21, (5, 7), np.uint8)
        label = Image.fromarray(coarse).resize((w, h), Image.Resampling.NEAREST)
        label.save(folder / "labels" / f"{i:04}.png")
    sizes = [path.stat().st_size for path in (folder / "images").iterdir()]
    return sum(sizes) // len(sizes)


def contestants(args: argparse.Namespace, folder: str) -> Iterator[Contestant | str]:
    """Each contestant, or the reason why it cannot take part."""
    sums = None
    shared = {"folder": folder, "batch": args.batch, "augment": args.augment}
    for workers in map(int, args.workers.split(",")):
        for library, kind in (("fcn_jax", "threads"), ("torch", "processes")):
            own = json.dumps(
                {**shared, "library": library, "workers": workers, "processors": args.threads}
            )
            env = {"JAX_PLATFORMS": "cpu"}
            name = f"{library}, {workers} {kind}"
            try:
                made = Contestant(name, MODULE, own, threads=args.threads, env=env)
            except Excluded as reason:
                yield str(reason)
                continue
            sums = sums or made.ready["sums"]
            if made.ready["sums"] != sums:
                made.close()
                yield f"{name}: its pixels differ from the first contestant's"
                continue
            yield made


def report(args: argparse.Namespace, took_part: list[Contestant], not_timed: list[str]) -> Report:
    """The table; the others are compared with the first contestant."""

    def per_second(contestant: Contestant) -> Quartiles:
        return Quartiles.of([args.files / turn["seconds"] for turn in contestant.turns])

    kind = "augmented" if args.augment else "as they are"
    return Report(
        title=f"images per second, {SIZE[0]}x{SIZE[1]}, batch {args.batch}, {kind}",
        about=[
            f"{args.threads} processors; {args.rounds} rounds of turns of {args.files} images;"
            " median (first and third quartile)",
            *machine(),
            *(f"not timed: {reason}" for reason in not_timed),
        ],
        columns=("", "images/s", f"time over {took_part[0].name}"),
        rows=[[c.name, str(per_second(c)), str(ratios(c, took_part[0]))] for c in took_part],
        raw={"turns": {c.name: c.turns for c in took_part}},
    )


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--augment", action="store_true", help="scale, crop, mirror, recolour")
    parser.add_argument("--workers", default="0,2,4", help="threads or worker processes")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="processors")
    parser.add_argument("--out", type=Path, help="FILE.md; FILE.json has every turn")
    args = parser.parse_args()
    if args.files % args.batch:
        parser.error(f"--files: expected a multiple of --batch {args.batch}, found {args.files}")
    return args


def main() -> None:
    args = parsed()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        size = make_files(Path(folder), args.files)
        print(f"{args.files} JPEGs of {size / 1000:.0f} kB on average")
        took_part, not_timed = [], []
        for contestant in contestants(args, folder):
            if isinstance(contestant, str):
                not_timed.append(contestant)
            else:
                took_part.append(stack.enter_context(contestant))
        take_turns(took_part, args.rounds)
    made = report(args, took_part, not_timed)
    made.show()
    if args.out:
        made.write(args.out)


if __name__ == "__main__":
    main()
