"""FCN-16s, VGG16, NYUDv2 40 classes: colour and HHA, averaged, with a skip from pool4 in each.

Published on the test set: pixel accuracy 65.4, mean accuracy 46.1, mean IU 34.0, f.w. IU 49.5
(CVPR 2015, table 4).
Ours: not run.

Source: the paper; the reference has no files for this net. It starts from FCN-32s at a hundredth of
the rate, as the paper's other nets with skips (section 4.2).
"""

import dataclasses

from experiments import nyud_fcn32s_color_hha
from fcn_jax import VGG16, FCN16s, FromRun, LateFusion, main
from fcn_jax.optim import CaffeSGD

STREAM = FCN16s(trunk=VGG16(), num_classes=40)

RECIPE = dataclasses.replace(
    nyud_fcn32s_color_hha.RECIPE,
    model=LateFusion({"color": STREAM, "hha": STREAM}),
    start=FromRun(run="nyud_fcn32s_color_hha"),
    optimizer=CaffeSGD(learning_rate=1e-14, momentum=0.99, weight_decay=5e-4),
)

if __name__ == "__main__":
    main(RECIPE)
