"""Segmentation scores from one integer confusion matrix over a whole data set.

`confusion_matrix` counts one batch on the device. The host adds those of all batches as 64-bit
integers, and `score` divides once. Ratios are never averaged over batches, images or devices.
"""

import dataclasses
import enum

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer

FOUR = ("pixel_accuracy", "mean_accuracy", "mean_iu", "frequency_weighted_iu")
"""The scores in every table of the papers."""

_INVALID = np.iinfo(np.int32).min


def confusion_matrix(
    labels: Integer[Array | np.ndarray, "*pixels"],
    predictions: Integer[Array | np.ndarray, "*pixels"],
    num_classes: int,
) -> Int[Array, "{num_classes} {num_classes}"]:
    """Counts how often each class was predicted as each class; works under `jax.jit`.

    Args:
        labels: true class of each pixel; anything outside 0..k-1, such as 255, is not counted.
        predictions: predicted class of each pixel, 0..k-1 wherever the label counts.
        num_classes: k, a Python integer.

    Returns:
        int32 counts: entry (i, j) is the number of pixels of true class i predicted as j, for less
        than 2**31 pixels; add the matrices of several calls as int64. A prediction that is not a
        class makes every entry so negative that `score` refuses the sum.

    Raises:
        ValueError: labels and predictions differ in shape.

    Source: `fast_hist` in the reference's `score.py`.
    """
    if labels.shape != predictions.shape:
        raise ValueError(
            "labels and predictions must be of the same pixels; found shapes"
            f" {labels.shape} and {predictions.shape}. Predict at the size of the image."
        )
    labels = jnp.asarray(labels, jnp.int32).ravel()
    predictions = jnp.asarray(predictions, jnp.int32).ravel()
    counted = (labels >= 0) & (labels < num_classes)
    wrong = counted & ((predictions < 0) | (predictions >= num_classes))
    # Pixels that do not count go to one more bin, which is cut off.
    cell = jnp.where(counted, labels * num_classes + predictions, num_classes**2)
    counts = jnp.bincount(cell, length=num_classes**2 + 1)[:-1].astype(jnp.int32)
    return jnp.where(jnp.any(wrong), _INVALID, counts).reshape(num_classes, num_classes)


class Absent(enum.Enum):
    """Which classes the mean IU leaves out when the truth does not contain all of them."""

    IN_NEITHER = "classes in neither truth nor prediction"
    """The rule of the reference's `score.py`: a class that the truth does not contain but that is
    predicted somewhere counts with IU 0."""

    NOT_IN_TRUTH = "classes not in truth"
    """The rule of the published SIFT Flow scores, whose test split lacks 3 of 33 classes: only
    classes that the truth contains count. Source: README and `siftflow-fcn32s/solve.py` of the
    reference, and the change log of arXiv 1411.4038v2."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """The four scores of the papers, as fractions of 1, and the per-class values behind them.

    Attributes:
        pixel_accuracy: correct pixels over all labelled pixels.
        mean_accuracy: mean of `accuracy` over the classes that the truth contains.
        mean_iu: mean of `iu` over the classes that count, see `absent`.
        frequency_weighted_iu: `iu` weighted with the frequency of each class in the truth.
        accuracy: per class, correct pixels over pixels of the class; NaN where it has none.
        iu: per class, intersection over union; NaN where the class does not count.
        absent: which classes were left out of `mean_iu`.

    Source: FCN (CVPR 2015) section 5; `score.py` of the reference.
    """

    pixel_accuracy: float
    mean_accuracy: float
    mean_iu: float
    frequency_weighted_iu: float
    accuracy: Float[np.ndarray, " k"]
    iu: Float[np.ndarray, " k"]
    absent: Absent

    def __str__(self) -> str:
        """One line, in percent, with the number of classes that count."""
        counted = int(np.sum(~np.isnan(self.iu)))
        return (
            f"pixel accuracy {100 * self.pixel_accuracy:.1f}, "
            f"mean accuracy {100 * self.mean_accuracy:.1f}, "
            f"mean IU {100 * self.mean_iu:.1f}, "
            f"frequency weighted IU {100 * self.frequency_weighted_iu:.1f} "
            f"({counted} of {self.iu.size} classes count; left out: {self.absent.value})"
        )


def score(
    matrix: Integer[Array | np.ndarray, "k k"], *, absent: Absent = Absent.IN_NEITHER
) -> Scores:
    """The scores of a whole data set from its confusion matrix, in float64 on the host.

    Args:
        matrix: sum of `confusion_matrix` over the set; rows are the truth, columns predictions.
        absent: which classes the mean IU leaves out.

    Raises:
        ValueError: the matrix is not a square matrix of counts, or counts no pixel.
    """
    counts = _checked(matrix)
    diagonal = np.diag(counts).astype(np.float64)
    truth = counts.sum(axis=1).astype(np.float64)
    union = truth + counts.sum(axis=0) - diagonal
    present = truth > 0
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN
        accuracy, iu = diagonal / truth, diagonal / union
    if absent is Absent.NOT_IN_TRUTH:
        iu[~present] = np.nan
    return Scores(
        pixel_accuracy=float(diagonal.sum() / truth.sum()),
        mean_accuracy=float(np.mean(accuracy[present])),
        mean_iu=float(np.mean(iu[~np.isnan(iu)])),
        frequency_weighted_iu=float(np.sum(truth[present] * iu[present]) / truth.sum()),
        accuracy=accuracy,
        iu=iu,
        absent=absent,
    )


def _checked(matrix: Array | np.ndarray) -> np.ndarray:
    """The matrix as int64; raises ValueError unless it is a matrix of counts."""
    counts = np.asarray(matrix)
    square = counts.ndim == 2 and counts.shape[0] == counts.shape[1]
    if not square or not np.issubdtype(counts.dtype, np.integer):
        raise ValueError(
            "a confusion matrix is a square matrix of integer counts; found"
            f" {counts.dtype} {counts.shape}. Add up what `confusion_matrix` returns."
        )
    if (counts < 0).any():
        raise ValueError(
            "the confusion matrix has negative counts: a prediction was not one of the"
            f" {counts.shape[0]} classes, or a count is too large for the integer type. Predict"
            f" classes 0..{counts.shape[0] - 1}, and add matrices as int64."
        )
    if not counts.any():
        raise ValueError(
            "the confusion matrix counts no pixel: the set is empty, or all labels are outside the"
            f" {counts.shape[0]} classes. Check the labels and the number of classes."
        )
    return counts.astype(np.int64)
