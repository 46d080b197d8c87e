"""Scores near boundaries: boundary IU, boundary F, and counts in bands around boundaries.

Void pixels (label 255) are never counted. For all three, the prediction is void where the truth is,
and void is one more region: its edge is a boundary of the classes that touch it, in the truth and
in the prediction. (In PASCAL VOC void marks the boundaries: without this rule there were none.)
"""

import functools
import itertools
import math

import numpy as np
from jaxtyping import Bool, Float64, Int64, Num, UInt8

from fcn_jax.labels import IGNORE
from fcn_jax.metrics.classes import class_counts

BOUNDARY_WIDTH = 0.02
"""Width of the boundary region of boundary IU, as a share of the image's diagonal; for Cityscapes
0.005. Source: Cheng et al., CVPR 2021 (arXiv 2103.16562), and `boundary_iou` of its program."""

OUTLINE_TOLERANCE = 0.0075
"""How far from the true outline a predicted one is right, as a share of the image's diagonal.
Source: Csurka et al., BMVC 2013, section 4. DAVIS 2017 takes 0.008, rounded up to whole pixels."""

BANDS = (1, 2, 5, 10, 20, 40)
"""Widths of the bands around boundaries, in pixels."""

_Labels = UInt8[np.ndarray, "h w"]


def without_void(label: _Labels, prediction: _Labels) -> _Labels:
    """The prediction, 255 (void) where the label is."""
    return np.where(label == IGNORE, label, prediction)


def near_contour(labels: _Labels, width: int) -> Bool[np.ndarray, "h w"]:
    """Pixels of each region within `width` of its contour, for all regions of a label map at once.

    A pixel is near if the square of 2 width + 1 pixels around it leaves the image or holds another
    value: it would not survive `width` erosions of its region by 3x3 pixels. So the image's edge is
    a contour.

    Source: Cheng et al. 2021, `mask_to_boundary`: erosion with a border of zeros.
    """
    from scipy.ndimage import maximum_filter, minimum_filter

    size = 2 * width + 1
    near = minimum_filter(labels, size) != maximum_filter(labels, size)
    near[:width] = near[-width:] = near[:, :width] = near[:, -width:] = True
    return near


def boundary_counts(
    label: _Labels, prediction: _Labels, num_classes: int, *, width: float = BOUNDARY_WIDTH
) -> Int64[np.ndarray, "k 3"]:
    """Counts by class for boundary IU, of one image.

    Boundary IU of a class is |Gd ∩ Pd| / |Gd ∪ Pd|, where Gd are the pixels of the true region G
    within d of its contour, Pd those of the predicted one, and d is `width` times the diagonal,
    rounded (a half to the even number), at least 1 pixel.

    Args:
        label: true classes, 255 = void.
        prediction: predicted classes.
        num_classes: k.
        width: d as a share of the image's diagonal.

    Returns:
        Pixels of Gd ∩ Pd, of Gd and of Pd.

    Source: Cheng et al., "Boundary IoU", CVPR 2021.
    Differs: summed over the images before it is divided, as the mean IU is; there it is a measure
    of single masks.
    """
    prediction = without_void(label, prediction)
    pixels = max(1, round(width * math.hypot(*label.shape)))
    near, near_predicted = near_contour(label, pixels), near_contour(prediction, pixels)
    # A value that is no class where a region's pixel is not near its contour.
    truth = np.where(near, label, IGNORE)
    found = np.where(near_predicted, prediction, IGNORE)
    parts = (truth[truth == found], truth, found)
    counts = [np.bincount(part.ravel(), minlength=256)[:num_classes] for part in parts]
    return np.stack(counts, axis=-1)


def touches_another(labels: _Labels) -> Bool[np.ndarray, "h w"]:
    """Pixels one of whose 4 neighbours has another value; the image's edge is no boundary."""
    found = np.zeros(labels.shape, bool)
    down, across = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    found[1:] |= down
    found[:-1] |= down
    found[:, 1:] |= across
    found[:, :-1] |= across
    return found


def outline_counts(
    label: _Labels, prediction: _Labels, num_classes: int, *, tolerance: float = OUTLINE_TOLERANCE
) -> Int64[np.ndarray, "k 4"]:
    """Counts by class for boundary F, of one image (see `outline_scores`).

    The outline of a class is its pixels that touch another class or void (4 neighbours; not the
    image's edge). A pixel of an outline is right if the other outline of the same class has a
    pixel within the tolerance: a Euclidean distance of at most `tolerance` times the diagonal, and
    at least 1 pixel.

    Returns:
        Pixels of the true outline that are right, of the true outline, of the predicted outline
        that are right, and of the predicted outline.
    """
    reach = max(1.0, tolerance * math.hypot(*label.shape))
    # The class of each pixel of an outline, 255 elsewhere, with a margin that no step leaves.
    truth, found = (
        np.pad(np.where(touches_another(m), m, IGNORE), int(reach), constant_values=IGNORE)
        for m in (label, without_void(label, prediction))
    )
    counts = []
    for outline, other in ((truth, found), (found, truth)):
        every = np.flatnonzero(outline != IGNORE)
        classes, left = outline.ravel()[every], every
        for step in _steps(reach, outline.shape[1]):
            left = left[other.ravel()[left + step] != outline.ravel()[left]]
        total = np.bincount(classes, minlength=num_classes)
        counts += [total - np.bincount(outline.ravel()[left], minlength=num_classes), total]
    return np.stack(counts, axis=-1)


@functools.lru_cache(maxsize=8)
def _steps(reach: float, columns: int) -> tuple[int, ...]:
    """Distances in a flattened map to all pixels within `reach`, the nearest first."""
    most = int(reach)
    offsets = itertools.product(range(-most, most + 1), repeat=2)
    inside = sorted((y * y + x * x, y, x) for y, x in offsets if y * y + x * x <= reach * reach)
    return tuple(y * columns + x for _, y, x in inside)


def outline_scores(
    counts: Num[np.ndarray, "n k 4"], classes: Num[np.ndarray, "n k 3"]
) -> Float64[np.ndarray, "n k 2"]:
    """Boundary F of each class in each image, and whether it counts, float64 (n, k, 2).

    F is the harmonic mean of precision (right pixels of the predicted outline) and recall (right
    pixels of the true outline). It counts where the class is in the image's truth or prediction.
    If neither has an outline, F is 1; if one has, F is 0.

    Args:
        counts: of `outline_counts`.
        classes: counts by class of the images.

    Source: Csurka et al., BMVC 2013; the empty cases are those of DAVIS 2017, `f_measure`.
    """
    found, truth, right, predicted = np.moveaxis(counts.astype(np.float64), -1, 0)
    precision, recall = right / np.maximum(predicted, 1), found / np.maximum(truth, 1)
    f = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    f = np.where((truth == 0) & (predicted == 0), 1.0, f)
    counted = classes[..., 1:].any(axis=-1)
    return np.stack([np.where(counted, f, 0.0), counted], axis=-1)


def band_counts(
    label: _Labels, prediction: _Labels, num_classes: int
) -> Int64[np.ndarray, "6 k 3"]:
    """Counts by class within each of `BANDS` around the true boundaries, of one image.

    Boundary pixels are those that touch a pixel of another label (4 neighbours; void counts as a
    label, the image's edge does not). The band of w pixels holds the labelled pixels whose distance
    to the nearest boundary pixel is less than w, so the band of 1 is the boundary pixels. Each band
    holds the narrower ones.

    Source: Krähenbühl and Koltun, NIPS 2011, section 5 ("trimap"). Differs: theirs is the band
    around void; this is the same where void marks the boundaries.
    """
    from scipy.ndimage import distance_transform_edt

    boundary = touches_another(label)
    if not boundary.any():
        return np.zeros((len(BANDS), num_classes, 3), np.int64)
    distance = np.asarray(distance_transform_edt(~boundary))
    outside = np.zeros(label.shape, np.uint8)  # how many of the bands a pixel lies outside of
    for width in BANDS:
        outside += distance >= width
    counts = class_counts(label, prediction, num_classes, outside, len(BANDS))
    return np.cumsum(counts, axis=0)
