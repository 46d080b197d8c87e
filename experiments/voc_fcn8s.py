"""FCN-8s, VGG16, PASCAL VOC: the third stage, from FCN-16s.

Published on seg11valid: pixel accuracy 91.2, mean accuracy 77.6, mean IU 65.5, f.w. IU 84.5
(TPAMI 2017, table 3); 67.5 and 67.2 mean IU on the 2011 and 2012 test sets.
Ours: not run.

Source: shelhamer/fcn.berkeleyvision.org voc-fcn8s/{net,solve}.py, solver.prototxt: as FCN-32s,
at a ten-thousandth of its rate.
"""

import dataclasses

from experiments import voc_fcn32s
from fcn_jax import VGG16, FCN8s, FromRun, main
from fcn_jax.optim import CaffeSGD

RECIPE = dataclasses.replace(
    voc_fcn32s.RECIPE,
    model=FCN8s(trunk=VGG16(), num_classes=21),
    start=FromRun(run="voc_fcn16s"),
    optimizer=CaffeSGD(learning_rate=1e-14, momentum=0.99, weight_decay=5e-4),
)

if __name__ == "__main__":
    main(RECIPE)
