"""FCN-32s, VGG16, SIFT Flow: 33 semantic and 3 geometric classes from one trunk.

Published: no score; FCN-16s and FCN-8s start from this net.
Ours: not run.

Source: shelhamer/fcn.berkeleyvision.org siftflow-fcn32s/{net,solve}.py, solver.prototxt: the sum of
two losses. As published, the mean IU counts the classes that the truth contains.
"""

from fcn_jax import VGG16, FCN32s, FromWeights, Recipe, main
from fcn_jax.data import SIFTFlow
from fcn_jax.losses import ByOutput, Normalization, Softmax
from fcn_jax.metrics import Absent
from fcn_jax.optim import CaffeSGD
from fcn_jax.preprocessing import SIFT_FLOW

CLASSES = {"semantic": 33, "geometric": 3}
LOSS = Softmax(normalization=Normalization.BATCH)

RECIPE = Recipe(
    model=FCN32s(trunk=VGG16(), num_classes=CLASSES),
    train_set=SIFTFlow(split="trainval", labels=("semantic", "geometric")),
    validation_set=SIFTFlow(split="test", labels=("semantic", "geometric")),
    start=FromWeights(file="vgg16.safetensors", preprocessing=SIFT_FLOW),
    optimizer=CaffeSGD(learning_rate=1e-10, momentum=0.99, weight_decay=5e-4),
    loss=ByOutput({"semantic": LOSS, "geometric": LOSS}),
    batch_size=1,
    accumulate=1,
    steps=100_000,
    with_replacement=True,
    augment=None,
    frozen=(),
    absent=Absent.NOT_IN_TRUTH,
    evaluate_every=2000,
    checkpoint_every=2000,
    seed=1337,
)

if __name__ == "__main__":
    main(RECIPE)
