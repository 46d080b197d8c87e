"""FCN-32s, VGG16, NYUDv2 40 classes: depth only, encoded as HHA.

Published on the test set: pixel accuracy 58.3, mean accuracy 35.7, mean IU 25.2, f.w. IU 41.7
(TPAMI 2017, table 5).
Ours: not run.

Source: shelhamer/fcn.berkeleyvision.org nyud-fcn32s-hha/{net,solve}.py; the classifier's filters
for blue, green and red read disparity, height and angle. `python -m fcn_jax hha` makes the images
from depth.
"""

import dataclasses

from experiments import nyud_fcn32s_color
from fcn_jax import FromWeights, main
from fcn_jax.data import NYUDv2
from fcn_jax.preprocessing import NYUD_HHA

RECIPE = dataclasses.replace(
    nyud_fcn32s_color.RECIPE,
    train_set=NYUDv2(split="trainval", inputs=("hha",)),
    validation_set=NYUDv2(split="test", inputs=("hha",)),
    start=FromWeights(file="vgg16.safetensors", preprocessing=NYUD_HHA),
)

if __name__ == "__main__":
    main(RECIPE)
