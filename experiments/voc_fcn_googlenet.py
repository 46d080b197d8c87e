"""FCN-32s on GoogLeNet, PASCAL VOC 2011: the CVPR paper's training.

Published on the validation set of 2011: mean IU 42.5 (CVPR 2015, table 1).
Ours: not run.

Source: CVPR 2015, section 4.3: the rate is 5e-5, everything else as in voc_fcn32s_cvpr15. The
reference has no files for this net, and the papers give neither the padding nor the upsampling
kernel: see `fcn_jax.GoogLeNet`. The papers started from a GoogLeNet that they trained themselves.
"""

import dataclasses

from experiments import voc_fcn32s_cvpr15
from fcn_jax import FCN32s, FromWeights, GoogLeNet, main
from fcn_jax.optim import CaffeSGD

RECIPE = dataclasses.replace(
    voc_fcn32s_cvpr15.RECIPE,
    model=FCN32s(trunk=GoogLeNet(), num_classes=21),
    start=FromWeights(file="googlenet.safetensors"),
    optimizer=CaffeSGD(learning_rate=5e-5, momentum=0.9, weight_decay=5e-4),
)

if __name__ == "__main__":
    main(RECIPE)
