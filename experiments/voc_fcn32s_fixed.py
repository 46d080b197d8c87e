"""FCN-32s fixed, VGG16, PASCAL VOC: only the score layer is trained.

Published on seg11valid: pixel accuracy 82.9, mean accuracy 64.6, mean IU 46.6, f.w. IU 72.3
(TPAMI 2017, table 3).
Ours: not run.

Source: the papers, section 4.3 ("fine-tuning the output classifier alone"); the reference has no
files for this net, so everything else is as in FCN-32s.
"""

import dataclasses

from experiments import voc_fcn32s
from fcn_jax import main

RECIPE = dataclasses.replace(voc_fcn32s.RECIPE, frozen=("trunk",))

if __name__ == "__main__":
    main(RECIPE)
