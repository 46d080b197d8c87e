"""FCN-32s on AlexNet (Caffe's edition), PASCAL VOC.

Published on seg11valid: mean IU 48.0 (README of the reference; TPAMI 2017, table 1 with the images
of SBD).
Ours: not run.

Source: shelhamer/fcn.berkeleyvision.org voc-fcn-alexnet/{net,solve}.py, solver.prototxt: the mean
loss of 20 images per update, momentum 0.9; the trunk's biases have the rate and the decay of its
kernels, since the reference gives them no multipliers. The papers give a rate of 1e-3, and twice
that for biases: see voc_fcn_alexnet_cvpr15.
"""

import dataclasses

from experiments import voc_fcn32s
from fcn_jax import AlexNet, FCN32s, FromWeights, main
from fcn_jax.losses import Normalization, Softmax
from fcn_jax.optim import CaffeSGD

RECIPE = dataclasses.replace(
    voc_fcn32s.RECIPE,
    model=FCN32s(trunk=AlexNet(), num_classes=21),
    start=FromWeights(file="caffenet.safetensors"),
    optimizer=CaffeSGD(learning_rate=1e-4, momentum=0.9, weight_decay=5e-4, plain=("trunk",)),
    loss=Softmax(normalization=Normalization.VALID),
    accumulate=20,
)

if __name__ == "__main__":
    main(RECIPE)
