"""Writes the files that all contestants read: images, labels and random weights."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import fcn_jax as fcn
from benchmarks.case import CLASSES, Case
from fcn_jax.preprocessing import CAFFE
from fcn_jax.training.state import zero_variables
from fcn_jax.weights.foreign.export import export


def make_net(case: Case) -> fcn.FCN:
    """The case's net, without dropout, since its masks differ between libraries."""
    fields = {
        "num_classes": CLASSES,
        "dtype": {"fp32": jnp.float32, "bf16": jnp.bfloat16}[case.dtype],
    }
    if case.trunk == "vgg16":
        return fcn.FCN8s(trunk=fcn.VGG16(width=case.width, dropout=0.0), **fields)
    if case.trunk == "squeezenet":
        return fcn.FCN32s(trunk=fcn.SqueezeNet(dropout=0.0), **fields)
    trunk = {"alexnet": fcn.AlexNet, "googlenet": fcn.GoogLeNet}[case.trunk]
    return fcn.FCN32s(trunk=trunk(width=case.width, dropout=0.0), **fields)


def random_variables(net: fcn.FCN) -> dict[str, Any]:
    """He's normal distribution; score layers are 100 times smaller, for scores of about 1."""
    rng = np.random.default_rng(0)

    def draw(path: Any, leaf: Any) -> np.ndarray:
        fan_in = max(np.prod(leaf.shape[:-1]), 1)
        spread = (2 / fan_in) ** 0.5 if len(leaf.shape) > 1 else 0.1
        if "score" in jax.tree_util.keystr(path):
            spread /= 100
        return rng.standard_normal(leaf.shape, np.float32) * np.float32(spread)

    return jax.tree_util.tree_map_with_path(draw, zero_variables(net))


def prepare(case: Case, folder: Path) -> None:
    """Writes `images.npy` (uint8 RGB), `labels.npy` and `weights.safetensors` from seed 0."""
    rng = np.random.default_rng(0)
    shape = (case.batch, *case.size)
    np.save(folder / "images.npy", rng.integers(0, 256, (*shape, 3), np.uint8))
    labels = rng.integers(0, CLASSES, shape, np.uint8)
    labels[:, ::16] = 255
    np.save(folder / "labels.npy", labels)
    net = make_net(case)
    export(random_variables(net), folder / "weights.safetensors", preprocessing=CAFFE, net=net)
