"""Trains only the score layer, or the whole net.

Source: FCN papers, section 4.3: fine-tuning only the classifier's output reaches 70 % (CVPR 2015)
or 73 % (TPAMI 2017) of the full mean IU; rows FCN-32s and FCN-32s-fixed of CVPR table 2 and TPAMI
table 3, VGG16 on VOC. Here both start from SqueezeNet's ImageNet weights, stride 16, and train for
minutes.
"""

import dataclasses

from experiments.studies import command
from experiments.studies.curves import mean_iu, save_curves, scores_table
from experiments.studies.learning import Variant, train
from experiments.studies.setting import Setting
from fcn_jax.runs.recipe import Recipe

PUBLISHED = {
    "all learns (CVPR)": (89.1, 73.3, 59.4, 81.4),
    "scores alone (CVPR)": (83.0, 59.7, 45.4, 72.0),
    "all learns (TPAMI)": (90.5, 76.5, 63.6, 83.5),
    "scores alone (TPAMI)": (82.9, 64.6, 46.6, 72.3),
}
"""Pixel accuracy, mean accuracy, mean IU, frequency weighted IU on seg11valid, per cent."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Setting):
    """Trains only the score layer, or the whole net, on the same batches.

    Attributes:
        steps: updates of each.
        batch_size: images per update.
        learning_rate: of both.
    """

    steps: int = 200
    batch_size: int = 8
    learning_rate: float = 3e-5


def variants(recipe: Recipe) -> dict[str, Variant]:
    """The recipe, and the recipe with its trunk frozen."""
    return {
        "all learns": Variant(stages=(recipe,)),
        "scores alone": Variant(stages=(dataclasses.replace(recipe, frozen=("trunk",)),)),
    }


def main(options: Options) -> None:
    """Trains both, prints their scores beside the published ones, and saves the plots."""
    import rich

    recipe = options.recipe(
        steps=options.steps, batch_size=options.batch_size, learning_rate=options.learning_rate
    )
    made = variants(recipe)
    curves = train(made, turns=options.steps, points=options.points, weights=options.weights)
    rich.print(scores_table(curves, options.where, PUBLISHED))
    full, fixed = (mean_iu(curve[-1]) for curve in curves.values())
    if full:
        print(f"scores alone, of the full mean IU: {100 * fixed / full:.0f} % (published: 70, 73)")
    save_curves(options.out, "fixed_trunk", "mean IU, %", curves, mean_iu)


if __name__ == "__main__":
    command(main, Options)
