"""Reads EfficientNet-Lite classifiers in PyTorch: the files of efficientnet-lite-pytorch.

Source: efficientnet-lite-pytorch 0.1.0, `model.py` (names); tensorflow/tpu
models/official/efficientnet/lite/efficientnet_lite_builder.py, `MEAN_RGB` and `STDDEV_RGB` (input).
"""

import re
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict

from fcn_jax.atomic import AnyPath
from fcn_jax.nets.fcn import Classifier
from fcn_jax.nets.inputs import placeholder
from fcn_jax.nets.trunks import EfficientNetLite
from fcn_jax.nets.trunks.efficientnet_lite import STAGES, VERSIONS, scaled
from fcn_jax.preprocessing import Preprocessing
from fcn_jax.weights.foreign.imported import Imported, check_empty, check_finite, check_no_net
from fcn_jax.weights.foreign.pth import read_pth
from fcn_jax.weights.foreign.torchvision_trunks import take_variables
from fcn_jax.weights.layouts import Arrays

INPUT = Preprocessing(channels="RGB", mean=(127.0,) * 3, std=(128.0,) * 3)
"""The README of efficientnet-lite-pytorch shows ImageNet's mean, which is that of other nets."""

LAYERS = {
    "trunk/stem": "_conv_stem",
    "trunk/stem_bn/norm": "_bn0",
    "head/conv": "_conv_head",
    "head/conv_bn/norm": "_bn1",
    "fc": "_fc",
}
PARTS = {
    "expand": "_expand_conv",
    "expand_bn/norm": "_bn0",
    "depthwise": "_depthwise_conv",
    "depthwise_bn/norm": "_bn1",
    "project": "_project_conv",
    "project_bn/norm": "_bn2",
}
"""The file's names of layers by ours: of the net, and of a block."""


def read_efficientnet_lite(path: AnyPath, net: nn.Module | None = None) -> Imported:
    """Reads a classifier of any version.

    Args:
        path: a `.pth` as published.
        net: None; the file says which version it is.

    Raises:
        ValueError: the file is damaged, of another model, lacks an array or has too many.
    """
    path = Path(path)
    check_no_net(net, path)
    arrays = read_pth(path)
    version = _version(arrays, path)
    trunk, classes = EfficientNetLite(version), np.size(arrays.get("_fc.bias", range(1000)))
    made = Classifier(trunk, num_classes=classes)
    image = placeholder(made, (1, trunk.crop, trunk.crop))
    shapes = jax.eval_shape(made.init, jax.random.key(0), image)
    variables = take_variables(shapes, _name_of, arrays, path)
    # `num_batches_tracked` counts the batches in the running averages; no net needs it.
    left = {name: a for name, a in arrays.items() if not name.endswith("num_batches_tracked")}
    check_empty(left, path)
    check_finite(
        {"/".join(k[1:]): [array] for k, array in dict[Any, Any](flatten_dict(variables)).items()},
        path,
    )
    return Imported(
        net=made,
        blobs={},
        variables=variables,
        preprocessing=INPUT,
        source=f"efficientnet-lite{version} of efficientnet-lite-pytorch, {path.name}",
    )


def _name_of(layer: str) -> str:
    """The file's name of a layer, from our path of modules."""
    block = re.fullmatch(r"trunk/block(\d+)/(.*)", layer)
    return f"_blocks.{block[1]}.{PARTS[block[2]]}" if block else LAYERS[layer]


def _version(arrays: Arrays, path: Path) -> int:
    """The version, from the number of blocks and the channels after the last."""
    blocks = sum(bool(re.fullmatch(r"_blocks\.\d+\._project_conv\.weight", n)) for n in arrays)
    shape = np.shape(arrays.get("_conv_head.weight", ()))
    for version, (width, _, _) in enumerate(VERSIONS):
        channels = scaled(STAGES[-1].channels, width)
        if shape[1:2] == (channels,) and blocks == sum(EfficientNetLite(version).repeats):
            return version
    raise ValueError(
        f"{path} is not of EfficientNet-Lite 0 to {len(VERSIONS) - 1}: it has {blocks} blocks and "
        f"_conv_head.weight {shape}. Check that it is of the kind that was named."
    )
