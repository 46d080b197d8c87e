"""FCN-32s, VGG16, PASCAL VOC 2011: the CVPR paper's training, 20 images per update.

Published on the validation set of 2011: mean IU 56.0 (CVPR 2015, table 1).
Ours: not run.

Source: CVPR 2015, section 4.3: minibatches of 20, momentum 0.9, rate 1e-4, twice that for biases,
at least 175 epochs (9,730 updates on the 1,112 training images), weight decay 5e-4 or 2e-4. The
paper does not say whether the loss is a mean; this rate needs one.
"""

import dataclasses

from experiments import voc_fcn32s
from fcn_jax import main
from fcn_jax.data import VOC
from fcn_jax.losses import Normalization, Softmax
from fcn_jax.optim import CaffeSGD

RECIPE = dataclasses.replace(
    voc_fcn32s.RECIPE,
    train_set=VOC(year=2011, split="train"),
    validation_set=VOC(year=2011, split="val"),
    optimizer=CaffeSGD(learning_rate=1e-4, momentum=0.9, weight_decay=5e-4),
    loss=Softmax(normalization=Normalization.VALID),
    accumulate=20,
    steps=9800,
    with_replacement=False,
    evaluate_every=700,
    checkpoint_every=700,
)

if __name__ == "__main__":
    main(RECIPE)
