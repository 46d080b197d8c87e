"""Counts by class for small, medium and large objects."""

import numpy as np
from jaxtyping import Int64, UInt8

from fcn_jax.metrics.classes import HIT, PREDICTED, class_counts

SIZES = ("small", "medium", "large")
"""Kinds of objects, by their pixels: below 32 x 32, below 96 x 96, and the rest."""

AREAS = (32**2, 96**2)
"""Where medium and large objects begin, in pixels. Source: COCO's evaluation, `areaRng`."""


def size_counts(
    label: UInt8[np.ndarray, "h w"], prediction: UInt8[np.ndarray, "h w"], num_classes: int
) -> Int64[np.ndarray, "3 k 3"]:
    """Counts by class for the objects of each of `SIZES`, of one image.

    An object is a connected region of one class in the truth: pixels that touch at a side or at a
    corner (8 neighbours). Void (255) belongs to no object.

    A falsely predicted pixel has no object, so no size: it counts in every size. IU of small
    objects is then |their pixels that are right| / |their pixels, and all false pixels of the
    class|. A class counts in a size only if the truth has such objects.

    Returns:
        For each size the pixels that are right, those of the objects, and the right and false ones.

    Source: the sizes are COCO's; there is no standard for false pixels.
    """
    from scipy.ndimage import find_objects
    from scipy.ndimage import label as connected

    kinds = np.zeros(label.shape, np.uint8)  # 1, 2 and 3; 0 is no object
    for k, box in enumerate(find_objects(label.astype(np.int32) + 1, max_label=num_classes)):
        if box is None:
            continue
        objects = np.zeros(label[box].shape, np.int32)
        connected(label[box] == k, np.ones((3, 3)), output=objects)
        kind = 1 + np.digitize(np.bincount(objects.ravel()), AREAS).astype(np.uint8)
        kind[0] = 0  # outside the objects
        kinds[box] += kind[objects]
    labelled = label < num_classes
    false = np.bincount(prediction[labelled & (prediction != label)], minlength=num_classes)
    counts = class_counts(label, prediction, num_classes, kinds - np.uint8(1), len(SIZES))
    counts[..., PREDICTED] = counts[..., HIT] + false
    return counts
