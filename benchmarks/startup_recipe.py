"""FCN-8s VGG16 on generated scenes of VOC's size, for one step; the recipe of `startup.py`."""

import dataclasses

from experiments import voc_fcn8s
from fcn_jax import VGG16, FCN8s, FromScratch, main
from fcn_jax.data.scenes import Scenes
from fcn_jax.preprocessing import CAFFE

RECIPE = dataclasses.replace(
    voc_fcn8s.RECIPE,
    model=FCN8s(trunk=VGG16(), num_classes=7),
    train_set=Scenes(length=20, seed=0, largest=(375, 500)),
    validation_set=Scenes(length=1, seed=1, largest=(375, 500)),
    start=FromScratch(preprocessing=CAFFE),
    steps=1,
)

if __name__ == "__main__":
    main(RECIPE)
