"""A recipe that trains in seconds, with everything that could make a resumed run differ.

Dropout, batch norm, augmentation, images of different sizes, accumulation, a schedule.
"""

from fcn_jax import VGG16, FCN16s
from fcn_jax.data import Augment
from fcn_jax.data.scenes import Scenes
from fcn_jax.losses import Normalization, Softmax
from fcn_jax.main import main
from fcn_jax.metrics import Absent
from fcn_jax.optim import AdamW
from fcn_jax.preprocessing import CAFFE
from fcn_jax.recipe import FromScratch, Recipe

RECIPE = Recipe(
    model=FCN16s(trunk=VGG16(aligned=True, width=1 / 32, batch_norm=True), num_classes=4),
    train_set=Scenes(length=50, seed=0, largest=(40, 40), smallest=(24, 24), num_classes=4),
    validation_set=Scenes(length=10, seed=1, largest=(40, 40), smallest=(24, 24), num_classes=4),
    start=FromScratch(preprocessing=CAFFE),
    optimizer=AdamW(learning_rate=1e-3, weight_decay=1e-2, warmup_steps=5, total_steps=30),
    loss=Softmax(normalization=Normalization.BATCH),
    batch_size=2,
    accumulate=2,
    steps=30,
    with_replacement=False,
    augment=Augment(mirror=True, scale=(0.8, 1.25), jitter=4),
    frozen=("conv1_1",),
    absent=Absent.IN_NEITHER,
    evaluate_every=10,
    checkpoint_every=3,
    seed=3,
)

if __name__ == "__main__":
    main(RECIPE)
