"""FCN-32s on GoogLeNet, PASCAL VOC 2011: the CVPR paper's training.

Published on the validation set of 2011: mean IU 42.5 (CVPR 2015, table 1).
Ours: not run.

Source: CVPR 2015, section 4.3, the rate 5e-5; all else as voc_fcn32s_cvpr15.
The reference promised this net and never had files for it: see GoogLeNet for the padding and the
upsampling kernel, which the papers do not give. They started from a GoogLeNet of their own.
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
