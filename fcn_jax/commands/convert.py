"""`python -m fcn_jax convert`."""

from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from fcn_jax.commands.options import check_target


def convert(
    kind: Positional[
        Literal[
            "caffe", "caffe_npz", "efficientnet_lite", "pytorch_fcn", "smp", "timm", "torchvision"
        ]
    ],
    source: Positional[Path],
    target: Positional[Path],
    /,
    net: str | None = None,
    mean: tuple[float, float, float] | None = None,
) -> None:
    """Convert weights of other frameworks to ours (.safetensors).

    A model card is written beside them: TARGET.md, and the same as TARGET.json.

    Args:
        kind: what wrote the source file.
        source: the file, e.g. fcn8s-heavy-pascal.caffemodel. A hash in its name, as in
            vgg16-397923af.pth, must be that of the file.
        target: the file to write, e.g. weights/vgg16.safetensors.
        net: recipe whose net the file of a complete FCN is for, e.g. experiments.voc_fcn8s;
            classifiers need none.
        mean: of blue, green and red, 0..255, that the net's first layer expects. [the recipe's, or
            VOC's]
    """
    from fcn_jax.preprocessing import Preprocessing
    from fcn_jax.report.card import write_card
    from fcn_jax.runs.cards import conversion_card
    from fcn_jax.runs.lookup import recipe_named, recipe_preprocessing
    from fcn_jax.runs.messages import messages
    from fcn_jax.weights.foreign.convert import convert

    with messages(debug=False):
        recipe = recipe_named(net) if net else None
        preprocessing = recipe_preprocessing(net) if net else None
        check_target(source, target)
        if mean:
            if not all(0 <= value <= 255 for value in mean):
                raise ValueError(f"--mean: expected three numbers in 0..255, found {mean}")
            preprocessing = Preprocessing(channels="BGR", mean=mean)
        done = convert(
            kind,
            source,
            target,
            recipe and recipe.model,
            preprocessing,
            recipe.train_set.class_names if recipe else (),
        )
        print(done)
        written = write_card(target.with_suffix(".md"), conversion_card(kind, done))
        print(f"  card: {', '.join(map(str, written)) or 'not written over files of others'}")
