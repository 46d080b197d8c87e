"""Reads nets of torchvision, timm and segmentation_models.pytorch, found by their arrays' names.

Batch norms stay, nothing is folded: the net sees RGB in 0..255, minus ImageNet's mean, over its
deviation, which is what all of these publishers do. A file does not say so; where a net was trained
otherwise (timm has some), change `preprocessing`.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict

from fcn_jax.atomic import AnyPath
from fcn_jax.nets.fcn import Classifier
from fcn_jax.nets.inputs import placeholder
from fcn_jax.nets.trunks import ConvNeXt, MobileNetV3, ResNet
from fcn_jax.nets.trunks.resnet import STAGES
from fcn_jax.preprocessing import Preprocessing
from fcn_jax.weights.foreign.imported import Imported, check_empty, check_finite, check_no_net
from fcn_jax.weights.foreign.npz import read_npz
from fcn_jax.weights.foreign.pth import read_pth
from fcn_jax.weights.foreign.segmentation_nets import Published, smp_net, torchvision_net
from fcn_jax.weights.foreign.torchvision_trunks import (
    NAMES,
    classifier_variables,
    take_variables,
    trunk_layers,
)
from fcn_jax.weights.layouts import Arrays
from fcn_jax.weights.weights_file import read_safetensors

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""RGB, pixels in 0..1. Source: torchvision.transforms._presets; timm.data.constants."""

INPUT = Preprocessing(
    channels="RGB", mean=tuple(255 * m for m in MEAN), std=tuple(255 * s for s in STD)
)

VOC = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair",
    "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa",
    "train", "tvmonitor",
)  # fmt: skip
"""Classes of torchvision's published segmentation nets. Source: its `VOC_CLASSES`."""

RESIZED = (
    "the publisher resizes the shorter side of an image to 520 pixels first; this net takes the "
    "image as it is"
)
LICENCES = {
    "torchvision": "torchvision's code and weights: BSD 3-Clause; the data sets have own terms",
    "timm": "timm's code: Apache 2.0; its weights have the terms on their model cards",
    "smp": "segmentation_models.pytorch's code: MIT; the weights have their author's terms",
}


def read_arrays(path: AnyPath) -> Arrays:
    """The arrays of a `.pth`, `.safetensors` or `.npz` file by name, without PyTorch.

    Raises:
        ValueError: the file is damaged or of another kind.
    """
    path = Path(path)
    if path.suffix == ".npz":
        return dict(read_npz(path))
    return read_safetensors(path)[0] if path.suffix == ".safetensors" else read_pth(path)


def read_smp(path: AnyPath, net: nn.Module | None = None) -> Imported:
    """Reads a net of segmentation_models.pytorch on a ResNet: U-Net, FPN, PSPNet, DeepLabv3(+).

    Raises:
        ValueError: the file is damaged, of another net, lacks an array or has too many.
    """
    path = Path(path)
    check_no_net(net, path)
    arrays = read_arrays(path)
    return _segmenter(smp_net(arrays, path), arrays, path, "smp")


def read_timm(path: AnyPath, net: nn.Module | None = None) -> Imported:
    """Reads a classifier of timm's on ResNet, MobileNetV3-Large or ConvNeXt.

    Raises:
        ValueError: the file is damaged, of another net, lacks an array or has too many.
    """
    path = Path(path)
    check_no_net(net, path)
    arrays = read_arrays(path)
    mobile = "conv_stem.weight" in arrays
    rule = _timm_mobilenet if mobile else _timm_convnext  # ResNet's names are torchvision's
    arrays = {rule(name) or name: array for name, array in arrays.items()}
    return read_classifier(arrays, path, "timm", epsilon=1e-5 if mobile else 1e-3)


def read_torchvision_net(arrays: Arrays, path: Path) -> Imported:
    """A segmentation net of torchvision's, or a classifier on ResNet, MobileNetV3 or ConvNeXt.

    Raises:
        ValueError: the arrays are of another net, lack one or have too many.
    """
    if any(name.startswith("backbone.") for name in arrays):
        return _segmenter(torchvision_net(arrays, path), arrays, path, "torchvision")
    return read_classifier(arrays, path, "torchvision")


def read_classifier(arrays: Arrays, path: Path, publisher: str, epsilon: float = 1e-3) -> Imported:
    """A classifier by torchvision's names.

    Args:
        arrays: by name.
        path: the file, for messages.
        publisher: a key of `LICENCES`.
        epsilon: of MobileNetV3's batch norms: torchvision's and TensorFlow's 1e-3, or timm's 1e-5.

    Raises:
        ValueError: the arrays are of another net, lack one or have too many.
    """
    trunk, last = _trunk(arrays, path, epsilon)
    classes = np.size(arrays.get(f"{last}.bias", ()))
    net = Classifier(trunk, num_classes=classes)
    variables = classifier_variables(net, arrays, path)
    _check_finite(variables, path)
    return Imported(
        net=net,
        blobs={},
        variables=variables,
        preprocessing=INPUT,
        source=f"{type(trunk).__name__} of {publisher}, {path.name}",
        remarks=(LICENCES[publisher],),
    )


def _trunk(arrays: Arrays, path: Path, epsilon: float) -> tuple[Any, str]:
    """A classifier's trunk, and the name of its last layer."""
    if "fc.weight" in arrays and "layer1.0.conv1.weight" in arrays:
        stages = tuple(_count(arrays, rf"layer{stage}\.(\d+)\..*") for stage in (1, 2, 3, 4))
        bottleneck = "layer1.0.conv3.weight" in arrays
        for depth, known in STAGES.items():
            if known == stages and bottleneck == (depth >= 50):
                return ResNet(depth), "fc"
    if "features.0.0.weight" in arrays and "classifier.3.weight" in arrays:
        return MobileNetV3(epsilon=epsilon), "classifier.3"
    if "features.1.0.layer_scale" in arrays:
        stages = tuple(_count(arrays, rf"features\.{n}\.(\d+)\..*") for n in (1, 3, 5, 7))
        dims = tuple(np.shape(arrays[f"features.{n}.0.layer_scale"])[0] for n in (1, 3, 5, 7))
        made: Any = ConvNeXt
        return made(stages, dims), "classifier.2"
    names = ", ".join(list(arrays)[:3])
    raise ValueError(
        f"{path} holds a net that is not known here (its arrays are {names}, …); expected a "
        "classifier on ResNet 18, 34, 50 or 101, MobileNetV3-Large or ConvNeXt, or one of the nets "
        "in weights/README.md"
    )


def _count(arrays: Arrays, pattern: str) -> int:
    return len({found[1] for name in arrays if (found := re.fullmatch(pattern, name))})


def _segmenter(published: Published, arrays: Arrays, path: Path, publisher: str) -> Imported:
    net: Any = published.net
    shapes = jax.eval_shape(net.init, jax.random.key(0), placeholder(net))
    layers = trunk_layers(shapes["params"]["trunk"])
    rule: Callable[..., str] = NAMES[type(net.trunk)]

    def name(layer: str) -> str:
        if not layer.startswith("trunk/"):
            return published.names[layer]
        theirs = rule(layer.removeprefix("trunk/"), layers)
        return published.trunk + theirs.removeprefix("features.")

    variables = take_variables(shapes, name, arrays, path)
    check_empty({n: a for n, a in arrays.items() if not n.endswith("num_batches_tracked")}, path)
    _check_finite(variables, path)
    classes = net.num_classes
    return Imported(
        net=net,
        blobs={},
        variables=variables,
        preprocessing=INPUT,
        source=f"{published.name} of {publisher}, {path.name}",
        class_names=VOC if publisher == "torchvision" and classes == len(VOC) else (),
        remarks=(*((RESIZED,) if publisher == "torchvision" else ()), LICENCES[publisher]),
    )


def _check_finite(variables: dict[str, Any], path: Path) -> None:
    flat = dict[Any, Any](flatten_dict(variables))
    check_finite({"/".join(key[1:]): [array] for key, array in flat.items()}, path)


def _renamed(name: str, starts: dict[str, str]) -> str:
    """The name with another beginning; "" where it begins with none of them."""
    return next((new + name[len(old) :] for old, new in starts.items() if name.startswith(old)), "")


def _timm_convnext(name: str) -> str:
    """Torchvision's name of an array of timm's ConvNeXt; "" for others."""
    if found := re.fullmatch(r"stages\.(\d)\.downsample\.([01])\.(.*)", name):
        return f"features.{2 * int(found[1])}.{found[2]}.{found[3]}"
    if found := re.fullmatch(r"stages\.(\d)\.blocks\.(\d+)\.(.*)", name):
        part, _, kind = found[3].rpartition(".")
        number = {"conv_dw": 0, "norm": 2, "mlp.fc1": 3, "mlp.fc2": 5}.get(part, part)
        theirs = "layer_scale" if kind == "gamma" else f"block.{number}.{kind}"
        return f"features.{2 * int(found[1]) + 1}.{found[2]}.{theirs}"
    starts = {"stem.": "features.0.", "head.norm.": "classifier.0.", "head.fc.": "classifier.2."}
    return _renamed(name, starts)


def _timm_mobilenet(name: str) -> str:
    """Torchvision's name of an array of timm's MobileNetV3-Large; "" for others."""
    found = re.fullmatch(r"blocks\.([0-5])\.(\d)\.(.*)\.(\w+)", name)
    if not found:
        ends = {"conv_stem.": "features.0.0.", "bn1.": "features.0.1."}
        ends |= {"conv_head.": "classifier.0.", "classifier.": "classifier.3."}
        ends |= {"blocks.6.0.conv.": "features.16.0.", "blocks.6.0.bn1.": "features.16.1."}
        return _renamed(name, ends)
    stage, block, part, kind = int(found[1]), int(found[2]), found[3], found[4]
    number = 1 + sum((1, 2, 3, 4, 2, 3)[:stage]) + block
    convolutions = ("conv_dw", "conv_pw") if stage == 0 else ("conv_pw", "conv_dw", "conv_pwl")
    last = 3 if stage in (2, 4, 5) else len(convolutions) - 1  # after squeeze-and-excitation
    parts = {"se.conv_reduce": "2.fc1", "se.conv_expand": "2.fc2"}
    for i, conv in enumerate(convolutions):
        at = last if conv == convolutions[-1] else i
        parts |= {conv: f"{at}.0", f"bn{i + 1}": f"{at}.1"}
    return f"features.{number}.block.{parts[part]}.{kind}" if part in parts else ""
