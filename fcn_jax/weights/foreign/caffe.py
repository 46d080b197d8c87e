"""Reads nets trained in Caffe, classifiers and complete FCNs, from a `.caffemodel`.

Or from the `.npz` that `python -m fcn_jax export` writes: `LAYER/w`, `LAYER/b`, in Caffe's layout.
"""

import dataclasses
from pathlib import Path

import flax.linen as nn
import numpy as np

from fcn_jax.atomic import AnyPath
from fcn_jax.nets.trunks import VGG16, AlexNet, GoogLeNet, SqueezeNet
from fcn_jax.nets.trunks.squeezenet import FIRES
from fcn_jax.preprocessing import CAFFE, AnyPreprocessing, Preprocessing
from fcn_jax.weights.foreign.caffemodel import read_caffemodel
from fcn_jax.weights.foreign.imported import (
    Imported,
    check_empty,
    check_finite,
    check_no_net,
    classifier,
    outputs,
    pair_up,
    take_layers,
)
from fcn_jax.weights.foreign.npz import read_npz
from fcn_jax.weights.layouts import Blobs
from fcn_jax.weights.weights_file import json_object, read_preprocessing

ROUND = Preprocessing(channels="BGR", mean=(104.0, 117.0, 123.0))
"""What GoogLeNet and SqueezeNet take. Source: train_val.prototxt of bvlc_googlenet and of
forresti/SqueezeNet SqueezeNet_v1.0."""

FIRE = {"squeeze1x1": "conv1x1_1", "expand1x1": "conv1x1_2", "expand3x3": "conv3x3_2"}
"""What the decoded SqueezeNet calls each of our convolutions in a fire module."""

AUXILIARY = ("loss1/", "loss2/")
"""GoogLeNet's two classifiers that are used in training only."""


def read_caffe(path: AnyPath, net: nn.Module | None = None) -> Imported:
    """Reads a net, or a VGG16, CaffeNet, GoogLeNet or SqueezeNet 1.0 classifier.

    Args:
        path: a `.caffemodel`, or an `.npz` that we exported.
        net: the net that the file is for; None for a classifier, recognised by its layers.

    Raises:
        ValueError: the file is damaged, is not of such a classifier, or is of a net with other
            fixed factors.
    """
    path, described = Path(path), None
    if path.suffix == ".npz":
        blobs, described = read_exported(path)
    else:
        blobs = read_caffemodel(path)
    imported = import_blobs(blobs, net, path)
    unscaled, notes = _without_scales(imported.blobs, imported.net, path)
    return dataclasses.replace(
        imported,
        blobs=unscaled,
        preprocessing=described or imported.preprocessing,
        notes=imported.notes + notes,
    )


def import_blobs(blobs: Blobs, net: nn.Module | None, path: Path) -> Imported:
    """Takes blobs as those of a net, or of a classifier that is recognised by its layers.

    Raises:
        ValueError: a blob is not finite, or there is no trunk for such a classifier.
    """
    check_finite(blobs, path)
    blobs = {layer: [np.asarray(a, np.float32) for a in arrays] for layer, arrays in blobs.items()}
    if net is not None:
        return Imported(net=net, blobs=blobs, preprocessing=CAFFE, source=path.name)
    notes = ()
    if "loss3/classifier" in blobs:
        kept = {name: arrays for name, arrays in blobs.items() if not name.startswith(AUXILIARY)}
        notes = tuple(f"{name}: for training only" for name in blobs if name not in kept)
        # Names of our modules contain no slash.
        blobs = {name.replace("loss3/", "loss3_"): arrays for name, arrays in kept.items()}
    trunk, preprocessing = _recognise(blobs, path)
    return Imported(
        net=classifier(trunk, blobs),
        blobs=blobs,
        preprocessing=preprocessing,
        source=path.name,
        notes=notes,
    )


def _recognise(blobs: Blobs, path: Path) -> tuple[nn.Module, Preprocessing]:
    """The trunk that has these layers, as wide as the blobs, and what it takes."""
    if {"conv1_1", "fc6", "fc8"} <= blobs.keys():
        return VGG16(width=outputs(blobs["fc6"]) / 4096), CAFFE
    if {"conv1", "fc6", "fc8"} <= blobs.keys():
        return AlexNet(width=outputs(blobs["fc6"]) / 4096), CAFFE
    if {"conv1/7x7_s2", "loss3_classifier"} <= blobs.keys():
        return GoogLeNet(width=outputs(blobs["conv1/7x7_s2"]) / 64), ROUND
    if {"fire2/squeeze1x1", "conv10"} <= blobs.keys():
        return SqueezeNet(), ROUND
    raise ValueError(
        f"{path} is not one of the classifiers VGG16, CaffeNet, GoogLeNet and SqueezeNet 1.0; it"
        f" has the layers {', '.join(blobs)}. Name the net it is for, e.g."
        " --net experiments.voc_fcn8s."
    )


def read_exported(path: AnyPath) -> tuple[Blobs, AnyPreprocessing | None]:
    """Blobs by layer of an `.npz` that we exported, and the preprocessing written with them.

    Raises:
        ValueError: the file is damaged, or has arrays of other names.
    """
    path, arrays = Path(path), read_npz(path)
    preprocessing = exported_preprocessing(str(arrays.pop("metadata", "")), path)
    return pair_up(arrays, ("/w", "/b"), path), preprocessing


def exported_preprocessing(text: str, path: Path) -> AnyPreprocessing | None:
    """The preprocessing in the metadata of a file that we exported, if there is one.

    Raises:
        ValueError: it is damaged.
    """
    metadata = json_object(text)
    if "preprocessing" not in metadata:
        return None
    try:
        return read_preprocessing(metadata["preprocessing"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path}: damaged preprocessing ({error!r}). Export it again.") from error


def _without_scales(blobs: Blobs, net: nn.Module, path: Path) -> tuple[Blobs, tuple[str, ...]]:
    """The blobs without the fixed factors of an at-once net, which must be those of the net.

    Source: shelhamer/fcn.berkeleyvision.org voc-fcn8s-atonce/net.py (`scale_pool4`).
    """
    skips, factors = getattr(net, "skips", ()), getattr(net, "skip_scales", ())
    mine = {f"scale_{skip}": factor for skip, factor in zip(skips, factors, strict=False)}
    theirs = {name: arrays for name, arrays in blobs.items() if name.startswith("scale_")}
    problems = []
    for name in mine | theirs:
        found = np.concatenate([np.ravel(a) for a in theirs.get(name, [])] or [np.zeros(0)])
        if name not in mine:
            problems.append(f"{name}: the file has it, the net scales nothing there")
        elif name not in theirs and path.suffix == ".caffemodel":
            problems.append(f"{name}: the net scales by {mine[name]}, the file does not")
        elif name in theirs and not np.allclose(found, mine[name], rtol=1e-6, atol=0):
            problems.append(f"{name}: {mine[name]} in the net, {found[:1]} in the file")
    if problems:
        own = (
            "Name the file's own net: experiments.voc_fcn8s_atonce scales its skips, voc_fcn8s not."
        )
        raise ValueError("\n  ".join([f"{path} is not for this net:", *problems, own]))
    notes = tuple(f"{name}: the net's own fixed factor, {mine[name]}" for name in theirs)
    return {name: arrays for name, arrays in blobs.items() if name not in theirs}, notes


def read_caffe_npz(path: AnyPath, net: nn.Module | None = None) -> Imported:
    """Reads SqueezeNet 1.0 as decoded from its compressed Caffe model.

    Args:
        path: an `.npz` with arrays `conv1/w`, `fire2/conv1x1_1/w`, ..., `conv_final/b`.
        net: None; the file is for one net only.

    Raises:
        ValueError: the file is not such an `.npz`, or lacks an array; or a net was named.

    Source: songhan/SqueezeNet-Deep-Compression; `weights/README.md` has the checksum.
    """
    path = Path(path)
    check_no_net(net, path)
    names = {"conv1": "conv1", "conv10": "conv_final"}
    for i, _ in enumerate(FIRES, 2):
        names |= {f"fire{i}/{ours}": f"fire{i}/{theirs}" for ours, theirs in FIRE.items()}
    arrays = read_npz(path)
    imported = import_blobs(take_layers(arrays, names, ("/w", "/b"), path), net, path)
    check_empty(arrays, path)
    source = "SqueezeNet 1.0, ImageNet, songhan/SqueezeNet-Deep-Compression"
    return dataclasses.replace(imported, source=source)
