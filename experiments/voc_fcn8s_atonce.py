"""FCN-8s trained at once, VGG16, PASCAL VOC: one stage, with the skips' features scaled down.

Published on seg11valid: pixel accuracy 91.1, mean accuracy 78.5, mean IU 65.4, f.w. IU 84.4
(TPAMI 2017, table 3), in half the time of the three stages.
Ours: not run.

Source: shelhamer/fcn.berkeleyvision.org voc-fcn8s-atonce/{net,solve}.py, solver.prototxt:
pool4 scaled by 0.01, pool3 by 0.0001, 300,000 steps from the classifier.
"""

import dataclasses

from experiments import voc_fcn32s
from fcn_jax import VGG16, FCN8s, main

RECIPE = dataclasses.replace(
    voc_fcn32s.RECIPE,
    model=FCN8s(trunk=VGG16(), num_classes=21, skip_scales=(0.01, 0.0001)),
    steps=300_000,
)

if __name__ == "__main__":
    main(RECIPE)
