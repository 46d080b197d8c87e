"""A recipe that trains in seconds, with all that could make a resumed run differ.

It has dropout, batch norm, augmentation, images of different sizes, accumulation and a schedule.
"""

# ruff: noqa: E402
from fcn_jax.runs.command_line import interruptible

if __name__ == "__main__":
    interruptible()  # from here on, Ctrl-C ends it without a traceback

import flax.linen as nn

from fcn_jax import FCN, FeatureMap, FromScratch, NormalizedUpsampling, Preprocessing, Recipe, main
from fcn_jax.data import Augment
from fcn_jax.data.scenes import Scenes
from fcn_jax.losses import Normalization, Softmax
from fcn_jax.metrics import Absent
from fcn_jax.nn.layers import BatchNorm, Conv, Dropout, MaxPool, relu
from fcn_jax.optim import AdamW


class TinyTrunk(nn.Module):
    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool) -> dict[str, FeatureMap]:
        x = relu(Conv(8, 3, padding=1, name="conv1")(x))
        x = relu(BatchNorm(name="norm1")(MaxPool(name="pool1")(x), train=train))
        skip = relu(Conv(8, 3, padding=1, name="conv2")(x))
        deep = relu(Conv(16, 3, padding=1, name="conv3")(MaxPool(name="pool2")(skip)))
        return {"conv2": skip, "conv3": Dropout(0.5, name="drop3")(deep, train=train)}


RECIPE = Recipe(
    model=FCN(
        trunk=TinyTrunk(), num_classes=4, skips=("conv2",), final_upsampling=NormalizedUpsampling
    ),
    train_set=Scenes(length=50, seed=0, largest=(40, 40), smallest=(24, 24), num_classes=4),
    validation_set=Scenes(length=6, seed=1, largest=(32, 32), num_classes=4),
    start=FromScratch(
        preprocessing=Preprocessing(channels="RGB", mean=(120.0,) * 3, std=(64.0,) * 3)
    ),
    optimizer=AdamW(learning_rate=1e-2, weight_decay=1e-2, warmup_steps=5, total_steps=30),
    loss=Softmax(normalization=Normalization.VALID),
    batch_size=2,
    accumulate=2,
    steps=30,
    with_replacement=False,
    augment=Augment(mirror=True, scale=(0.8, 1.25), crop=(32, 32), jitter=4),
    frozen=("conv1",),
    absent=Absent.IN_NEITHER,
    evaluate_every=10,
    checkpoint_every=3,
    seed=3,
)

if __name__ == "__main__":
    main(RECIPE)
