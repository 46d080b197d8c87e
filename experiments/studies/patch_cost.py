"""The time of patches compared with one pass over the whole image, forward and backward.

Source: FCN papers, section 3.1: AlexNet takes 1.2 ms for the scores of a 227x227 patch (5.4 ms
without batching); the convolutional version takes 22 ms for the 10x10 scores of a 500x500 image,
more than 5 times faster. Backward: 2.4 ms for one image (a patch) and 37 ms for the 10x10 map.
"""

from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from experiments.studies import command, costs
from experiments.studies.charts import save_chart
from fcn_jax.nets.fcn import Classifier
from fcn_jax.nets.trunks import AlexNet

PUBLISHED = {"forward": 100 * 1.2 / 22, "forward, one by one": 100 * 5.4 / 22, "backward": 240 / 37}
"""Time of 100 patches over that of one 500x500 image. Source: the milliseconds above."""


def ratios(
    net: nn.Module, variables: Any, *, size: int, patch: int, batch: int, repeats: int
) -> tuple[dict[str, float], int, float]:
    """Cost of the patches over cost of the whole image, for each kind of pass.

    The time of one batch of `batch` patches, or of one patch, is multiplied by their number.

    Returns:
        The ratios of time, the number of scores of the image, and the forward ratio of operations.
    """
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.normal(size=(1, size, size, 3)) * 50, jnp.float32)
    scores = jax.eval_shape(net.apply, variables, image)
    count = scores.shape[1] * scores.shape[2]
    crops = jnp.asarray(rng.normal(size=(batch, patch, patch, 3)) * 50, jnp.float32)

    def loss(variables: Any, images: Any) -> Any:
        scores: Any = net.apply(variables, images)
        return jnp.mean(scores**2)

    backward = jax.grad(loss)
    whole, many, one, whole_back, many_back = costs(
        {
            "image": lambda v, x, crops: net.apply(v, x),
            "patches": lambda v, x, crops: net.apply(v, crops),
            "patch": lambda v, x, crops: net.apply(v, crops[:1]),
            "image, backward": lambda v, x, crops: backward(v, x),
            "patches, backward": lambda v, x, crops: backward(v, crops),
        },
        variables,
        image,
        crops,
        repeats=repeats,
    )
    # A gradient includes a forward pass, the published times do not.
    back = whole_back.seconds - whole.seconds
    times = {
        "forward": many.seconds * count / batch / whole.seconds,
        "forward, one by one": one.seconds * count / whole.seconds,
        "backward": (many_back.seconds - many.seconds) * count / batch / back,
    }
    return times, count, many.flops * count / batch / whole.flops


def main(
    out: Path = Path("runs/studies"), size: int = 500, batch: int = 10, repeats: int = 3
) -> None:
    """AlexNet on one image, and on the 227x227 patches of its scores.

    Args:
        out: folder for the plot.
        size: rows and columns of the image.
        batch: patches per run.
        repeats: timed runs of each program, whose median is shown.
    """
    net = Classifier(trunk=AlexNet())
    variables = net.init(jax.random.key(0), jnp.zeros((1, 227, 227, 3)))
    found, count, operations = ratios(
        net, variables, size=size, patch=227, batch=batch, repeats=repeats
    )
    print(f"{count} patches of 227x227 over one {size}x{size} image of {count} scores")
    print("                      published    ours")
    for name, value in found.items():
        print(f"{name:22}{PUBLISHED[name]:9.1f}{value:8.1f}")
    print(f"{'operations, forward':22}{'':9}{operations:8.1f}")
    lines = {"published": [*PUBLISHED.values()], "ours": [*found.values()]}
    title = "time of the patches over time of the image"
    print(save_chart(out / "patch_cost.svg", title, [*found], lines))


if __name__ == "__main__":
    command(main)
