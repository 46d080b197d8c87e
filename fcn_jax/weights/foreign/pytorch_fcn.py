"""Reads FCNs in PyTorch under Caffe's names: state dicts of wkentaro/pytorch-fcn, and our own.

Source: wkentaro/pytorch-fcn torchfcn/models (names, and Caffe's input: BGR, 0..255, minus a mean).
"""

import dataclasses
from pathlib import Path

import flax.linen as nn

from fcn_jax.atomic import AnyPath
from fcn_jax.weights.foreign.caffe import exported_preprocessing, import_blobs
from fcn_jax.weights.foreign.imported import Imported, check_empty, pair_up
from fcn_jax.weights.foreign.pth import read_pth
from fcn_jax.weights.foreign.torchvision_nets import PARTS, vgg16
from fcn_jax.weights.weights_file import read_safetensors


def read_pytorch_fcn(path: AnyPath, net: nn.Module | None = None) -> Imported:
    """Reads a net, or the classifier that pytorch-fcn starts from (`vgg16_from_caffe`).

    The factors of the at-once net are not parameters in pytorch-fcn, so the file cannot say
    whether it is of the at-once net: name the right net.

    Args:
        path: a `.pth`, or the `.safetensors` that `python -m fcn_jax export` writes.
        net: the net that the file is for; None for a classifier, recognised by its layers.

    Raises:
        ValueError: the file is damaged, or has arrays that are not a kernel or a bias.
    """
    path, described = Path(path), None
    if path.suffix == ".safetensors":
        arrays, text = read_safetensors(path)
        described = exported_preprocessing(text, path)
    else:
        arrays = read_pth(path)
    if net is None and "features.0.weight" in arrays:  # torchvision's names, Caffe's numbers
        blobs = vgg16(arrays, path).blobs
        check_empty(arrays, path)
    else:
        blobs = pair_up(arrays, PARTS, path)
    imported = import_blobs(blobs, net, path)
    return dataclasses.replace(imported, preprocessing=described or imported.preprocessing)
