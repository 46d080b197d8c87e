"""Writes the files that all contestants read: images, labels and random weights."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

import fcn_jax as fcn
from benchmarks.case import CLASSES, Case
from fcn_jax.preprocessing import CAFFE
from fcn_jax.training.state import zero_variables
from fcn_jax.weights.foreign.export import export
from fcn_jax.weights.foreign.torchvision_trunks import ENDINGS
from fcn_jax.weights.weights_file import write_safetensors


def make_net(case: Case) -> fcn.FCN:
    """The case's net, without dropout, since its masks differ between libraries."""
    fields = {
        "num_classes": CLASSES,
        "dtype": {"fp32": jnp.float32, "bf16": jnp.bfloat16}[case.dtype],
    }
    if case.trunk == "vgg16":
        return fcn.FCN8s(trunk=fcn.VGG16(width=case.width, dropout=0.0), **fields)
    if case.trunk == "efficientnet_lite0":
        return fcn.FCN(
            trunk=fcn.EfficientNetLite(0, drop_connect=0.0, width=case.width),
            skips=("stage5", "stage3", "stage2"),
            upsampling=fcn.NormalizedUpsampling,
            final_upsampling=fcn.NormalizedUpsampling,
            **fields,
        )
    if case.trunk == "squeezenet":
        return fcn.FCN32s(trunk=fcn.SqueezeNet(dropout=0.0), **fields)
    trunk = {"alexnet": fcn.AlexNet, "googlenet": fcn.GoogLeNet}[case.trunk]
    return fcn.FCN32s(trunk=trunk(width=case.width, dropout=0.0), **fields)


def random_variables(net: fcn.FCN) -> dict[str, Any]:
    """He's normal distribution, and batch norms with scales and variances around 1.

    Without batch norms, score layers are 100 times smaller, for scores of about 1.
    """
    rng, zeros = np.random.default_rng(0), zero_variables(net)

    def draw(path: Any, leaf: Any) -> np.ndarray:
        fan_in = max(np.prod(leaf.shape[:-1]), 1)
        spread = (2 / fan_in) ** 0.5 if len(leaf.shape) > 1 else 0.1
        if "score" in jax.tree_util.keystr(path) and "batch_stats" not in zeros:
            spread /= 100
        value = rng.standard_normal(leaf.shape, np.float32) * np.float32(spread)
        return np.exp(value) if path[-1].key in ("scale", "var") else value

    return jax.tree_util.tree_map_with_path(draw, zeros)


def prepare(case: Case, folder: Path) -> None:
    """Writes `images.npy` (uint8 RGB), `labels.npy` and `weights.safetensors` from seed 0."""
    rng = np.random.default_rng(0)
    shape = (case.batch, *case.size)
    np.save(folder / "images.npy", rng.integers(0, 256, (*shape, 3), np.uint8))
    labels = rng.integers(0, CLASSES, shape, np.uint8)
    labels[:, ::16] = 255
    np.save(folder / "labels.npy", labels)
    net, path = make_net(case), folder / "weights.safetensors"
    variables = random_variables(net)
    if "batch_stats" not in variables:
        export(variables, path, preprocessing=CAFFE, net=net)
        return
    arrays = {}
    for keys, value in dict[Any, Any](flatten_dict(variables)).items():
        layer = torch_name("/".join(keys[1:-1]))
        value = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value
        arrays[f"{layer}.{ENDINGS.get(keys[-1], keys[-1])}"] = np.ascontiguousarray(value)
    write_safetensors(path, arrays, "")


def torch_name(layer: str) -> str:
    """The name in the file of a layer in a net with batch norms: `block0.expand_bn`."""
    return layer.removeprefix("trunk/").removesuffix("/norm").replace("/", ".")
