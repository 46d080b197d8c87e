"""A recipe that trains in seconds, with labels of every kind."""

# ruff: noqa: E402
from fcn_jax.runs.command_line import interruptible

if __name__ == "__main__":
    interruptible()  # from here on, Ctrl-C ends it without a traceback

import flax.linen as nn

from fcn_jax import FeatureMap, FromScratch, Preprocessing, Recipe, Segmenter, heads, main
from fcn_jax.data import Augment
from fcn_jax.data.scene_labels import SceneLabels
from fcn_jax.data.scenes import Scenes
from fcn_jax.losses import Attributes, ByOutput, ClassOfImage, Normalization, SiLog, Softmax
from fcn_jax.metrics import Absent
from fcn_jax.nets.decoders import Skips
from fcn_jax.nn.layers import Conv, MaxPool
from fcn_jax.optim import AdamW


class TinyTrunk(nn.Module):
    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool) -> dict[str, FeatureMap]:
        x = MaxPool(name="pool1")(Conv(8, 3, padding=1, relu=True, name="conv1")(x))
        x = Conv(8, 3, padding=1, relu=True, name="conv2")(x)
        return {"conv2": x, "pool2": MaxPool(name="pool2")(x)}


def scenes(length: int, seed: int, smallest: tuple[int, int]) -> SceneLabels:
    return SceneLabels(
        scenes=Scenes(length=length, seed=seed, largest=(32, 32), smallest=smallest, num_classes=4)
    )


RECIPE = Recipe(
    model=Segmenter(
        trunk=TinyTrunk(),
        decoder=Skips((2,), 8),
        heads={
            "semantic": heads.Pixels(4),
            "depth": heads.Pixels(1),
            "scene": heads.Vector(4),
            "shapes": heads.Vector(3),
        },
    ),
    train_set=scenes(12, 0, (24, 24)),
    validation_set=scenes(5, 1, (32, 32)),
    start=FromScratch(
        preprocessing=Preprocessing(channels="RGB", mean=(120.0,) * 3, std=(64.0,) * 3)
    ),
    optimizer=AdamW(learning_rate=1e-2, weight_decay=1e-2, warmup_steps=2, total_steps=6),
    loss=ByOutput(
        {
            "semantic": Softmax(normalization=Normalization.VALID),
            "depth": SiLog(),
            "scene": ClassOfImage(),
            "shapes": Attributes(),
        },
        weights={"depth": 0.5},
    ),
    batch_size=2,
    accumulate=2,
    steps=6,
    with_replacement=False,
    augment=Augment(mirror=True, scale=(0.8, 1.25), crop=(28, 28), jitter=4),
    frozen=(),
    absent=Absent.IN_NEITHER,
    evaluate_every=3,
    checkpoint_every=2,
    seed=3,
)

if __name__ == "__main__":
    main(RECIPE)
