"""FCNs in PyTorch under Caffe's names: the state dicts of wkentaro/pytorch-fcn, and our own.

Source: wkentaro/pytorch-fcn torchfcn/models (names, and Caffe's input: BGR, 0..255, minus a mean).
"""

import dataclasses
from pathlib import Path

import flax.linen as nn
import numpy as np

from fcn_jax.preprocessing import CAFFE
from fcn_jax.weights.foreign.caffe import for_net, preprocessing_of
from fcn_jax.weights.foreign.imported import (
    Arrays,
    Blobs,
    Imported,
    check_empty,
    check_finite,
    classifier,
)
from fcn_jax.weights.foreign.pth import read_pth
from fcn_jax.weights.foreign.torchvision_nets import vgg16
from fcn_jax.weights.weights_file import json_object, read_safetensors


def read_pytorch_fcn(path: Path, net: nn.Module | None = None) -> Imported:
    """Reads a net, or the classifier that pytorch-fcn starts from (`vgg16_from_caffe`).

    The at-once net's factors are no parameters there, so the file cannot tell whether it is the
    at-once net's: name the right one.

    Args:
        path: a `.pth`, or the `.safetensors` that `python -m fcn_jax export` writes.
        net: what it is for; None for a classifier, which is recognised by its layers.

    Raises:
        ValueError: the file is damaged, or has arrays that are no kernel and bias.
    """
    if path.suffix == ".safetensors":
        arrays, text = read_safetensors(path)
        described = preprocessing_of(json_object(text), path)
    else:
        arrays, described = read_pth(path), None
    if net is None and "features.0.weight" in arrays:  # torchvision's names, Caffe's numbers
        trunk, blobs, *_ = vgg16(arrays, path)
        check_empty(arrays, path)
        check_finite(blobs, path)
        return Imported(
            net=classifier(trunk, blobs), blobs=blobs, preprocessing=CAFFE, source=path.name
        )
    imported = for_net(_blobs(arrays, path), net, path)
    return dataclasses.replace(imported, preprocessing=described or imported.preprocessing)


def _blobs(arrays: Arrays, path: Path) -> Blobs:
    """Kernel and bias by layer, from `fire2.squeeze1x1.weight` and the like."""
    blobs: Blobs = {}
    for name in sorted(arrays, reverse=True):  # weight before bias
        layer, _, part = name.replace(".", "/").rpartition("/")
        if part not in ("weight", "bias") or (part == "bias" and layer not in blobs):
            raise ValueError(
                f"{path} has {name}; expected weights and biases of convolutions only, such as"
                " conv1_1.weight and conv1_1.bias."
            )
        blobs.setdefault(layer, []).append(np.asarray(arrays[name], np.float32))
    return blobs
