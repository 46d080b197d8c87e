"""Dense maps by shift-and-stitch: their cost, and how bilinear upsampling differs from them.

Source: FCN papers, section 3.2: the outputs of f² shifted copies of the image, interlaced. The
papers use upsampling instead (section 3.3), since the net can learn to correct its interpolation;
they give no numbers.
"""

from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from PIL import Image

from experiments.studies import command, costs
from experiments.studies.charts import save_chart
from fcn_jax.data.readers import read_image
from fcn_jax.nets.fcn import upsampling_kernel
from fcn_jax.nets.inputs import as_image
from fcn_jax.nets.shift_and_stitch import shift_and_stitch
from fcn_jax.nets.trunks import SqueezeNet
from fcn_jax.nn.feature_map import FeatureMap, overlap
from fcn_jax.nn.upsampling import BilinearUpsampling
from fcn_jax.weights.weights_file import load_weights

MAPS = {"pool1": 4, "pool4": 8, "fire9": 16}
"""Maps of SqueezeNet and their strides."""


def own_map(trunk: nn.Module, variables: Any, images: Float[Array, "b h w c"], at: str) -> Any:
    """The trunk's own map."""
    ringed = as_image(images, None, jnp.float32).replace(ring=getattr(trunk, "ring", 0))
    maps: Any = trunk.apply(variables, ringed, train=False)
    return maps[at]


def upsampled(
    trunk: nn.Module, variables: Any, images: Float[Array, "b h w c"], at: str
) -> FeatureMap:
    """The trunk's map, bilinearly upsampled to a stride of 1."""
    coarse = own_map(trunk, variables, images, at)
    factor, kernel = upsampling_kernel(coarse, as_image(images, None, jnp.float32))
    fine: Any = BilinearUpsampling(factor, kernel, name="upscore").apply({}, coarse)
    return fine


def trunk_and_image(weights: Path, image: Path, size: int) -> tuple[Any, Any, Any]:
    """SqueezeNet with its smallest ring, its variables, and the photograph at `size` x `size`.

    Raises:
        ValueError: a file is missing, or is not an image or a weights file.
    """
    variables, about = load_weights(weights)
    resized = np.asarray(Image.fromarray(read_image(image)).resize((size, size)))
    preprocess: Any = about.preprocessing
    pixels = preprocess(jnp.asarray(resized[None]))
    return SqueezeNet(aligned=True), {"params": variables["params"]["trunk"]}, pixels


def interpolation_error(dense: FeatureMap, plain: FeatureMap) -> float:
    """Mean absolute difference where the maps overlap, over the dense map's mean deviation.

    0 if interpolation gives the dense map, about 1 if it gives only the map's mean.
    """
    shared = overlap(dense, plain)
    (i, j), (h, w) = shared.starts, shared.shape
    a, b = dense.values[:, i : i + h, i : i + w], plain.values[:, j : j + h, j : j + w]
    spread = jnp.abs(a - a.mean((0, 1, 2))).mean()
    return float(jnp.abs(a - b).mean() / spread)


def main(
    image: Path,
    weights: Path = Path("weights/squeezenet1_0.safetensors"),
    out: Path = Path("runs/studies"),
    size: int = 96,
    repeats: int = 3,
) -> None:
    """The cost of f² shifted copies, compared with one run and bilinear upsampling.

    Args:
        image: a photograph.
        weights: SqueezeNet's (weights/README.md).
        out: folder for the plot.
        size: the photograph is resized to this many rows and columns.
        repeats: timed runs of each program, whose median is shown.
    """
    trunk, variables, pixels = trunk_and_image(weights, image, size)
    print("map     stride  copies  time x  memory x  error of bilinear upsampling")
    ratios = []
    for at, f in MAPS.items():
        programs = {
            "plain": lambda v, x, at=at: upsampled(trunk, v, x, at),
            "dense": lambda v, x, at=at: shift_and_stitch(trunk, v, x, at=at),
        }
        plain, dense = costs(programs, variables, pixels, repeats=repeats)
        found = [jax.jit(program)(variables, pixels) for program in programs.values()]
        error = interpolation_error(found[1], found[0])
        ratios.append(dense.seconds / plain.seconds)
        memory = dense.memory / plain.memory
        print(f"{at:8}{f:6}{f * f:8}{ratios[-1]:8.1f}{memory:10.2f}{error:10.2f}")
    path = out / "shift_and_stitch.svg"
    lines = {"measured": ratios, "copies": [float(f * f) for f in MAPS.values()]}
    title = "time of shift-and-stitch over plain upsampling"
    print(save_chart(path, title, [str(f) for f in MAPS.values()], lines, "stride"))


if __name__ == "__main__":
    command(main)
