"""torchvision's classifiers, from the `.pth` files that it publishes.

Or from the `.npz` that `weights/export_torchvision.py` writes where torchvision is installed.

torchvision's nets take RGB in 0..1, minus a mean, over a standard deviation; ours take BGR in
0..255 minus a mean. The first convolution absorbs the difference exactly:
`kernel[o, c] / (255 * std[c])`, channels reversed, the bias as it is, and `255 * mean` as the
mean. With any other mean the function would change wherever zero padding is seen.

Batch normalisation after a convolution is absorbed by it as well, which is exact as long as the
running averages are used. `VGG16(batch_norm=True)` is for training from scratch: it normalises
fc6 and fc7 too, which torchvision's net does not.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import flax.linen as nn
import numpy as np

from fcn_jax.convert.imported import (
    Arrays,
    Blobs,
    Imported,
    check_empty,
    check_finite,
    classifier,
    layers_of,
    no_net,
    outputs,
    read_npz,
    take,
)
from fcn_jax.convert.pth import read_pth
from fcn_jax.convert.weights_file import json_object
from fcn_jax.preprocessing import Preprocessing
from fcn_jax.trunks import VGG16, SqueezeNet
from fcn_jax.trunks.squeezenet import FIRES
from fcn_jax.trunks.vgg import STAGES

EPSILON = 1e-5
"""Added to the variance. Source: default of `torch.nn.BatchNorm2d`."""

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""RGB, pixels in 0..1, of every published file. Source: torchvision.transforms._presets."""

SIGNS = {
    "inception3a.branch1.conv.weight": "googlenet",
    "features.5.squeeze.weight": "squeezenet1_0",
    "features.6.squeeze.weight": "squeezenet1_1",
    "classifier.4.weight": "alexnet",
    "features.41.running_mean": "vgg16_bn",
    "features.28.weight": "vgg16",
}
"""An array that a published file of this model has, and none before it in this table."""

OTHERS = {
    "alexnet": "it has neither normalisation nor groups, and other widths than Caffe's, which"
    " fcn_jax.AlexNet is; convert bvlc_reference_caffenet.caffemodel instead",
    "googlenet": "it has batch normalisation, and 3x3 convolutions where Caffe's, which"
    " fcn_jax.GoogLeNet is, has 5x5 ones; convert bvlc_googlenet.caffemodel instead",
    "squeezenet1_1": "fcn_jax.SqueezeNet is version 1.0; convert squeezenet1_0 instead",
}
"""Models for which there is no trunk, and what to do."""


def read_torchvision(path: Path, net: nn.Module | None = None) -> Imported:
    """Reads `vgg16`, `vgg16_bn` or `squeezenet1_0`.

    Args:
        path: a published `.pth`, or the export script's `.npz`.
        net: None; the file says which net it is for.

    Raises:
        ValueError: the file is damaged, of another model, lacks an array or has too many.
    """
    no_net(net, path)
    if path.suffix == ".npz":
        arrays = read_npz(path)
        about = json_object(str(take(arrays, "metadata", path)))
        model = str(about.get("model"))
        source = f"{model} {about.get('weights')}, torchvision {about.get('torchvision')}"
    else:
        arrays = read_pth(path)
        about = {"mean": MEAN, "std": STD}
        model = next((model for sign, model in SIGNS.items() if sign in arrays), "another model")
        source = f"{model} of torchvision, {path.name}"
    if model not in READERS:
        hint = f": {OTHERS[model]}" if model in OTHERS else ". Choose one of these"
        raise ValueError(f"{path} holds {model!r}; expected one of {', '.join(READERS)}{hint}.")
    trunk, blobs, first = READERS[model](arrays, path)
    # How many batches the running averages are of.
    left = {name: a for name, a in arrays.items() if not name.endswith("num_batches_tracked")}
    check_empty(left, path)
    check_finite(blobs, path)
    mean, std = (np.asarray(about.get(name), np.float64) for name in ("mean", "std"))
    if mean.shape != (3,) or std.shape != (3,):
        raise ValueError(f"{path} says no mean and standard deviation of RGB. Export it again.")
    kernel, bias = blobs[first]
    blobs[first] = [fold_input(kernel, list(std)), bias]
    return Imported(
        net=classifier(trunk, blobs),
        blobs=blobs,
        preprocessing=Preprocessing(
            channels="BGR", mean=tuple(255 * m for m in reversed(mean.tolist()))
        ),
        source=source,
    )


def fold_input(kernel: np.ndarray, std: list[float]) -> np.ndarray:
    """A first convolution for BGR in 0..255 from one for RGB in 0..1 over `std`.

    Args:
        kernel: (out, 3, rows, columns), channels RGB.
        std: per channel, RGB, for pixels in 0..1.

    Returns:
        float32 kernel, channels BGR.
    """
    scaled = kernel.astype(np.float64) / (255 * np.asarray(std, np.float64)[:, None, None])
    return scaled[:, ::-1].astype(np.float32)


def fold_batch_norm(blobs: list[np.ndarray], norm: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Kernel and bias of a convolution that does what convolution and normalisation did.

    Args:
        blobs: kernel (out, in, rows, columns) and bias.
        norm: `weight`, `bias`, `running_mean` and `running_var` of the normalisation.

    Returns:
        float32 kernel and bias.
    """
    kernel, bias, gain, shift, mean, variance = (
        np.asarray(a, np.float64)
        for a in (*blobs, *(norm[n] for n in ("weight", "bias", "running_mean", "running_var")))
    )
    factor = gain / np.sqrt(variance + EPSILON)
    return [
        (kernel * factor[:, None, None, None]).astype(np.float32),
        ((bias - mean) * factor + shift).astype(np.float32),
    ]


def vgg16(arrays: Arrays, path: Path, *, batch_norm: bool = False) -> tuple[VGG16, Blobs, str]:
    """The trunk, its blobs and its first layer's name, from torchvision's names.

    Convolution, (normalisation,) ReLU per layer and a pool per stage are numbered through.
    """
    names, at = {}, 0
    for stage, channels in enumerate(STAGES, 1):
        for i, _ in enumerate(channels, 1):
            names[f"conv{stage}_{i}"] = f"features.{at}"
            at += 3 if batch_norm else 2
        at += 1
    convolutions = tuple(names)
    names |= {"fc6": "classifier.0", "fc7": "classifier.3", "fc8": "classifier.6"}
    blobs = layers_of(arrays, _torch(names), path)
    if batch_norm:
        for layer in convolutions:
            prefix, index = names[layer].split(".")
            norm = {
                name: take(arrays, f"{prefix}.{int(index) + 1}.{name}", path)
                for name in ("weight", "bias", "running_mean", "running_var")
            }
            blobs[layer] = fold_batch_norm(blobs[layer], norm)
    return VGG16(width=outputs(blobs["conv1_1"]) / STAGES[0][0]), blobs, "conv1_1"


def _vgg16_bn(arrays: Arrays, path: Path) -> tuple[VGG16, Blobs, str]:
    return vgg16(arrays, path, batch_norm=True)


def _squeezenet(arrays: Arrays, path: Path) -> tuple[SqueezeNet, Blobs, str]:
    """Convolution, ReLU, pool; then the fire modules, with a pool after fire4 and fire8."""
    names, at = {"conv1": "features.0", "conv10": "classifier.1"}, 3
    for i, _ in enumerate(FIRES, 2):
        for part in ("squeeze", "expand1x1", "expand3x3"):
            ours = "squeeze1x1" if part == "squeeze" else part
            names[f"fire{i}/{ours}"] = f"features.{at}.{part}"
        at += 2 if i in (4, 8) else 1
    return SqueezeNet(), layers_of(arrays, _torch(names), path), "conv1"


def _torch(names: dict[str, str]) -> dict[str, tuple[str, str]]:
    return {ours: (f"{name}.weight", f"{name}.bias") for ours, name in names.items()}


READERS: dict[str, Callable] = {
    "vgg16": vgg16,
    "vgg16_bn": _vgg16_bn,
    "squeezenet1_0": _squeezenet,
}
"""By torchvision's name of the model: arrays to trunk, blobs and name of the first layer."""
