"""FCN-16s, VGG16, PASCAL-Context: from FCN-32s.

Published on the validation set: pixel accuracy 66.9, mean accuracy 51.3, mean IU 38.4, f.w. IU 52.3
(TPAMI 2017, table 7).
Ours: not run.

Source: shelhamer/fcn.berkeleyvision.org pascalcontext-fcn16s/{net,solve}.py, solver.prototxt.
"""

import dataclasses

from experiments import pascalcontext_fcn32s
from fcn_jax import VGG16, FCN16s, FromRun, main
from fcn_jax.optim import CaffeSGD

RECIPE = dataclasses.replace(
    pascalcontext_fcn32s.RECIPE,
    model=FCN16s(trunk=VGG16(), num_classes=60),
    start=FromRun(run="pascalcontext_fcn32s"),
    optimizer=CaffeSGD(learning_rate=1e-12, momentum=0.99, weight_decay=5e-4),
)

if __name__ == "__main__":
    main(RECIPE)
