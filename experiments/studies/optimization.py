"""Accumulated, online and heavy learning on one sequence of images.

Source: TPAMI 2017, table 2 and section 4.2: FCN-VGG16 on VOC, the same 100,000 images in the same
order, the loss summed over pixels and not normalised, the best scores during training. "Heavy" is
momentum 0.99 on single images; it weights past images almost as 0.9 does on batches of 20.

The reference divides accumulated gradients by their number (Caffe's `iter_size`), but the paper's
formula does not. So at one learning rate "accumulated" moves 20 times less per image than "online",
and "online" 10 times less than "heavy". The row "accumulated, summed" follows the formula and moves
as far as "online". The paper does not say which of the two its row used.
"""

import dataclasses

from experiments.studies import command
from experiments.studies.curves import convergence_table, mean_iu, save_curves, scores_table
from experiments.studies.learning import Variant, train
from experiments.studies.setting import Setting
from fcn_jax.losses import Normalization, Softmax
from fcn_jax.optim import CaffeSGD
from fcn_jax.runs.recipe import Recipe

PUBLISHED = {
    "accumulated": (86.0, 66.5, 51.9, 76.5),
    "online": (89.3, 76.2, 60.7, 81.8),
    "heavy": (90.5, 76.5, 63.6, 83.5),
}
"""Pixel accuracy, mean accuracy, mean IU, frequency weighted IU, per cent."""

PASSES = 20
"""Images per accumulated update. Source: TPAMI 2017, table 2."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Setting):
    """Accumulated, online and heavy learning on one sequence of images.

    Attributes:
        updates: of accumulated learning, 20 images each; the others take 20 times as many.
        learning_rate: of all, for the loss summed over the pixels of an image, as the reference's.
    """

    updates: int = 30
    learning_rate: float = 1e-10


def variants(recipe: Recipe) -> dict[str, Variant]:
    """The variants by name, from the recipe of accumulated learning (20 images per step)."""
    assert isinstance(recipe.optimizer, CaffeSGD)
    online = dataclasses.replace(recipe, accumulate=1, steps=recipe.steps * PASSES)
    heavy = dataclasses.replace(recipe.optimizer, momentum=0.99)
    rate: float = recipe.optimizer.learning_rate  # type: ignore[assignment]
    summed = dataclasses.replace(recipe.optimizer, learning_rate=rate * PASSES)
    return {
        "accumulated": Variant(stages=(recipe,)),
        "accumulated, summed": Variant(stages=(dataclasses.replace(recipe, optimizer=summed),)),
        "online": Variant(stages=(online,)),
        "heavy": Variant(stages=(dataclasses.replace(online, optimizer=heavy),)),
    }


def accumulated(options: Options) -> Recipe:
    """The recipe of accumulated learning: the reference's loss and decay, momentum 0.9."""
    return dataclasses.replace(
        options.recipe(steps=options.updates, batch_size=1, learning_rate=options.learning_rate),
        loss=Softmax(normalization=Normalization.BATCH),
        accumulate=PASSES,
    )


def main(options: Options) -> None:
    """Trains all, prints their best scores beside the published ones, and saves the plots."""
    import rich

    made = variants(accumulated(options))
    curves = train(made, turns=options.updates, points=options.points, weights=options.weights)
    rich.print(scores_table(curves, options.where, PUBLISHED))
    rich.print(convergence_table(curves, "mean IU, per cent", mean_iu, digits=1))
    best = {name: max(mean_iu(point) for point in curve) for name, curve in curves.items()}
    print("best mean IU: " + ", ".join(f"{name} {value:.1f}" for name, value in best.items()))
    save_curves(options.out, "optimization", "mean IU, %", curves, mean_iu)


if __name__ == "__main__":
    command(main, Options)
