"""A single stream scored from pool5 only, VGG16, PASCAL VOC.

Published on seg11valid: pixel accuracy 87.4, mean accuracy 60.5, mean IU 50.0, f.w. IU 78.5
(TPAMI 2017, table 3).
Ours: not run.

Source: the paper; the reference has no files for this net, so all else is as in FCN-32s.
"""

import dataclasses

from experiments import voc_fcn32s
from fcn_jax import FCN, VGG16, main

RECIPE = dataclasses.replace(
    voc_fcn32s.RECIPE, model=FCN(trunk=VGG16(last="pool5"), num_classes=21)
)

if __name__ == "__main__":
    main(RECIPE)
