"""FCN-16s, VGG16, PASCAL VOC: the second stage, from FCN-32s.

Published on seg11valid: pixel accuracy 91.0, mean accuracy 78.1, mean IU 65.0, f.w. IU 84.3
(TPAMI 2017, table 3).
Ours: not run.

Source: shelhamer/fcn.berkeleyvision.org voc-fcn16s/{net,solve}.py, solver.prototxt: as FCN-32s,
at a hundredth of its rate.
"""

import dataclasses

from experiments import voc_fcn32s
from fcn_jax import VGG16, FCN16s, FromRun, main
from fcn_jax.optim import CaffeSGD

RECIPE = dataclasses.replace(
    voc_fcn32s.RECIPE,
    model=FCN16s(trunk=VGG16(), num_classes=21),
    start=FromRun(run="voc_fcn32s"),
    optimizer=CaffeSGD(learning_rate=1e-12, momentum=0.99, weight_decay=5e-4),
)

if __name__ == "__main__":
    main(RECIPE)
