"""Nets trained in Caffe: classifiers and whole FCNs, from a `.caffemodel`.

Or from the `.npz` that `python -m fcn_jax export` writes: `LAYER/w`, `LAYER/b`, in Caffe's layout.
"""

from pathlib import Path

import flax.linen as nn
import numpy as np

from fcn_jax.nets.trunks import VGG16, AlexNet, GoogLeNet, SqueezeNet
from fcn_jax.preprocessing import CAFFE, Inputs, Preprocessing
from fcn_jax.weights.foreign.caffemodel import read_caffemodel
from fcn_jax.weights.foreign.imported import (
    Blobs,
    Imported,
    check_finite,
    classifier,
    outputs,
    read_npz,
)
from fcn_jax.weights.weights_file import json_object, read_preprocessing

# Source: train_val.prototxt of bvlc_googlenet and of forresti/SqueezeNet SqueezeNet_v1.0.
ROUND = Preprocessing(channels="BGR", mean=(104.0, 117.0, 123.0))

AUXILIARY = ("loss1/", "loss2/")
"""GoogLeNet's two classifiers for training, which the last one's net is kept without."""


def read_caffe(path: Path, net: nn.Module | None = None) -> Imported:
    """Reads a net, or a VGG16, CaffeNet, GoogLeNet or SqueezeNet 1.0 classifier.

    Args:
        path: a `.caffemodel`, or an `.npz` of ours.
        net: what it is for; None for a classifier, which is recognised by its layers.

    Raises:
        ValueError: the file is damaged, is of no such classifier, or is of a net with other fixed
            factors.
    """
    described = None
    if path.suffix == ".npz":
        blobs, described = read_exported(path)
    else:
        blobs = read_caffemodel(path)
    imported = for_net(blobs, net, path)
    scaled, notes = _without_scales(imported.blobs, imported.net, path)
    return Imported(
        net=imported.net,
        blobs=scaled,
        preprocessing=described or imported.preprocessing,
        source=imported.source,
        notes=imported.notes + notes,
    )


def for_net(blobs: Blobs, net: nn.Module | None, path: Path) -> Imported:
    """The blobs of a whole net, or of a classifier that is recognised by its layers.

    Raises:
        ValueError: they are of no classifier that there is a trunk for.
    """
    check_finite(blobs, path)
    if net is not None:
        return Imported(net=net, blobs=blobs, preprocessing=CAFFE, source=path.name)
    notes = ()
    if "loss3/classifier" in blobs:
        kept = {name: arrays for name, arrays in blobs.items() if not name.startswith(AUXILIARY)}
        notes = tuple(f"{name}: for training only" for name in blobs if name not in kept)
        # A module's name holds no slash.
        blobs = {name.replace("loss3/", "loss3_"): arrays for name, arrays in kept.items()}
    preprocessing = CAFFE
    if {"conv1_1", "fc6", "fc8"} <= blobs.keys():
        trunk = VGG16(width=outputs(blobs["fc6"]) / 4096)
    elif {"conv1", "fc6", "fc8"} <= blobs.keys():
        trunk = AlexNet(width=outputs(blobs["fc6"]) / 4096)
    elif {"conv1/7x7_s2", "loss3_classifier"} <= blobs.keys():
        trunk = GoogLeNet(width=outputs(blobs["conv1/7x7_s2"]) / 64)
        preprocessing = ROUND
    elif {"fire2/squeeze1x1", "conv10"} <= blobs.keys():
        trunk, preprocessing = SqueezeNet(), ROUND
    else:
        raise ValueError(
            f"{path} is none of the classifiers VGG16, CaffeNet, GoogLeNet and SqueezeNet 1.0; it"
            f" has the layers {', '.join(blobs)}. Name the net it is for, e.g."
            " --net experiments.voc_fcn8s."
        )
    return Imported(
        net=classifier(trunk, blobs),
        blobs=blobs,
        preprocessing=preprocessing,
        source=path.name,
        notes=notes,
    )


def read_exported(path: Path) -> tuple[Blobs, Inputs | None]:
    """Blobs by layer of an `.npz` of ours, and the preprocessing that was written with them.

    Raises:
        ValueError: the file is damaged, or has arrays of other names.
    """
    arrays = read_npz(path)
    about = json_object(str(arrays.pop("metadata", "")))
    blobs: Blobs = {}
    for name in sorted(arrays, reverse=True):  # w before b
        layer, _, part = name.rpartition("/")
        if part not in ("w", "b") or (part == "b" and layer not in blobs):
            raise ValueError(f"{path} has {name}; expected LAYER/w and LAYER/b, in Caffe's layout.")
        blobs.setdefault(layer, []).append(arrays[name])
    return blobs, preprocessing_of(about, path)


def preprocessing_of(about: dict, path: Path) -> Inputs | None:
    """The preprocessing that a file of ours tells of itself, if any.

    Raises:
        ValueError: what it tells is damaged.
    """
    if "preprocessing" not in about:
        return None
    try:
        return read_preprocessing(about["preprocessing"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path}: its preprocessing is damaged ({error!r}).") from error


def _without_scales(blobs: Blobs, net: nn.Module, path: Path) -> tuple[Blobs, tuple[str, ...]]:
    """The blobs without the at-once nets' fixed factors, which must be the net's own.

    Source: shelhamer/fcn.berkeleyvision.org voc-fcn8s-atonce/net.py (`scale_pool4`).
    """
    factors = getattr(net, "skip_scales", ())
    mine = {f"scale_{skip}": f for skip, f in zip(getattr(net, "skips", ()), factors, strict=False)}
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
        raise ValueError(
            f"{path} is not for this net:\n  "
            + "\n  ".join(problems)
            + "\nName the file's own net:"
            " experiments.voc_fcn8s_atonce scales its skips, experiments.voc_fcn8s does not."
        )
    notes = tuple(f"{name}: the net's own fixed factor, {mine[name]}" for name in theirs)
    return {name: arrays for name, arrays in blobs.items() if name not in theirs}, notes
