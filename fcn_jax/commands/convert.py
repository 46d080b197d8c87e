"""`python -m fcn_jax convert`."""

from pathlib import Path
from typing import Literal

from tyro.conf import Positional


def convert(
    kind: Positional[Literal["caffe", "caffe_npz", "pytorch_fcn", "torchvision"]],
    source: Positional[Path],
    target: Positional[Path],
    /,
    net: str | None = None,
    mean: tuple[float, float, float] | None = None,
) -> None:
    """Turn other people's weights into ours (.safetensors).

    Args:
        kind: what made the source file.
        source: the file, e.g. fcn8s-heavy-pascal.caffemodel, vgg16-397923af.pth.
        target: the file to write, e.g. weights/vgg16.safetensors.
        net: recipe whose net a file of a whole FCN is for, e.g. experiments.voc_fcn8s; classifiers
            need none.
        mean: of blue, green and red, 0..255, that the net's first layer expects. [the recipe's, or
            VOC's]
    """
    from fcn_jax.preprocessing import Preprocessing
    from fcn_jax.runs.lookup import recipe_named, recipe_preprocessing
    from fcn_jax.runs.messages import messages
    from fcn_jax.weights.foreign.kinds import convert

    with messages(False):
        model = recipe_named(net).model if net else None
        preprocessing = recipe_preprocessing(net) if net else None
        check_target(source, target)
        if mean:
            if not all(0 <= value <= 255 for value in mean):
                raise ValueError(f"--mean: expected three numbers in 0..255, found {mean}")
            preprocessing = Preprocessing(channels="BGR", mean=mean)
        print(convert(kind, source, target, model, preprocessing))


def check_target(source: Path, target: Path) -> None:
    """Raises ValueError where the result would replace what it is made from."""
    if source.resolve() == target.resolve():
        raise ValueError(f"{target}: expected another file than the source, which it would replace")
