"""Time and memory of a loss and its gradient, with and without row tiles of the scores.

    python benchmarks/scores_memory.py [--net]

Without `--net`: runs only the last upsampling, crop, softmax loss and their gradient, in turns.
With it: compiles the loss and gradient of FCN-8s VGG16 and prints their temporary memory.
"""

import argparse
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import fcn_jax as fcn
from fcn_jax.devices.compiling import jit
from fcn_jax.losses import Normalization, softmax_loss
from fcn_jax.metrics import confusion_matrix
from fcn_jax.nn import savings
from fcn_jax.nn.coarse_scores import CoarseScores, best_classes, scores_of, sum_over_tiles
from fcn_jax.nn.upsampling import BilinearUpsampling

SIZE, CLASSES, TURNS = (512, 512), (21, 150), 7


def programs(classes: int) -> dict[str, Any]:
    """Loss and gradient, labels, and confusion matrix; from tiles and from all scores at once."""
    h, w = SIZE
    labels = jnp.asarray(np.random.default_rng(0).integers(0, classes, (1, h, w)))

    def scores(values: Any, tiled: bool) -> Any:
        coarse = CoarseScores(values, None, None, None, BilinearUpsampling(8, 16), 4, SIZE)
        return coarse if tiled else coarse.dense()

    def loss(values: Any, tiled: bool) -> Any:
        given = scores(values, tiled)
        return softmax_loss(given, labels, normalization=Normalization.SUM)

    def counts(values: Any, tiled: bool) -> Any:
        def of_rows(scores: Any, labels: Any) -> Any:
            return confusion_matrix(labels, jnp.argmax(scores, -1), classes)

        return sum_over_tiles(of_rows, scores(values, tiled), labels)

    functions = {
        "loss and gradient": jax.value_and_grad(loss),
        "labels": lambda values, tiled: best_classes(scores(values, tiled)),
        "confusion matrix": counts,
    }
    return {
        f"{name}, {'tiles' if tiled else 'every pixel'}": jit(
            lambda values, f=function, t=tiled: f(values, t)
        )
        for name, function in functions.items()
        for tiled in (True, False)
    }


def measure_scores() -> None:
    """Prints the time and memory of the scores' part of the loss."""
    for classes in CLASSES:
        values = jnp.asarray(np.random.default_rng(0).normal(0, 1, (1, 66, 66, classes)), "float32")
        made, times = programs(classes), {}
        for name, program in made.items():
            jax.block_until_ready(program(values))
            times[name] = []
        for _ in range(TURNS):
            for name, program in made.items():
                start = time.perf_counter()
                jax.block_until_ready(program(values))
                times[name].append(time.perf_counter() - start)
        print(f"{classes} classes, {SIZE[0]}x{SIZE[1]}")
        for name, taken in times.items():
            memory = made[name].lower(values).compile().memory_analysis().temp_size_in_bytes
            print(f"  {name:32} {1e3 * statistics.median(taken):6.0f} ms {memory / 1e6:6.0f} MB")


def measure_net() -> None:
    """Prints the temporary memory of a net's loss and gradient."""
    images = jax.ShapeDtypeStruct((1, *SIZE, 3), jnp.float32)
    labels = jax.ShapeDtypeStruct((1, *SIZE), jnp.int32)
    for classes in CLASSES:
        for tiled in (True, False):
            net = fcn.FCN8s(fcn.VGG16(), classes)
            variables = jax.eval_shape(net.init, jax.random.key(0), images)

            def loss(variables: Any, images: Any, labels: Any, net: Any = net) -> Any:
                keys = {"dropout": jax.random.key(0)}
                scores = scores_of(net, variables, images, train=True, rngs=keys)
                return softmax_loss(scores, labels, normalization=Normalization.SUM)

            with savings.use(row_tiles=tiled):
                compiled = jit(jax.grad(loss)).lower(variables, images, labels).compile()
            memory = compiled.memory_analysis().temp_size_in_bytes
            print(
                f"{classes} classes, {'tiles' if tiled else 'every pixel'}: {memory / 1e6:.0f} MB"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--net", action="store_true")
    (measure_net if parser.parse_args().net else measure_scores)()
