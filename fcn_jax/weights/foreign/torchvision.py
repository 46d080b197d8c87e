"""torchvision's classifiers, from the `.pth` files that it publishes.

Or from the `.npz` that `weights/export_torchvision.py` writes where torchvision is installed.

torchvision's nets take RGB in 0..1, minus a mean, over a standard deviation; ours take BGR in
0..255 minus a mean. The first convolution absorbs the difference exactly:
`kernel[o, c] / (255 * std[c])`, channels reversed, the bias as it is, and `255 * mean` as the
mean. With any other mean the function would change wherever zero padding is seen.

torchvision's pretrained GoogLeNet itself turns what it is given into (pixel - 0.5) / 0.5
(`transform_input`), so that this is its mean and standard deviation. The file does not say whether
its net does; all that torchvision publishes do.

Batch normalisation after a convolution is absorbed by it as well, which is exact as long as the
running averages are used. `VGG16(batch_norm=True)` is for training from scratch: it normalises
fc6 and fc7 too, which torchvision's net does not.
"""

from pathlib import Path

import flax.linen as nn
import numpy as np

from fcn_jax.preprocessing import Preprocessing
from fcn_jax.weights.foreign.imported import (
    Imported,
    check_empty,
    check_finite,
    classifier,
    no_net,
    read_npz,
    take,
)
from fcn_jax.weights.foreign.pth import read_pth
from fcn_jax.weights.foreign.torchvision_nets import NETS
from fcn_jax.weights.weights_file import json_object

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


def read_torchvision(path: Path, net: nn.Module | None = None) -> Imported:
    """Reads one of torchvision's classifiers, a key of `NETS`.

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
    if model not in NETS:
        raise ValueError(
            f"{path} holds {model!r}; expected one of {', '.join(NETS)}. Choose one of these."
        )
    trunk, blobs, first, notes = NETS[model](arrays, path)
    # How many batches the running averages are of.
    left = {name: a for name, a in arrays.items() if not name.endswith("num_batches_tracked")}
    check_empty(left, path)
    check_finite(blobs, path)
    mean, std = (np.asarray(about.get(name), np.float64) for name in ("mean", "std"))
    if mean.shape != (3,) or std.shape != (3,):
        raise ValueError(f"{path} says no mean and standard deviation of RGB. Export it again.")
    if model == "googlenet":
        mean, std = transformed(mean, std)
    kernel, bias = blobs[first]
    blobs[first] = [fold_input(kernel, list(std)), bias]
    return Imported(
        net=classifier(trunk, blobs),
        blobs=blobs,
        preprocessing=Preprocessing(
            channels="BGR", mean=tuple(255 * m for m in reversed(mean.tolist()))
        ),
        source=source,
        notes=notes,
    )


def transformed(mean: np.ndarray, std: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation in effect where the net transforms its input.

    Args:
        mean: of RGB, for pixels in 0..1, that is taken from the image.
        std: by which it is then divided.

    Returns:
        Both 0.5, if the above are ImageNet's.

    Source: `_transform_input` in torchvision's googlenet.py, `x * STD / 0.5 + (MEAN - 0.5) / 0.5`.
    """
    ratio = std / np.asarray(STD)
    return mean - (np.asarray(MEAN) - 0.5) * ratio, 0.5 * ratio


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
