"""A single stream scored from pool3 only, VGG16, PASCAL VOC.

Published on seg11valid: pixel accuracy 70.9, mean accuracy 13.7, mean IU 9.2, f.w. IU 57.6
(TPAMI 2017, table 3).
Ours: not run.

Source: the paper; the reference has no files for this net, so all else is as in FCN-32s.
"""

import dataclasses

from experiments import voc_fcn32s
from fcn_jax import FCN, VGG16, main

RECIPE = dataclasses.replace(
    voc_fcn32s.RECIPE, model=FCN(trunk=VGG16(last="pool3"), num_classes=21)
)

if __name__ == "__main__":
    main(RECIPE)
