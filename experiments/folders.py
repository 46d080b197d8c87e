"""Your own images and labels, in two folders, without writing code.

    python -m experiments.folders --data DIR --num-classes 5

DIR holds `images/NAME.jpg` and `labels/NAME.png`, 8-bit palette or gray PNGs whose pixel values are
the classes, background included, or 255 where a pixel is ignored. A fixed tenth of the images (or
of those in `--train-list`) is held out, unless `--validation-list` names other images. Images may
be of any kind (docs/images.md); `--max-value 4095` says which number is white in images of 12 bits,
`--bands 4,3,2` which bands are red, green and blue. The net is
SqueezeNet from ImageNet weights (weights/README.md) with scores at strides 16, 8 and 4; a CPU is
enough to train it.
"""

from fcn_jax import FCN, FromWeights, NormalizedUpsampling, Recipe, SqueezeNet, main
from fcn_jax.data import Augment, Folders
from fcn_jax.data.images import parse_bands
from fcn_jax.losses import Normalization, Softmax
from fcn_jax.metrics import Absent
from fcn_jax.optim import AdamW


def recipe(
    num_classes: int,
    images: str = "images",
    labels: str = "labels",
    train_list: str | None = None,
    validation_list: str | None = None,
    steps: int = 2000,
    batch_size: int = 8,
    learning_rate: float = 1e-3,
    seed: int = 0,
    max_value: int | None = None,
    bands: str = "",
) -> Recipe:
    """The recipe for a set of images; the parameters are the options of the command line.

    Raises:
        ValueError: a list of validation images is given without a list of training images; or
            `max_value` or `bands` mean nothing.
    """
    if validation_list and not train_list:
        raise ValueError(
            f"--validation-list {validation_list} without --train-list: name the training images "
            "too, so that no image is in both"
        )
    rest, tenth = (None, None) if validation_list else (False, True)

    def part(split: str | None, held_out: bool | None) -> Folders:
        return Folders(
            images=images,
            labels=labels,
            num_classes=num_classes,
            split=split,
            held_out=held_out,
            max_value=max_value,
            bands=parse_bands(bands),
        )

    return Recipe(
        model=FCN(
            trunk=SqueezeNet(aligned=True),
            num_classes=num_classes,
            skips=("fire8", "fire4"),
            upsampling=NormalizedUpsampling,
            final_upsampling=NormalizedUpsampling,
        ),
        train_set=part(train_list, rest),
        validation_set=part(validation_list or train_list, tenth),
        start=FromWeights(file="squeezenet1_0.safetensors"),
        optimizer=AdamW(
            learning_rate=learning_rate,
            weight_decay=1e-2,
            warmup_steps=min(100, steps // 10),
            total_steps=steps,
            end_factor=0.01,
            multipliers=(("trunk", 0.3),),
            clip_norm=5.0,
        ),
        loss=Softmax(normalization=Normalization.VALID),
        batch_size=batch_size,
        accumulate=1,
        steps=steps,
        with_replacement=False,
        augment=Augment(mirror=True),
        frozen=(),
        absent=Absent.IN_NEITHER,
        evaluate_every=max(steps // 5, 1),
        checkpoint_every=max(steps // 10, 1),
        seed=seed,
    )


RECIPE = recipe(num_classes=2)  # an example for `explain`: foreground and background

if __name__ == "__main__":
    main(recipe)
