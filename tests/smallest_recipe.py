"""A recipe of two layers and a few small images, for tests that do not need to learn."""

import flax.linen as nn

from fcn_jax import FCN, FeatureMap, FromScratch, Preprocessing, Recipe
from fcn_jax.data.scenes import Scenes
from fcn_jax.losses import Normalization, Softmax
from fcn_jax.metrics import Absent
from fcn_jax.nn.layers import Conv
from fcn_jax.optim import AdamW


class SmallestTrunk(nn.Module):
    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool) -> dict[str, FeatureMap]:
        return {"conv1": Conv(4, 3, padding=1, relu=True, name="conv1")(x)}


RECIPE = Recipe(
    model=FCN(trunk=SmallestTrunk(), num_classes=4),
    train_set=Scenes(length=6, seed=0, largest=(16, 16), smallest=(16, 16), num_classes=4),
    validation_set=Scenes(length=4, seed=1, largest=(16, 16), smallest=(16, 16), num_classes=4),
    start=FromScratch(preprocessing=Preprocessing(channels="RGB", mean=(120.0,) * 3)),
    optimizer=AdamW(learning_rate=1e-2, weight_decay=0.0, warmup_steps=0, total_steps=2),
    loss=Softmax(normalization=Normalization.VALID),
    batch_size=2,
    accumulate=1,
    steps=2,
    with_replacement=False,
    augment=None,
    frozen=(),
    absent=Absent.IN_NEITHER,
    evaluate_every=0,
    checkpoint_every=0,
    seed=3,
)
