"""Damages weight files at random and reads them: expects one clear error and little memory.

    python benchmarks/fuzz_readers.py --files 50000

Small valid files of every format are mutated (bits, bytes, lengths, cuts, repetitions, pieces of
other files); in formats with checksums the content is mutated before its checksum is computed. Each
reader must give usable arrays or raise a ValueError that names the file.
"""

import argparse
import collections
import io
import json
import random
import resource
import shutil
import struct
import sys
import tempfile
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import safetensors.numpy

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import foreign_files  # noqa: E402  # pyright: ignore[reportMissingImports]

from fcn_jax.weights.foreign.caffe import read_exported  # noqa: E402
from fcn_jax.weights.foreign.caffemodel import read_caffemodel  # noqa: E402
from fcn_jax.weights.foreign.npz import read_npz  # noqa: E402
from fcn_jax.weights.foreign.pth import read_pth  # noqa: E402
from fcn_jax.weights.weights_file import load_weights  # noqa: E402

MOST_MEMORY = 64 << 20
"""Upper bound on the bytes for reading one damaged file of some kilobytes."""

EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 32, (1 << 63) - 1, (1 << 64) - 1)


def samples() -> dict[str, tuple[Callable, str, list[bytes], Callable]]:
    """By name: the reader, the suffix, valid contents, and a function from content to file."""
    rng = np.random.default_rng(0)
    arrays = {"conv1.weight": rng.normal(size=(2, 3, 2, 2)), "conv1.bias": rng.normal(size=2)}
    arrays = {name: a.astype(np.float32) for name, a in arrays.items()}
    blobs = {"conv1": list(arrays.values()), "scale_pool4": [np.ones(3)]}
    nets = [
        foreign_files.caffemodel(blobs, v1=v1, packed=packed, double=double)
        for v1 in (True, False)
        for packed in (True, False)
        for double in (True, False)
    ]
    tensors, storages = foreign_files.state_dict(arrays)
    checkpoint = {"epoch": 3, "model_state_dict": tensors, "names": ["a", ("b", None)]}
    pickles = [foreign_files.pickled(value) for value in (tensors, checkpoint)]
    weights = {"params/trunk/conv1/kernel": np.ones((2, 2), np.float32)}
    about = {
        "format": "fcn_jax weights 1",
        "architecture": "VGG16",
        "num_classes": 2,
        "preprocessing": {"channels": "BGR", "mean": [1.0, 2.0, 3.0], "std": [1.0, 1.0, 1.0]},
        "source": "x",
    }
    own = safetensors.numpy.save(weights, {"fcn_jax": json.dumps(about)})
    npz = io.BytesIO()
    np.savez(npz, allow_pickle=False, **{"conv1/w": np.ones((2, 3)), "conv1/b": np.ones(2)})
    npy = io.BytesIO()
    np.save(npy, np.ones((2, 3), np.float32))

    def archived(content: bytes) -> bytes:
        return foreign_files.archive(content, storages)

    def streamed(content: bytes) -> bytes:
        return foreign_files.stream(content, storages)

    def zipped(content: bytes) -> bytes:
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w") as file:
            file.writestr("conv1/w.npy", content)
        return made.getvalue()

    return {
        "caffemodel": (read_caffemodel, ".caffemodel", nets, bytes),
        "pth archive": (read_pth, ".pth", [archived(p) for p in pickles], bytes),
        "pickle in an archive": (read_pth, ".pth", pickles, archived),
        "pth stream": (read_pth, ".pth", [streamed(p) for p in pickles], bytes),
        "pickle in a stream": (read_pth, ".pth", pickles, streamed),
        "npz": (read_npz, ".npz", [npz.getvalue()], bytes),
        "npy in an npz": (read_exported, ".npz", [npy.getvalue()], zipped),
        "safetensors": (load_weights, ".safetensors", [own], bytes),
    }


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
            code = rng.choice(("<H", "<I", "<Q", ">I", ">Q"))
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
    if isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from use(item)
    elif isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        with np.errstate(all="ignore"):
            yield float(value.sum())


def fuzz(files: int, seed: int, folder: Path) -> collections.Counter[str]:
    """Reads damaged files and counts, for each kind, how many were read and how many refused.

    Raises:
        AssertionError: an error does not name its file, or a file took too much memory.
        Exception: any error of a reader that is not a ValueError; `folder` holds the file.
    """
    rng = random.Random(seed)
    kinds = samples()
    everything = [content for _, _, contents, _ in kinds.values() for content in contents]
    counts: collections.Counter[str] = collections.Counter()
    tracemalloc.start()
    for i in range(files):
        name, (read, suffix, contents, made) = list(kinds.items())[i % len(kinds)]
        path = folder / f"damaged{suffix}"
        path.unlink(missing_ok=True)  # the last one may still be memory-mapped
        path.write_bytes(made(mutated(rng.choice(contents), everything, rng)))
        tracemalloc.reset_peak()
        try:
            list(use(read(path)))
            counts[f"{name}: read"] += 1
        except ValueError as error:
            assert str(path) in str(error), f"{name}: {error!r} does not name its file"
            counts[f"{name}: refused"] += 1
        peak = tracemalloc.get_traced_memory()[1]
        assert peak < MOST_MEMORY, f"{name}: {peak >> 20} MiB for {path.stat().st_size} bytes"
    tracemalloc.stop()
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    start = time.process_time()
    folder = Path(tempfile.mkdtemp(prefix="fuzz_"))  # kept if a reader fails
    counts = fuzz(args.files, args.seed, folder)
    shutil.rmtree(folder)
    for line, count in sorted(counts.items()):
        print(f"{count:8d}  {line}")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"{args.files} files in {time.process_time() - start:.0f} s, {memory} MiB at most")


if __name__ == "__main__":
    main()
