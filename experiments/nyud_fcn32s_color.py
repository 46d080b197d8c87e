"""FCN-32s, VGG16, NYUDv2 40 classes: colour only.

Published on the test set: pixel accuracy 61.8, mean accuracy 44.7, mean IU 31.6, f.w. IU 46.0
(TPAMI 2017, table 5).
Ours: not run.

Source: shelhamer/fcn.berkeleyvision.org nyud-fcn32s-color/{net,solve}.py, solver.prototxt; the
loop of solve.py takes 100,000 steps and ignores the solver's max_iter.
"""

from fcn_jax import VGG16, FCN32s, FromWeights, Recipe, main
from fcn_jax.data import NYUDv2
from fcn_jax.losses import Normalization, Softmax
from fcn_jax.metrics import Absent
from fcn_jax.optim import CaffeSGD
from fcn_jax.preprocessing import NYUD_COLOR

RECIPE = Recipe(
    model=FCN32s(trunk=VGG16(), num_classes=40),
    train_set=NYUDv2(split="trainval"),
    validation_set=NYUDv2(split="test"),
    start=FromWeights(file="vgg16.safetensors", preprocessing=NYUD_COLOR),
    optimizer=CaffeSGD(learning_rate=1e-10, momentum=0.99, weight_decay=5e-4),
    loss=Softmax(normalization=Normalization.BATCH),
    batch_size=1,
    accumulate=1,
    steps=100_000,
    with_replacement=True,
    augment=None,
    frozen=(),
    absent=Absent.IN_NEITHER,
    evaluate_every=2000,
    checkpoint_every=2000,
    seed=1337,
)

if __name__ == "__main__":
    main(RECIPE)
