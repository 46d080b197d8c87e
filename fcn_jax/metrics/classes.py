"""Which classes count, and the four scores of the papers from counts by class.

Counts by class are int64 or float64 arrays (..., k, 3): of each class the pixels that are right
(`HIT`), that the truth has (`TRUTH`) and that were predicted (`PREDICTED`). They add up over
images, so a score of any set of images is a function of a sum.
"""

import enum
from typing import Any

import numpy as np
from jaxtyping import Float, Int64, Num, UInt8

FOUR = ("pixel_accuracy", "mean_accuracy", "mean_iu", "frequency_weighted_iu")
"""The scores in every table of the papers."""

HIT, TRUTH, PREDICTED = 0, 1, 2
"""Places on the last axis of counts by class."""


class Absent(enum.Enum):
    """Which classes the mean IU leaves out when the truth does not contain all of them."""

    IN_NEITHER = "classes in neither truth nor prediction"
    """The rule of the reference's `score.py`: a class that the truth does not contain but that is
    predicted somewhere counts with IU 0."""

    NOT_IN_TRUTH = "classes not in truth"
    """The rule of the published SIFT Flow scores, whose test split lacks 3 of 33 classes: only
    classes that the truth contains count. Source: README and `siftflow-fcn32s/solve.py` of the
    reference, and the change log of arXiv 1411.4038v2."""


def title(name: str) -> str:
    """A score's name in words: `iu_within_5` is "mean IU, 5 px band"."""
    words = name.split("_")
    if words[:2] == ["iu", "within"]:
        return f"mean IU, {words[2]} px band"
    if words[0] == "iu":
        return f"mean IU, {words[1]} objects"
    return " ".join(word.upper() if word in ("iu", "f") else word for word in words)


def class_counts(
    label: UInt8[np.ndarray, "h w"],
    prediction: UInt8[np.ndarray, "h w"],
    num_classes: int,
    group: UInt8[np.ndarray, "h w"],
    groups: int,
) -> Int64[np.ndarray, "{groups} {num_classes} 3"]:
    """Counts by class in each group of an image's pixels.

    Args:
        label: true classes; 255 (void) and other values that are no class are not counted.
        prediction: predicted classes.
        num_classes: k.
        group: the group of each pixel; those of `groups` and more are not counted.
        groups: number of groups.
    """
    counted = (label < num_classes) & (group < groups)
    label, prediction = label[counted], prediction[counted]
    first = group[counted].astype(np.int64) * num_classes
    truth, found = first + label, first + prediction
    size = groups * num_classes
    parts = (truth[label == prediction], truth, found)
    counts = np.stack([np.bincount(part, minlength=size) for part in parts], axis=-1)
    return counts.reshape(groups, num_classes, 3)


def ratio(part: Any, whole: Any) -> np.ndarray:
    """`part / whole` of arrays or numbers, float64; NaN where `whole` is 0."""
    result = np.full(np.shape(whole), np.nan)
    return np.divide(part, whole, out=result, where=np.asarray(whole) > 0)


def class_iu(counts: Num[np.ndarray, "*sets k 3"], absent: Absent) -> Float[np.ndarray, "*sets k"]:
    """Intersection over union of every class; NaN for those that `absent` leaves out."""
    hit, truth, predicted = (counts[..., place] for place in (HIT, TRUTH, PREDICTED))
    iu = ratio(hit, truth + predicted - hit)
    return np.where(truth > 0, iu, np.nan) if absent is Absent.NOT_IN_TRUTH else iu


def mean_of(values: Float[np.ndarray, "*sets k"]) -> Float[np.ndarray, "*sets"]:
    """The mean of those that are not NaN; NaN of none."""
    return ratio(np.nansum(values, axis=-1), np.sum(~np.isnan(values), axis=-1))


def four_scores(
    counts: Num[np.ndarray, "*sets k 3"], absent: Absent
) -> dict[str, Float[np.ndarray, "..."]]:
    """The four scores of many sets of images at once, and `accuracy` and `iu` of their classes.

    Args:
        counts: the sum over the images of each set.
        absent: which classes the mean IU leaves out.

    Returns:
        Fractions of 1 by name, as in `fcn_jax.metrics.Scores`; NaN where nothing counts.

    Source: FCN (CVPR 2015) section 5; `score.py` of the reference.
    """
    hit, truth = counts[..., HIT], counts[..., TRUTH]
    accuracy, iu = ratio(hit, truth), class_iu(counts, absent)
    pixels = truth.sum(axis=-1)
    return {
        "pixel_accuracy": ratio(hit.sum(axis=-1), pixels),
        "mean_accuracy": mean_of(accuracy),
        "mean_iu": mean_of(iu),
        "frequency_weighted_iu": ratio(np.nansum(truth * iu, axis=-1), pixels),
        "accuracy": accuracy,
        "iu": iu,
    }
