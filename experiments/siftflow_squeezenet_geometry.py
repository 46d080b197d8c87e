"""SIFT Flow's semantic and geometric classes on one SqueezeNet.

Published for FCN-8s on VGG16 (TPAMI 2017, table 6; the 200 test images): pixel accuracy 85.9, mean
accuracy 53.9, mean IU 41.2, f.w. IU 77.2, geometric accuracy 94.6. Here the 200 images of
siftflow_squeezenet are held out.
Ours, 200 held out: pixel accuracy 84.3, mean accuracy 42.7, mean IU 31.0, f.w. IU 75.1 after 3,600
steps (12.6 epochs), 6,690 CPU seconds on two cores (2.0 GB), 56 minutes of both; after 900, 1,800
and 2,700 steps mean IU was 22.4, 25.7 and 29.8. The geometric labels of this run were derived from
the semantic ones (sky; ground and water; all else), so its geometric accuracy would mean nothing.

The net is that of siftflow_squeezenet with a second head of three classes; the loss is the sum of
both.
"""

import dataclasses

from experiments import siftflow_squeezenet
from fcn_jax import main
from fcn_jax.data import SIFTFlow
from fcn_jax.losses import ByOutput, Normalization, Softmax

LABELS = ("semantic", "geometric")
BASE = siftflow_squeezenet.RECIPE

RECIPE = dataclasses.replace(
    BASE,
    model=BASE.model.clone(num_classes={"semantic": 33, "geometric": 3}),
    train_set=SIFTFlow(split="train", labels=LABELS),
    validation_set=SIFTFlow(split="holdout", labels=LABELS),
    loss=ByOutput({"semantic": BASE.loss, "geometric": Softmax(normalization=Normalization.VALID)}),
)

if __name__ == "__main__":
    main(RECIPE)
