"""FCN-8s, VGG16, SIFT Flow, both heads: from FCN-16s.

Published on the test set: pixel accuracy 85.9, mean accuracy 53.9, mean IU 41.2, f.w. IU 77.2,
geometric accuracy 94.6 (TPAMI 2017, table 6).
Ours: not run.

Source: shelhamer/fcn.berkeleyvision.org siftflow-fcn8s/{net,solve}.py, solver.prototxt: at the
rate of FCN-16s, where the other data sets use a hundredth of it.
"""

import dataclasses

from experiments import siftflow_fcn32s
from fcn_jax import VGG16, FCN8s, FromRun, main
from fcn_jax.optim import CaffeSGD

RECIPE = dataclasses.replace(
    siftflow_fcn32s.RECIPE,
    model=FCN8s(trunk=VGG16(), num_classes=siftflow_fcn32s.CLASSES),
    start=FromRun(run="siftflow_fcn16s"),
    optimizer=CaffeSGD(learning_rate=1e-12, momentum=0.99, weight_decay=5e-4),
)

if __name__ == "__main__":
    main(RECIPE)
