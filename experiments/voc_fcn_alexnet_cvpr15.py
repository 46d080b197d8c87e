"""FCN-32s on AlexNet, PASCAL VOC 2011: the CVPR paper's training.

Published on the validation set of 2011: mean IU 39.8 (CVPR 2015, table 1).
Ours: not run.

Source: CVPR 2015, section 4.3: the rate is 1e-3, everything else as in voc_fcn32s_cvpr15.
"""

import dataclasses

from experiments import voc_fcn32s_cvpr15
from fcn_jax import AlexNet, FCN32s, FromWeights, main
from fcn_jax.optim import CaffeSGD

RECIPE = dataclasses.replace(
    voc_fcn32s_cvpr15.RECIPE,
    model=FCN32s(trunk=AlexNet(), num_classes=21),
    start=FromWeights(file="caffenet.safetensors"),
    optimizer=CaffeSGD(learning_rate=1e-3, momentum=0.9, weight_decay=5e-4),
)

if __name__ == "__main__":
    main(RECIPE)
