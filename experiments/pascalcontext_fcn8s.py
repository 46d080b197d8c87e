"""FCN-8s, VGG16, PASCAL-Context: from FCN-16s.

Published on the validation set: pixel accuracy 67.5, mean accuracy 52.3, mean IU 39.1, f.w. IU 53.0
(TPAMI 2017, table 7).
Ours: not run.

Source: shelhamer/fcn.berkeleyvision.org pascalcontext-fcn8s/{net,solve}.py, solver.prototxt.
"""

import dataclasses

from experiments import pascalcontext_fcn32s
from fcn_jax import VGG16, FCN8s, FromRun, main
from fcn_jax.optim import CaffeSGD

RECIPE = dataclasses.replace(
    pascalcontext_fcn32s.RECIPE,
    model=FCN8s(trunk=VGG16(), num_classes=60),
    start=FromRun(run="pascalcontext_fcn16s"),
    optimizer=CaffeSGD(learning_rate=1e-14, momentum=0.99, weight_decay=5e-4),
)

if __name__ == "__main__":
    main(RECIPE)
