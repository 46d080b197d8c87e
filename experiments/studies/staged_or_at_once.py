"""Three stages, each with one more skip, or all skips at once in as many steps.

Source: FCN papers, section 4.3 (32s, then 16s, then 8s; the learning rate is divided by 100 each
time) and TPAMI 2017, section 4.3 (all at once; a constant per skip gives its features the same mean
size); rows FCN-8s and FCN-8s-at-once of TPAMI table 3, VGG16 on VOC. Here the strides are
SqueezeNet's 16, 8 and 4. The rate is divided by 10 each time, because a hundredth would have no
effect in so few steps.
"""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from experiments.studies import command
from experiments.studies.curves import convergence_table, mean_iu, save_curves, scores_table
from experiments.studies.learning import Variant, batches_of, train
from experiments.studies.setting import Setting
from fcn_jax.nets.fcn import FCN
from fcn_jax.nets.inputs import as_image
from fcn_jax.nn.feature_map import FeatureMap
from fcn_jax.optim import CaffeSGD
from fcn_jax.runs.recipe import Recipe
from fcn_jax.runs.start import starting_point

SKIPS = ("fire8", "fire4")
"""Maps of SqueezeNet at strides 8 and 4."""

PUBLISHED = {
    "staged, 8s": (91.2, 77.6, 65.5, 84.5),
    "at once, 8s": (91.1, 78.5, 65.4, 84.4),
    "first stage, 32s": (90.5, 76.5, 63.6, 83.5),
    "second stage, 16s": (91.0, 78.1, 65.0, 84.3),
}
"""Pixel accuracy, mean accuracy, mean IU, frequency weighted IU on seg11valid, per cent."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Setting):
    """Strides 16, 8 and 4 in stages, or all at once, on the same images.

    Attributes:
        steps: updates of each stage; training at once takes as many as all three stages.
        batch_size: images per update.
        learning_rate: of the first stage, and of training at once.
        drop: divides the rate at each later stage.
        points: how often both are scored during the steps of one stage.
    """

    steps: int = 80
    batch_size: int = 8
    learning_rate: float = 3e-5
    drop: float = 10.0
    points: int = 1


def scales(recipe: Recipe, skips: tuple[str, ...], weights: Path | None) -> tuple[float, ...]:
    """Factors that give each skip's features the mean size of the deepest map's.

    The size is the mean absolute value over the recipe's first batch, before training.
    """
    start = starting_point(recipe, Path("runs/studies"), weights)
    batch = batches_of(recipe)[0][0]
    trunk = recipe.model.trunk  # type: ignore[attr-defined]
    sizes = jnp.asarray(batch["size"])
    preprocess: Any = start.preprocessing
    image = as_image(preprocess(jnp.asarray(batch["image"]), sizes), sizes, jnp.float32)
    image = image.replace(ring=getattr(trunk, "ring", 0))

    @jax.jit
    def means(variables: Any, image: FeatureMap) -> tuple[Any, Any]:
        maps = trunk.apply(variables, image, train=False)
        mean = {name: jnp.abs(x.values).mean() for name, x in maps.items()}
        return [mean[name] for name in skips], mean[next(reversed(maps))]

    of_skips, deepest = means({"params": start.variables["params"]["trunk"]}, image)
    return tuple(float(deepest / mean) for mean in of_skips)


def variants(
    recipe: Recipe, skips: tuple[str, ...], skip_scales: tuple[float, ...], drop: float
) -> dict[str, Variant]:
    """Each stage takes the recipe's steps; training at once takes their sum."""

    def stage(number: int) -> Recipe:
        optimizer = recipe.optimizer
        assert isinstance(optimizer, CaffeSGD) and not callable(optimizer.learning_rate)
        rate = optimizer.learning_rate / drop**number
        return dataclasses.replace(
            recipe,
            model=_net(recipe, skips[:number], ()),
            optimizer=dataclasses.replace(optimizer, learning_rate=rate),
        )

    stages = tuple(stage(number) for number in range(len(skips) + 1))
    at_once = dataclasses.replace(
        recipe,
        model=_net(recipe, skips, skip_scales),
        steps=recipe.steps * len(stages),
    )
    return {"staged": Variant(stages=stages), "at once": Variant(stages=(at_once,))}


def _net(recipe: Recipe, skips: tuple[str, ...], skip_scales: tuple[float, ...]) -> FCN:
    assert isinstance(recipe.model, FCN)
    return recipe.model.clone(skips=skips, skip_scales=skip_scales)


def main(options: Options) -> None:
    """Trains both, prints their scores beside the published ones, and saves the plots."""
    import rich

    recipe = options.recipe(
        steps=options.steps, batch_size=options.batch_size, learning_rate=options.learning_rate
    )
    skip_scales = scales(recipe, SKIPS, options.weights)
    named = ", ".join(f"{s} x {c:.3g}" for s, c in zip(SKIPS, skip_scales, strict=True))
    print(f"features at once: {named} (published: pool4 x 0.01, pool3 x 0.0001)")
    made = variants(recipe, SKIPS, skip_scales, options.drop)
    stages = len(SKIPS) + 1
    points = options.points * stages  # a multiple, so that every stage ends at a point
    curves = train(made, turns=options.steps * stages, points=points, weights=options.weights)
    rich.print(scores_table(curves, options.where, PUBLISHED))
    rich.print(convergence_table(curves, "mean IU, per cent", mean_iu, digits=1))
    save_curves(options.out, "staged_or_at_once", "mean IU, %", curves, mean_iu)


if __name__ == "__main__":
    command(main, Options)
