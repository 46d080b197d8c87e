"""What the values of a label mean, and the options that say it; imports nothing heavy."""

from __future__ import annotations

import dataclasses
import enum
from typing import Literal

IGNORE = 255
"""The label of pixels that do not count: void borders, unlabelled pixels, and padding.

Source: the VOC annotation, and `ignore_label: 255` in every `net.py` of the reference.
"""


class LabelKind(enum.Enum):
    """What a label is; a data set says it (`label_kinds`), and a class of every pixel is usual.

    Depth of 0 is missing too. So is the class 255 of an image, if there are at most 255 classes.
    """

    CLASSES = "a class of every pixel: uint8 (rows, columns), 255 where ignored"
    NUMBERS = "a number at every pixel, such as metres: float32 (rows, columns), NaN where missing"
    CLASS = "a class of the whole image: an integer, -1 where missing"
    ATTRIBUTES = "yes (1) or no (0) of several attributes of the image: float32 (k,), NaN missing"


Layout = Literal[
    "auto", "folders", "camvid", "cityscapes", "ade20k", "coco", "coco-panoptic", "labelme"
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SetOptions:
    """How images and labels are read (docs/labels.md).

    Attributes:
        num_classes: how many classes, the background included; not needed where a map, names or
            the layout say it.
        layout: how the files lie; auto recognises it.
        images: the images' folder below the data folder, or a pattern such as 'train/*.png'.
        labels: the labels' folder, or a pattern such as '{stem}_gtFine_labelIds.png'.
        label_map: a CSV or JSON file: the class of each stored value or colour.
        class_names: a file with the name of each class, one a line.
        ignore: stored values that are ignored, such as 0 11.
        reduce_zero_label: classes are stored from 1 on, and 0 is ignored.
        train_list: a file below the data folder that names the images to train on.
        validation_list: a file that names those to validate on.
        max_value: the number that is white in images of 16 bits.
        bands: which bands of an image are red, green and blue, such as 4,3,2.
    """

    num_classes: int | None = None
    layout: Layout = "auto"
    images: str | None = None
    labels: str | None = None
    label_map: str | None = None
    class_names: str | None = None
    ignore: tuple[int, ...] = ()
    reduce_zero_label: bool = False
    train_list: str | None = None
    validation_list: str | None = None
    max_value: int | None = None
    bands: str = ""


NONE_GIVEN = SetOptions()
"""No option is given."""
