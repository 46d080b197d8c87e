"""FCN-32s, VGG16, PASCAL-Context: 59 classes and the background.

Published on the validation set: pixel accuracy 65.5, mean accuracy 49.1, mean IU 36.7, f.w. IU 50.9
(TPAMI 2017, table 7).
Ours: not run.

Source: shelhamer/fcn.berkeleyvision.org pascalcontext-fcn32s/{net,solve}.py, solver.prototxt; the
loop of solve.py takes 400,000 steps. The background is trained and counts in the scores, as in the
reference's score.py; the papers do not say whether theirs count it.
"""

from fcn_jax import VGG16, FCN32s, FromWeights, Recipe, main
from fcn_jax.data import PASCALContext
from fcn_jax.losses import Normalization, Softmax
from fcn_jax.metrics import Absent
from fcn_jax.optim import CaffeSGD

RECIPE = Recipe(
    model=FCN32s(trunk=VGG16(), num_classes=60),
    train_set=PASCALContext(split="train"),
    validation_set=PASCALContext(split="val"),
    start=FromWeights(file="vgg16.safetensors"),
    optimizer=CaffeSGD(learning_rate=1e-10, momentum=0.99, weight_decay=5e-4),
    loss=Softmax(normalization=Normalization.BATCH),
    batch_size=1,
    accumulate=1,
    steps=400_000,
    with_replacement=True,
    augment=None,
    frozen=(),
    absent=Absent.IN_NEITHER,
    evaluate_every=8000,
    checkpoint_every=8000,
    seed=1337,
)

if __name__ == "__main__":
    main(RECIPE)
