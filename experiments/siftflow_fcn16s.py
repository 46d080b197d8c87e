"""FCN-16s, VGG16, SIFT Flow, both heads: from FCN-32s.

Published on the test set: pixel accuracy 85.2, mean accuracy 51.7, mean IU 39.5, f.w. IU 76.1,
geometric accuracy 94.3 (CVPR 2015, table 5).
Ours: not run.

Source: shelhamer/fcn.berkeleyvision.org siftflow-fcn16s/{net,solve}.py, solver.prototxt: as
FCN-32s, at a hundredth of its rate.
"""

import dataclasses

from experiments import siftflow_fcn32s
from fcn_jax import VGG16, FCN16s, FromRun, main
from fcn_jax.optim import CaffeSGD

RECIPE = dataclasses.replace(
    siftflow_fcn32s.RECIPE,
    model=FCN16s(trunk=VGG16(), num_classes=siftflow_fcn32s.CLASSES),
    start=FromRun(run="siftflow_fcn32s"),
    optimizer=CaffeSGD(learning_rate=1e-12, momentum=0.99, weight_decay=5e-4),
)

if __name__ == "__main__":
    main(RECIPE)
