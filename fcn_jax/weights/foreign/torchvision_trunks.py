"""torchvision's names of the arrays of ResNet, MobileNetV3 and ConvNeXt, and our variables.

The rules are those that the trunks' docstrings state. Nothing is folded: batch norms stay, and the
net sees RGB in 0..1, minus ImageNet's mean, over its deviation.

Source: state dicts of torchvision 0.29.1.
"""

import re
from collections.abc import Callable, Set
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from flax import traverse_util

from fcn_jax.nets.fcn import Classifier
from fcn_jax.nets.inputs import placeholder
from fcn_jax.nets.trunks import ConvNeXt, MobileNetV3, ResNet
from fcn_jax.weights.foreign.imported import check_empty, take
from fcn_jax.weights.layouts import Arrays

CROP = 224
"""Rows and columns that the classifiers were made for."""

ENDINGS = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
"""torch's names of arrays; a bias keeps its own."""

CLASSIFIERS = {
    ResNet: {"fc": "fc"},
    MobileNetV3: {"pooled/fc1": "classifier.0", "fc2": "classifier.3"},
    ConvNeXt: {"pooled/norm": "classifier.0", "fc": "classifier.2"},
}
"""torchvision's names of a classifier's layers after the trunk."""


def resnet_name(layer: str, layers: Set[str]) -> str:
    """`layer1_0/conv1` is `layer1.0.conv1`."""
    return re.sub(r"_(\d+)", r".\1", layer.removesuffix("/norm")).replace("/", ".")


def mobilenet_v3_name(layer: str, layers: Set[str]) -> str:
    """`block4/depthwise_bn/norm` is `features.4.block.1.1`."""
    block, *rest = layer.removesuffix("/norm").split("/")
    number = block.removeprefix("block").removesuffix("_bn")
    if not rest:
        return f"features.{number}.{int(block.endswith('_bn'))}"
    part = rest[0].removesuffix("_bn")
    parts = [p for p in ("expand", "depthwise", "se/fc1", "project") if f"{block}/{p}" in layers]
    index = [p.split("/")[0] for p in parts].index(part)
    last = rest[1] if part == "se" else int(rest[0].endswith("_bn"))
    return f"features.{number}.block.{index}.{last}"


def convnext_name(layer: str, layers: Set[str]) -> str:
    """`stage2_0/fc1` is `features.3.0.block.3`."""
    if found := re.fullmatch(r"stage(\d)_(\d+)/(\w+)", layer):
        stage, block, part = found.groups()
        parts = {"depthwise": "block.0", "norm": "block.2", "fc1": "block.3", "fc2": "block.5"}
        return f"features.{2 * int(stage) - 1}.{block}.{parts.get(part, part)}"
    if layer.startswith("stem"):
        return f"features.0.{int(layer == 'stem_norm')}"
    return f"features.{2 * int(layer[4]) - 2}.{int(not layer.endswith('_norm'))}"


NAMES: dict[type[nn.Module], Callable[[str, Set[str]], str]] = {
    ResNet: resnet_name,
    MobileNetV3: mobilenet_v3_name,
    ConvNeXt: convnext_name,
}
"""By trunk: from the path of a layer, and those of all of its layers, to torchvision's name."""


def classifier_variables(net: Classifier, arrays: Arrays, path: Path) -> dict[str, Any]:
    """The variables of a classifier on one of these trunks.

    Args:
        net: its trunk and its number of classes are those of the file.
        arrays: by torchvision's names; those that the net has are taken out.
        path: the file, for messages.

    Raises:
        ValueError: an array is missing, has another shape, or belongs to no layer.
    """
    shapes = jax.eval_shape(net.init, jax.random.key(0), placeholder(net, (1, CROP, CROP)))
    layers = trunk_layers(shapes["params"]["trunk"])
    rule, endings = NAMES[type(net.trunk)], CLASSIFIERS[type(net.trunk)]

    def name(layer: str) -> str:
        return endings.get(layer) or rule(layer.removeprefix("trunk/"), layers)

    variables = take_variables(shapes, name, arrays, path)
    check_empty({n: a for n, a in arrays.items() if not n.endswith("num_batches_tracked")}, path)
    return variables


def trunk_layers(params: dict[str, Any]) -> frozenset[str]:
    """The paths of a trunk's layers, such as `layer1_0/conv1`, from its parameters."""
    return frozenset("/".join(key[:-1]) for key in traverse_util.flatten_dict(params))


def take_variables(
    shapes: dict[str, Any], name: Callable[[str], str], arrays: Arrays, path: Path
) -> dict[str, Any]:
    """Variables of these shapes, taken out of a file's arrays.

    Args:
        shapes: of a net's `params` and `batch_stats`.
        name: the file's name of a layer, from our path: `conv1`, of `trunk/conv1`.
        arrays: by the file's names, in torch's layout.
        path: the file, for messages.

    Raises:
        ValueError: an array is missing or has another shape.
    """
    taken, leaves = {}, dict[Any, Any](traverse_util.flatten_dict(shapes))
    for key, leaf in leaves.items():
        full, part = name("/".join(key[1:-1])), key[-1]
        if not full.endswith("layer_scale"):  # an array without a layer
            full = f"{full}.{ENDINGS.get(part, part)}"
        taken[key] = _ours(full, take(arrays, full, path), leaf.shape, path)
    return traverse_util.unflatten_dict(taken)


def _ours(name: str, array: np.ndarray, shape: tuple[int, ...], path: Path) -> np.ndarray:
    """An array in our layout: kernels are (rows, columns, in, out), the others have one axis."""
    value = np.asarray(array, np.float32)
    if len(shape) == 4:  # fully connected layers are 1x1 convolutions
        value = value.reshape(value.shape + (1,) * (4 - value.ndim)).transpose(2, 3, 1, 0)
    elif value.shape == (*shape, 1, 1):  # ConvNeXt's layer scale
        value = value[:, 0, 0]
    if value.shape != shape:
        raise ValueError(
            f"{path}: {name} has shape {np.shape(array)}; the net needs {shape} there, with the "
            "channels last. Check the net's depth and width"
        )
    return np.ascontiguousarray(value)
