"""Recipes of every kind of net, each on a few small images in the layout of its data set.

One head, two heads, two inputs (early fusion), late fusion, and a decoder with an auxiliary head.
"""

import dataclasses

import flax.linen as nn
import numpy as np
import scipy.io
from PIL import Image
from smallest_recipe import RECIPE

from fcn_jax import (
    FCN,
    FeatureMap,
    FromScratch,
    LateFusion,
    Preprocessing,
    Segmenter,
    decoders,
    heads,
)
from fcn_jax.data import VOC, NYUDv2, SIFTFlow
from fcn_jax.losses import ByOutput
from fcn_jax.nn.layers import Conv, MaxPool
from fcn_jax.preprocessing import ByInput, LogDepth

SCENES = "spatial_envelope_256x256_static_8outdoorcategories"
NAMES = {"train": ("a1", "a2"), "val": ("b1", "b2", "b3")}
SIZES = {"a1": (24, 32), "a2": (30, 21), "b1": (40, 48), "b2": (24, 17), "b3": (1, 9)}
HEADS = ("semantic", "geometric")


class Trunk(nn.Module):
    """Stride 1/2, a field of 8 pixels."""

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool) -> dict[str, FeatureMap]:
        x = MaxPool(name="pool1")(Conv(4, 3, padding=1, relu=True, name="conv1")(x))
        return {"conv2": Conv(6, 3, padding=1, relu=True, name="conv2")(x)}


def _recipe(net, source, preprocessing=None, **fields):
    splits = {"VOC": ("train", "val"), "NYUDv2": ("train", "val"), "SIFTFlow": ("train", "holdout")}
    train, val = splits[source.__name__]
    preprocessing = preprocessing or Preprocessing(channels="BGR", mean=(120.0, 110.0, 100.0))
    own = {key: fields.pop(key) for key in ("labels", "inputs") if key in fields}
    own |= {"held_out": len(NAMES["val"])} if source is SIFTFlow else {}
    return dataclasses.replace(
        RECIPE,
        model=net,
        train_set=source(split=train, **own),
        validation_set=source(split=val, **own),
        start=FromScratch(preprocessing=preprocessing),
        steps=2,
        **fields,
    )


RGB = Preprocessing(channels="RGB", mean=(120.0, 110.0, 100.0), std=(60.0, 60.0, 60.0))
HHA = Preprocessing(channels="HHA", mean=(120.0, 110.0, 100.0))
RECIPES = {
    "one_head": _recipe(FCN(Trunk(), 21), VOC),
    "two_heads": _recipe(
        FCN(Trunk(), {"semantic": 33, "geometric": 3}),
        SIFTFlow,
        labels=HEADS,
        loss=ByOutput(dict.fromkeys(HEADS, RECIPE.loss)),
    ),
    "two_inputs": _recipe(
        FCN(Trunk(), 40, inputs={"color": 3, "depth": 1}),
        NYUDv2,
        ByInput({"color": RGB, "depth": LogDepth()}),
        inputs=("color", "depth"),
    ),
    "segmenter": _recipe(
        Segmenter(
            Trunk(),
            {"out": heads.Pixels(21), "aux": heads.Pixels(21, "conv2", auxiliary=True)},
            decoders.UNet((4,)),
        ),
        VOC,
        loss=ByOutput(dict.fromkeys(("out", "aux"), RECIPE.loss), {"aux": 0.4}),
    ),
    "late_fusion": _recipe(
        LateFusion({"color": FCN(Trunk(), 40), "hha": FCN(Trunk(), 40)}),
        NYUDv2,
        ByInput({"color": RGB, "hha": HHA}),
        inputs=("color", "hha"),
    ),
}


def write_data(root):
    """Writes the images, labels and lists of all data sets below a folder."""
    rng = np.random.default_rng(0)
    files = {}
    for split, names in NAMES.items():
        files[f"VOC2012/ImageSets/Segmentation/{split}.txt"] = names
        files[f"nyud/{split}.txt"] = names
    files["VOC2012/ImageSets/Segmentation/test.txt"] = NAMES["val"]
    files["sift-flow/trainval.txt"] = tuple(SIZES)
    for name, lines in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("\n".join(lines))

    def draw(size, high, *channels, dtype=np.uint8):
        return rng.integers(0, high, (*size, *channels)).astype(dtype)

    def save(path, array, key=None):
        path = root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        if key is None:
            Image.fromarray(array).save(path)
        else:
            scipy.io.savemat(path, {key: array})

    for name, size in SIZES.items():
        save(f"VOC2012/JPEGImages/{name}.jpg", draw(size, 256, 3))
        save(f"VOC2012/SegmentationClass/{name}.png", draw(size, 21))
        save(f"nyud/data/images/img_{name}.png", draw(size, 256, 3))
        save(f"nyud/data/hha/img_{name}.png", draw(size, 256, 3))
        save(f"nyud/data/depth/img_{name}.png", draw(size, 9000, dtype=np.uint16))
        save(f"nyud/segmentation/img_{name}.mat", draw(size, 41), "segmentation")
        save(f"sift-flow/Images/{SCENES}/{name}.jpg", draw(size, 256, 3))
        for folder, high in (("SemanticLabels", 34), ("GeoLabels", 4)):
            save(f"sift-flow/{folder}/{SCENES}/{name}.mat", draw(size, high), "S")
