"""FCN-32s, VGG16, PASCAL VOC: the single-stream net, trained "heavy".

Published on seg11valid: pixel accuracy 90.5, mean accuracy 76.5, mean IU 63.6, f.w. IU 83.5
(TPAMI 2017, table 3). 36 hours for all three stages on a Titan X.
Ours: not run.

Source: shelhamer/fcn.berkeleyvision.org voc-fcn32s/{net,solve}.py, solver.prototxt: summed loss
of one image at its own size, momentum 0.99, biases at twice the rate and without decay, images
drawn with replacement from SBD's training set.
"""

from fcn_jax import VGG16, FCN32s, FromWeights, Recipe, main
from fcn_jax.data import SBD, VOC
from fcn_jax.losses import Normalization, Softmax
from fcn_jax.metrics import Absent
from fcn_jax.optim import CaffeSGD

RECIPE = Recipe(
    model=FCN32s(trunk=VGG16(), num_classes=21),
    train_set=SBD(split="train"),
    validation_set=VOC(year=2011, split="seg11valid"),
    start=FromWeights(file="vgg16.safetensors"),
    optimizer=CaffeSGD(learning_rate=1e-10, momentum=0.99, weight_decay=5e-4),
    loss=Softmax(normalization=Normalization.BATCH),
    batch_size=1,
    accumulate=1,
    steps=100_000,
    with_replacement=True,
    augment=None,
    frozen=(),
    absent=Absent.IN_NEITHER,
    evaluate_every=4000,
    checkpoint_every=4000,
    seed=1337,
)

if __name__ == "__main__":
    main(RECIPE)
