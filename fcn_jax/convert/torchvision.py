"""torchvision's classifiers from the `.npz` that `weights/export_torchvision.py` writes.

torchvision's nets take RGB in 0..1, minus a mean, over a standard deviation; ours take BGR in
0..255 minus a mean. The first convolution absorbs the difference exactly:
`kernel[o, c] / (255 * std[c])`, channels reversed, the bias as it is, and `255 * mean` as the
mean. With any other mean the function would change wherever zero padding is seen.

Batch normalisation after a convolution is absorbed by it as well, which is exact as long as the
running averages are used. `VGG16(batch_norm=True)` is for training from scratch: it normalises
fc6 and fc7 too, which torchvision's net does not.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from fcn_jax.convert.imported import Imported, check_finite, layers_of, read_npz, take
from fcn_jax.convert.weights_file import Preprocessing
from fcn_jax.trunks import VGG16, SqueezeNet
from fcn_jax.trunks.squeezenet import FIRES
from fcn_jax.trunks.vgg import STAGES

EPSILON = 1e-5
"""Added to the variance. Source: default of `torch.nn.BatchNorm2d`."""

Arrays = dict[str, np.ndarray]
Blobs = dict[str, list[np.ndarray]]


def read_torchvision(path: Path) -> Imported:
    """Reads `vgg16`, `vgg16_bn` or `squeezenet1_0`.

    Raises:
        ValueError: the file was not written by the export script, is of another model, or lacks
            an array.
    """
    arrays = read_npz(path)
    about = json.loads(str(take(arrays, "metadata", path)))
    model = about["model"]
    if model not in READERS:
        raise ValueError(
            f"{path} holds {model!r}; expected one of {', '.join(READERS)}."
            " Export one of these, or add a reader."
        )
    trunk, blobs, first = READERS[model](arrays, path)
    check_finite(blobs, path)
    kernel, bias = blobs[first]
    blobs[first] = [fold_input(kernel, about["std"]), bias]
    return Imported(
        trunk=trunk,
        blobs=blobs,
        preprocessing=Preprocessing(
            channels="BGR", mean=tuple(255 * m for m in reversed(about["mean"]))
        ),
        source=f"{model} {about['weights']}, torchvision {about['torchvision']}",
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


def _vgg16(arrays: Arrays, path: Path, *, batch_norm: bool = False) -> tuple[VGG16, Blobs, str]:
    """Convolution, (normalisation,) ReLU per layer and a pool per stage, numbered through."""
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
    return VGG16(width=blobs["conv1_1"][0].shape[0] / STAGES[0][0]), blobs, "conv1_1"


def _vgg16_bn(arrays: Arrays, path: Path) -> tuple[VGG16, Blobs, str]:
    return _vgg16(arrays, path, batch_norm=True)


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
    "vgg16": _vgg16,
    "vgg16_bn": _vgg16_bn,
    "squeezenet1_0": _squeezenet,
}
"""By torchvision's name of the model: arrays to trunk, blobs and name of the first layer."""
