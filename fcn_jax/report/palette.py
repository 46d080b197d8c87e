"""Colours of classes: PASCAL VOC's, and palettes for any other number of classes.

A palette has 256 rows, one per value of a uint8 label; row 255 (the ignore label) is VOC's cream.
"""

import colorsys

import numpy as np
from jaxtyping import Float, UInt8

from fcn_jax.labels import IGNORE


def voc_palette() -> UInt8[np.ndarray, "256 3"]:
    """Returns the colour map of PASCAL VOC.

    Bits 0, 1 and 2 of the label become the highest bits of red, green and blue, bits 3, 4 and 5
    the second highest, and so on.

    Returns:
        Colours by label: uint8 (256, 3), 0..255, RGB. Row 255 is (224, 224, 192).

    Source: VOCdevkit, `VOClabelcolormap.m`.
    """
    labels = np.arange(256, dtype=np.uint8)
    colours = np.zeros((256, 3), np.uint8)
    for place in range(3):
        for channel in range(3):
            bit = (labels >> (3 * place + channel)) & 1
            colours[:, channel] |= bit << (7 - place)
    return colours


def class_palette(num_classes: int) -> UInt8[np.ndarray, "256 3"]:
    """Returns distinct colours for any number of classes; VOC's own for VOC's 21.

    Class 0 is black. The others go once round the colour circle, in three shades if there are
    many. Rows that belong to no class are mid gray, so that a wrong label is visible.

    Args:
        num_classes: number of classes, 1..255.

    Returns:
        Colours by label: uint8 (256, 3), 0..255, RGB. Row 255 is the ignore label's cream.

    Raises:
        ValueError: if `num_classes` is not in 1..255.
    """
    if not 1 <= num_classes <= IGNORE:
        raise ValueError(
            f"a palette needs 1..255 classes (labels are uint8 and 255 means ignore), found "
            f"{num_classes}: map the labels to fewer classes first."
        )
    if num_classes == 21:  # VOC's, with the background
        return voc_palette()
    colours = np.full((256, 3), 128, np.uint8)
    colours[0] = 0
    shades = ((0.74, 0.94), (0.50, 1.00), (1.00, 0.66))  # saturation, value
    used = 1 if num_classes <= 9 else 3
    for label in range(1, num_classes):
        saturation, value = shades[label % used]
        rgb = colorsys.hsv_to_rgb((label - 1) / max(num_classes - 1, 1), saturation, value)
        colours[label] = np.round(255 * np.asarray(rgb))
    colours[IGNORE] = voc_palette()[IGNORE]
    return colours


_VIRIDIS = (
    *((68, 1, 84), (71, 45, 123), (59, 82, 139), (44, 114, 142), (33, 145, 140), (39, 173, 129)),
    *((92, 200, 99), (170, 220, 50), (253, 231, 37)),
)


def coloured(
    numbers: Float[np.ndarray, "h w"], highest: float | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """Numbers such as depth in colours: from 0, dark blue, to the highest, yellow.

    Args:
        numbers: at every pixel; those that are not known (0, NaN, infinite) are white.
        highest: the number that is yellow, above 0; by default the highest there is.

    Returns:
        uint8 (h, w, 3), 0..255, RGB.

    Source: nine colours of matplotlib's perceptually uniform map viridis (CC0), with straight lines
    between them.
    """
    known = np.isfinite(numbers) & (numbers != 0)
    values = np.where(known, numbers, 0).astype(np.float64)
    highest = float(values.max(initial=0)) if highest is None else float(highest)
    places = np.clip(values / (highest or 1), 0, 1) * (len(_VIRIDIS) - 1)
    channels = np.array(_VIRIDIS).T
    rgb = [np.interp(places, np.arange(len(channel)), channel) for channel in channels]
    return np.where(known[..., None], np.rint(np.stack(rgb, axis=-1)), 255).astype(np.uint8)
