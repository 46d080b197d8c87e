"""Commands that turn other people's weights into ours, and ours into theirs."""

from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from fcn_jax.main import messages


def convert(
    kind: Positional[Literal["torchvision", "caffe_npz"]],
    source: Positional[Path],
    target: Positional[Path],
    /,
) -> None:
    """Turn other people's weights into ours (.safetensors).

    Args:
        kind: what made the source file.
        source: the file, e.g. vgg16.npz from weights/export_torchvision.py.
        target: the file to write, e.g. weights/vgg16.safetensors.
    """
    from fcn_jax.convert.kinds import convert

    with messages(False):
        print(convert(kind, source, target))
