"""Filter rarefaction (à trous) equals shift-and-stitch, at a fraction of its cost.

Source: FCN papers, section 3.2: remove a layer's stride and dilate every later filter by it, layer
by layer until there is no subsampling; the net then gives the output of shift-and-stitch.
"""

from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from experiments.studies import command, costs
from experiments.studies.charts import save_chart
from experiments.studies.shift_and_stitch import MAPS, own_map, trunk_and_image, upsampled
from fcn_jax.nets.shift_and_stitch import margin, rarefied_map, shift_and_stitch


def largest_differences(
    trunk: nn.Module, variables: Any, images: Float[Array, "b h w c"], at: str
) -> tuple[float, float]:
    """Differences of the rarefied map from shift-and-stitch, and from the trunk's own map.

    Returns:
        Largest absolute differences over the map's largest absolute value. The first is over the
        cells inside the margin, the second over all cells at multiples of the stride.
    """

    def maps(variables: Any, images: Any) -> Any:
        return (
            rarefied_map(trunk, variables, images, at=at),
            shift_and_stitch(trunk, variables, images, at=at),
            own_map(trunk, variables, images, at),
        )

    rarefied, stitched, own = jax.jit(maps)(variables, images)
    largest = jnp.abs(rarefied.values).max()
    m, f = margin(own.grid, getattr(trunk, "ring", 0)), int(own.grid.stride)
    from_stitched = jnp.abs(rarefied.values - stitched.values)[:, m:, m:].max(initial=0)
    from_own = jnp.abs(rarefied.values[:, ::f, ::f] - own.values).max()
    return float(from_stitched / largest), float(from_own / largest)


def main(
    image: Path,
    weights: Path = Path("weights/squeezenet1_0.safetensors"),
    out: Path = Path("runs/studies"),
    size: int = 96,
    repeats: int = 3,
) -> None:
    """Compares filter rarefaction with shift-and-stitch and with plain upsampling.

    Args:
        image: a photograph.
        weights: SqueezeNet's (weights/README.md).
        out: folder for the plot.
        size: the photograph is resized to this many rows and columns.
        repeats: timed runs of each program, whose median is shown.
    """
    trunk, variables, pixels = trunk_and_image(weights, image, size)
    print("           largest difference from     operations x     time x            memory x")
    print(
        "map    f   stitched     the trunk   stitched    rare  stitched    rare  stitched    rare"
    )
    lines: dict[str, list[float | None]] = {"stitched": [], "rarefied": []}
    for at, f in MAPS.items():
        programs = {
            "plain": lambda v, x, at=at: upsampled(trunk, v, x, at),
            "stitched": lambda v, x, at=at: shift_and_stitch(trunk, v, x, at=at),
            "rarefied": lambda v, x, at=at: rarefied_map(trunk, v, x, at=at),
        }
        plain, stitched, rare = costs(programs, variables, pixels, repeats=repeats)
        differences = largest_differences(trunk, variables, pixels, at)
        times = [cost.seconds / plain.seconds for cost in (stitched, rare)]
        memory = [cost.memory / plain.memory for cost in (stitched, rare)]
        for line, value in zip(lines.values(), times, strict=True):
            line.append(value)
        print(
            f"{at:6}{f:3}{differences[0]:11.1e}{differences[1]:14.1e}{f * f:11}"
            f"{rare.flops / plain.flops:8.1f}{times[0]:10.1f}{times[1]:8.1f}"
            f"{memory[0]:10.1f}{memory[1]:8.1f}"
        )
    title = "time over plain upsampling"
    ticks = [str(f) for f in MAPS.values()]
    print(save_chart(out / "rarefaction.svg", title, ticks, lines, "stride"))


if __name__ == "__main__":
    command(main)
