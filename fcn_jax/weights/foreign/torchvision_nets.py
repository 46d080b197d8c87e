"""Maps the arrays of torchvision's classifiers to our layers, by name.

Source: pytorch/vision torchvision/models/{vgg,alexnet,googlenet,squeezenet}.py.
"""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import numpy as np

from fcn_jax.nets.trunks import VGG16, SqueezeNet
from fcn_jax.nets.trunks.alexnet import TorchvisionAlexNet
from fcn_jax.nets.trunks.googlenet import BLOCKS, TorchvisionGoogLeNet
from fcn_jax.nets.trunks.squeezenet import FIRES, SqueezeNet11
from fcn_jax.nets.trunks.vgg import STAGES
from fcn_jax.weights.foreign.imported import outputs, take, take_layers
from fcn_jax.weights.layouts import Arrays, Blobs

PARTS = (".weight", ".bias")
NORM = ("weight", "bias", "running_mean", "running_var")
"""The arrays of a batch normalisation."""

EPSILON = 1e-5
"""Added to the variance. Source: default of `torch.nn.BatchNorm2d`."""

GOOGLENET_EPSILON = 1e-3
"""GoogLeNet's. Source: `BasicConv2d` of torchvision's googlenet.py."""


class Found(NamedTuple):
    """A net found in a file of torchvision's.

    Attributes:
        trunk: the net without its last layer.
        blobs: kernel and bias of every layer, including the last; the first sees the image.
        notes: what of the file is left out, a line each.
    """

    trunk: nn.Module
    blobs: Blobs
    notes: tuple[str, ...] = ()


def fold_batch_norm(
    blobs: list[np.ndarray], norm: Mapping[str, np.ndarray], epsilon: float = EPSILON
) -> list[np.ndarray]:
    """Kernel and bias of one convolution equal to a convolution and its normalisation.

    Args:
        blobs: kernel (out, in, rows, columns) and bias.
        norm: `weight`, `bias`, `running_mean` and `running_var` of the normalisation.
        epsilon: added to the variance.

    Returns:
        float32 kernel and bias.
    """
    kernel, bias, gain, shift, mean, variance = (
        np.asarray(a, np.float64) for a in (*blobs, *(norm[n] for n in NORM))
    )
    factor = gain / np.sqrt(variance + epsilon)
    return [
        (kernel * factor[:, None, None, None]).astype(np.float32),
        ((bias - mean) * factor + shift).astype(np.float32),
    ]


def vgg16(arrays: Arrays, path: Path, *, batch_norm: bool = False) -> Found:
    """`features` counts a convolution, (a normalisation) and a ReLU per layer, a pool per stage."""
    names, norms, number = {}, {}, 0
    for stage, channels in enumerate(STAGES, 1):
        for i, _ in enumerate(channels, 1):
            names[f"conv{stage}_{i}"] = f"features.{number}"
            norms[f"conv{stage}_{i}"] = f"features.{number + 1}"
            number += 3 if batch_norm else 2
        number += 1
    names |= {"fc6": "classifier.0", "fc7": "classifier.3", "fc8": "classifier.6"}
    blobs = take_layers(arrays, names, PARTS, path)
    if batch_norm:
        for layer, name in norms.items():
            blobs[layer] = fold_batch_norm(blobs[layer], _take_norm(arrays, name, path))
    return Found(VGG16(width=outputs(blobs["conv1_1"]) / STAGES[0][0]), blobs)


def alexnet(arrays: Arrays, path: Path) -> Found:
    """Five convolutions, numbered with their ReLUs and pools; three layers with dropout between."""
    names = {f"conv{i}": f"features.{number}" for i, number in enumerate((0, 3, 6, 8, 10), 1)}
    names |= {"fc6": "classifier.1", "fc7": "classifier.4", "fc8": "classifier.6"}
    blobs = take_layers(arrays, names, PARTS, path)
    width = outputs(blobs["conv1"]) / TorchvisionAlexNet.channels[0]
    return Found(TorchvisionAlexNet(width=width), blobs)


def googlenet(arrays: Arrays, path: Path) -> Found:
    """Convolutions without bias, each with a normalisation; drops two classifiers for training."""
    names = {"conv1/7x7_s2": "conv1", "conv2/3x3_reduce": "conv2", "conv2/3x3": "conv3"}
    branches = ("1x1", "3x3_reduce", "3x3", "5x5_reduce", "5x5", "pool_proj")
    theirs = ("branch1", "branch2.0", "branch2.1", "branch3.0", "branch3.1", "branch4.1")
    for block in BLOCKS:
        for branch, name in zip(branches, theirs, strict=True):
            names[f"inception_{block}/{branch}"] = f"inception{block}.{name}"
    blobs = {}
    for layer, name in names.items():
        kernel = take(arrays, f"{name}.conv.weight", path)
        norm = _take_norm(arrays, f"{name}.bn", path)
        blobs[layer] = fold_batch_norm([kernel, np.zeros(len(kernel))], norm, GOOGLENET_EPSILON)
    blobs |= take_layers(arrays, {"loss3_classifier": "fc"}, PARTS, path)
    training = [name for name in arrays if name.startswith(("aux1.", "aux2."))]
    for name in training:
        del arrays[name]
    notes = ("aux1, aux2: classifiers for training",) if training else ()
    width = outputs(blobs["conv1/7x7_s2"]) / 64  # conv1's channels at width 1
    return Found(TorchvisionGoogLeNet(width=width), blobs, notes)


def squeezenet(arrays: Arrays, path: Path, trunk: SqueezeNet) -> Found:
    """Convolution, ReLU, pool; then the fire modules, numbered with the pools between them."""
    names, number = {"conv1": "features.0", "conv10": "classifier.1"}, 3
    for i, _ in enumerate(FIRES, 2):
        for part in ("squeeze", "expand1x1", "expand3x3"):
            ours = "squeeze1x1" if part == "squeeze" else part
            names[f"fire{i}/{ours}"] = f"features.{number}.{part}"
        number += 2 if i in trunk.pools else 1
    return Found(trunk, take_layers(arrays, names, PARTS, path))


def _take_norm(arrays: Arrays, name: str, path: Path) -> dict[str, np.ndarray]:
    return {part: take(arrays, f"{name}.{part}", path) for part in NORM}


NETS: dict[str, Callable[[Arrays, Path], Found]] = {
    "vgg16": vgg16,
    "vgg16_bn": functools.partial(vgg16, batch_norm=True),
    "alexnet": alexnet,
    "googlenet": googlenet,
    "squeezenet1_0": lambda arrays, path: squeezenet(arrays, path, SqueezeNet()),
    "squeezenet1_1": lambda arrays, path: squeezenet(arrays, path, SqueezeNet11()),
}
"""By torchvision's name of the model: a function of the arrays and the file's path."""
