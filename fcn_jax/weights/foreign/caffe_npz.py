"""SqueezeNet 1.0 as decoded from its compressed Caffe model.

Source: songhan/SqueezeNet-Deep-Compression; `weights/README.md` has the checksum.
"""

from pathlib import Path

import flax.linen as nn

from fcn_jax.nets.trunks import SqueezeNet
from fcn_jax.nets.trunks.squeezenet import FIRES
from fcn_jax.preprocessing import Preprocessing
from fcn_jax.weights.foreign.imported import (
    Imported,
    check_empty,
    check_finite,
    classifier,
    layers_of,
    no_net,
    read_npz,
)

FIRE = {"squeeze1x1": "conv1x1_1", "expand1x1": "conv1x1_2", "expand3x3": "conv3x3_2"}
"""Our names of the three convolutions of a fire module, and those of the file."""


def read_caffe_npz(path: Path, net: nn.Module | None = None) -> Imported:
    """Reads the `.npz` with arrays `conv1/w`, `fire2/conv1x1_1/w`, ..., `conv_final/b`.

    Raises:
        ValueError: the file is no such `.npz`, or lacks an array; or a net was named.
    """
    no_net(net, path)
    names = {"conv1": "conv1", "conv10": "conv_final"}
    for i, _ in enumerate(FIRES, 2):
        names |= {f"fire{i}/{ours}": f"fire{i}/{theirs}" for ours, theirs in FIRE.items()}
    arrays = read_npz(path)
    pairs = {ours: (f"{name}/w", f"{name}/b") for ours, name in names.items()}
    blobs = layers_of(arrays, pairs, path)
    check_empty(arrays, path)
    check_finite(blobs, path)
    return Imported(
        net=classifier(SqueezeNet(), blobs),
        blobs=blobs,
        # Source: forresti/SqueezeNet SqueezeNet_v1.0/train_val.prototxt.
        preprocessing=Preprocessing(channels="BGR", mean=(104.0, 117.0, 123.0)),
        source="SqueezeNet 1.0, ImageNet, songhan/SqueezeNet-Deep-Compression",
    )
