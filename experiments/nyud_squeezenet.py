"""NYUDv2's 40 classes on SqueezeNet, colour and depth: transfer learning on a CPU.

Published for FCN-32s RGB-D on VGG16 (TPAMI 2017, table 5; the 654 test images): pixel accuracy
62.1, mean accuracy 44.8, mean IU 31.7, f.w. IU 46.3. Here 100 of the 795 training and validation
images are held out by a fixed rule (`NYUDv2(split="holdout")`), and the mean IU counts the classes
that their truth contains.
Ours, 100 held out: pixel accuracy 57.8, mean accuracy 35.9, mean IU 23.3, f.w. IU 43.5 after 2,000
steps (23 epochs), 3,820 CPU seconds on two cores (2.3 GB), which is 33 minutes if nothing else
runs; after 500, 1,000 and 1,500 steps mean IU was 12.8, 18.9 and 22.8.

The net is that of siftflow_squeezenet. Depth enters conv1 as a fourth channel, whose filters start
as the mean of those for the colours; dividing its logarithm by 0.01 makes it as large as colours.
"""

import dataclasses

from experiments import siftflow_squeezenet
from fcn_jax import FromWeights, main
from fcn_jax.data import Augment, NYUDv2
from fcn_jax.losses import Normalization, Softmax
from fcn_jax.preprocessing import CAFFE, ByInput, LogDepth

STEPS = 2000
# Counted share of each class in the labelled pixels of the 695 training images; some editions of
# the labels do not have the last class.
# fmt: off
PRIOR = (
    2.51e-1, 1.28e-1, 8.20e-2, 5.15e-2, 5.02e-2, 3.64e-2, 3.02e-2, 2.43e-2, 2.67e-2, 2.45e-2,
    2.41e-2, 1.79e-2, 1.94e-2, 1.42e-2, 1.65e-2, 1.16e-2, 1.20e-2, 1.18e-2, 1.17e-2, 8.63e-3,
    1.22e-2, 9.67e-3, 7.00e-3, 6.50e-3, 8.10e-3, 4.97e-3, 4.46e-3, 5.34e-3, 5.16e-3, 4.01e-3,
    4.25e-3, 3.99e-3, 4.28e-3, 3.17e-3, 3.77e-3, 3.11e-3, 3.17e-3, 2.83e-2, 2.61e-2, 1.00e-6,
)
# fmt: on
BASE = siftflow_squeezenet.RECIPE

RECIPE = dataclasses.replace(
    BASE,
    model=BASE.model.clone(num_classes=40, inputs={"color": 3, "depth": 1}),
    train_set=NYUDv2(split="rest", inputs=("color", "depth")),
    validation_set=NYUDv2(split="holdout", inputs=("color", "depth")),
    start=FromWeights(
        file="squeezenet1_0.safetensors",
        keep=siftflow_squeezenet.NEW,
        expand={"conv1": "conv1"},
        preprocessing=ByInput({"color": CAFFE, "depth": LogDepth(std=0.01)}),
    ),
    optimizer=siftflow_squeezenet.adamw(STEPS),
    loss=Softmax(normalization=Normalization.VALID, prior=PRIOR, adjustment=0.25),
    steps=STEPS,
    augment=Augment(mirror=True, scale=(0.6, 1.0), crop=(224, 288)),
    evaluate_every=500,
    checkpoint_every=500,
)

if __name__ == "__main__":
    main(RECIPE)
