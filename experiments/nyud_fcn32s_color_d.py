"""FCN-32s, VGG16, NYUDv2 40 classes: colour and depth in one first convolution (early fusion).

Published on the test set: pixel accuracy 62.1, mean accuracy 44.8, mean IU 31.7, f.w. IU 46.3
(TPAMI 2017, table 5).
Ours: not run.

Source: shelhamer/fcn.berkeleyvision.org nyud-fcn32s-color-d/{net,solve}.py; the filters for the
logarithm of depth start as the mean of those for the colours.
"""

import dataclasses

from experiments import nyud_fcn32s_color
from fcn_jax import VGG16, FCN32s, FromWeights, main
from fcn_jax.data import NYUDv2
from fcn_jax.preprocessing import NYUD_COLOR, ByInput, LogDepth

RECIPE = dataclasses.replace(
    nyud_fcn32s_color.RECIPE,
    model=FCN32s(
        trunk=VGG16(first="conv1_1_bgrd"), num_classes=40, inputs={"color": 3, "depth": 1}
    ),
    train_set=NYUDv2(split="trainval", inputs=("color", "depth")),
    validation_set=NYUDv2(split="test", inputs=("color", "depth")),
    start=FromWeights(
        file="vgg16.safetensors",
        expand={"conv1_1_bgrd": "conv1_1"},
        preprocessing=ByInput({"color": NYUD_COLOR, "depth": LogDepth()}),
    ),
)

if __name__ == "__main__":
    main(RECIPE)
