"""Predicts images of growing size by tiles: constant memory, time proportional to the pixels.

    python benchmarks/large_image.py                   # 2,500 to 20,000 pixels per side
    python benchmarks/large_image.py --size 3000 --tile 1024

For each size an image is generated and written as a PNG, some rows at a time, and predicted from
file to file by FCN-8s on SqueezeNet with random parameters. Each size has its own process, whose
peak memory is printed; the net is compiled before the clock starts.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import fcn_jax as fcn
from fcn_jax.inference.large_files.strips import write_strips
from fcn_jax.inference.tiling import TiledPredictor
from fcn_jax.preprocessing import CAFFE

CLASSES = 21
ROWS = 256  # per write


def picture(size: int) -> Iterator[np.ndarray]:
    """Waves and noise, some rows at a time."""
    rng = np.random.default_rng(0)
    x = np.arange(size)[None, :, None] / np.array([31.0, 67.0, 113.0])
    noise = rng.integers(0, 32, (ROWS, size, 3))
    for top in range(0, size, ROWS):
        y = np.arange(top, min(top + ROWS, size))[:, None, None] / np.array([59.0, 41.0, 97.0])
        yield (112 + 100 * np.sin(x + np.sin(y)) + noise[: len(y)]).astype(np.uint8)


def predictor(tile: int | str) -> TiledPredictor:
    trunk = fcn.SqueezeNet(aligned=True)
    net = fcn.FCN8s(trunk, CLASSES, skips=("fire8", "fire4"))
    shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    rng = np.random.default_rng(0)

    def draw(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        value = rng.normal(size=leaf.shape) / max(np.prod(leaf.shape[:-1]), 1) ** 0.5
        return value.astype(np.float32)

    return TiledPredictor(net, jax.tree.map(draw, shapes), CAFFE, tile=tile)  # type: ignore


def peak() -> float:
    """Peak memory of this process in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def measure(size: int, tile: int | str) -> None:
    predict = predictor(tile)
    side = min(size, predict.tile)
    predict(np.zeros((side, side, 3), np.uint8))
    compiled = peak()
    with tempfile.TemporaryDirectory() as folder:
        image, label = Path(folder) / "image.png", Path(folder) / "label.png"
        write_strips(image, (size, size), picture(size))
        start = time.monotonic()
        predict.predict_file(image, label)
        seconds = time.monotonic() - start
    print(
        f"{size:>6} x {size:<6} tile {predict.tile}  {seconds:8.1f} s  "
        f"{size**2 / seconds / 1e6:6.3f} Mpx/s  peak {peak():6.0f} MB, "
        f"{compiled:.0f} MB before the image",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore
    parser.add_argument("--size", type=int, help="one size, in this process")
    parser.add_argument("--tile", default="1024", help="pixels, or auto")
    args = parser.parse_args()
    if args.size:
        measure(args.size, args.tile if args.tile == "auto" else int(args.tile))
        return
    for size in (2500, 5000, 10_000, 20_000):
        command = [sys.executable, __file__, "--size", str(size), "--tile", args.tile]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
