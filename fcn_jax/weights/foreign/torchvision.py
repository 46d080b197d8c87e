"""Reads torchvision's classifiers: its `.pth` files, or what `weights/export_torchvision.py` wrote.

torchvision's nets take RGB in 0..1, minus a mean, over a standard deviation; ours take BGR in
0..255 minus a mean. The first convolution absorbs the difference exactly: its kernel becomes
`kernel[o, c] / (255 * std[c])` with the channels reversed, its bias stays, and the mean becomes
`255 * mean`. Any other mean would change the result wherever the kernel sees zero padding.

torchvision's pretrained GoogLeNet transforms its input into (pixel - 0.5) / 0.5
(`transform_input`), so its mean and standard deviation are 0.5. The file does not say whether its
net does this; all that torchvision publishes do.

A batch normalisation after a convolution is absorbed too, which is exact as long as the running
averages are used. `VGG16(batch_norm=True)` is for training from scratch: it also normalises fc6
and fc7, and torchvision's net does not.
"""

from pathlib import Path
from typing import Any

import flax.linen as nn
import numpy as np

from fcn_jax.atomic import AnyPath
from fcn_jax.preprocessing import Preprocessing
from fcn_jax.weights.foreign import imported
from fcn_jax.weights.foreign.torch_nets import MEAN, STD, read_arrays, read_torchvision_net
from fcn_jax.weights.foreign.torchvision_nets import NETS
from fcn_jax.weights.weights_file import json_object

SIGNS = {
    "inception3a.branch1.conv.weight": "googlenet",
    "features.5.squeeze.weight": "squeezenet1_0",
    "features.6.squeeze.weight": "squeezenet1_1",
    "classifier.4.weight": "alexnet",
    "features.41.running_mean": "vgg16_bn",
    "features.28.weight": "vgg16",
}
"""The model of each array that its published file has, and the models above it do not."""


def read_torchvision(path: AnyPath, net: nn.Module | None = None) -> imported.Imported:
    """Reads one of torchvision's classifiers, a key of `NETS`, or a net of `torch_nets`.

    Args:
        path: a published `.pth`, the same arrays as `.safetensors` or `.npz`, or the export
            script's `.npz`.
        net: None; the file says which net it is for.

    Raises:
        ValueError: the file is damaged, of another model, lacks an array or has too many.
    """
    path = Path(path)
    imported.check_no_net(net, path)
    arrays = read_arrays(path)
    if path.suffix == ".npz" and "metadata" in arrays:
        metadata = json_object(str(imported.take(arrays, "metadata", path)))
        model = str(metadata.get("model"))
        source = f"{model} {metadata.get('weights')}, torchvision {metadata.get('torchvision')}"
    else:
        metadata = {"mean": MEAN, "std": STD}
        model = next((model for sign, model in SIGNS.items() if sign in arrays), "")
        if not model or "backbone" in next(iter(arrays)):
            return read_torchvision_net(arrays, path)
        source = f"{model} of torchvision, {path.name}"
    if model not in NETS:
        raise ValueError(f"{path} holds {model!r}; expected one of {', '.join(NETS)}. Choose one.")
    trunk, blobs, notes = NETS[model](arrays, path)
    # `num_batches_tracked` counts the batches in the running averages; no net needs it.
    left = {name: a for name, a in arrays.items() if not name.endswith("num_batches_tracked")}
    imported.check_empty(left, path)
    imported.check_finite(blobs, path)
    mean, std = _mean_and_std(metadata, model, path)
    first = next(iter(blobs))
    blobs[first][0] = fold_input(blobs[first][0], list(std))
    mean_bgr = tuple(255 * m for m in reversed(mean.tolist()))
    return imported.Imported(
        net=imported.classifier(trunk, blobs),
        blobs=blobs,
        preprocessing=Preprocessing(channels="BGR", mean=mean_bgr),
        source=source,
        notes=notes,
    )


def _mean_and_std(
    metadata: dict[str, Any], model: str, path: Path
) -> tuple[np.ndarray, np.ndarray]:
    """What the net in effect subtracts from RGB in 0..1, and what it divides by; (3,) each."""
    mean, std = (np.asarray(metadata.get(name), np.float64) for name in ("mean", "std"))
    if mean.shape != (3,) or std.shape != (3,):
        raise ValueError(f"{path} has no mean and std of red, green and blue. Export it again.")
    if model == "googlenet":  # both become 0.5 if they were ImageNet's
        # Source: `_transform_input` of googlenet.py, x * STD / 0.5 + (MEAN - 0.5) / 0.5.
        ratio = std / np.asarray(STD)
        mean, std = mean - (np.asarray(MEAN) - 0.5) * ratio, 0.5 * ratio
    return mean, std


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
