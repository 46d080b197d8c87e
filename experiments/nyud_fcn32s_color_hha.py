"""FCN-32s, VGG16, NYUDv2 40 classes: colour and HHA, two nets whose scores are averaged.

Published on the test set: pixel accuracy 65.3, mean accuracy 44.0, mean IU 33.3, f.w. IU 48.6
(TPAMI 2017, table 5).
Ours: not run.

Source: shelhamer/fcn.berkeleyvision.org nyud-fcn32s-color-hha/{net,solve}.py: starts from the two
trained nets, at a hundredth of their rate. The reference takes their snapshots at 28,000 and 60,000
steps; here it is the best checkpoint of each run.
"""

import dataclasses

from experiments import nyud_fcn32s_color
from fcn_jax import VGG16, FCN32s, FromRuns, LateFusion, main
from fcn_jax.data import NYUDv2
from fcn_jax.optim import CaffeSGD

STREAM = FCN32s(trunk=VGG16(), num_classes=40)

RECIPE = dataclasses.replace(
    nyud_fcn32s_color.RECIPE,
    model=LateFusion({"color": STREAM, "hha": STREAM}),
    train_set=NYUDv2(split="trainval", inputs=("color", "hha")),
    validation_set=NYUDv2(split="test", inputs=("color", "hha")),
    start=FromRuns(runs={"color": "nyud_fcn32s_color", "hha": "nyud_fcn32s_hha"}),
    optimizer=CaffeSGD(learning_rate=1e-12, momentum=0.99, weight_decay=5e-4),
)

if __name__ == "__main__":
    main(RECIPE)
