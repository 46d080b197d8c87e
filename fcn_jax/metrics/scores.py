"""One confusion matrix over a whole data set, and the four scores of the papers from it.

`confusion_matrix` counts one batch on the device. The host adds those of all batches as 64-bit
integers, and `score` divides once. Ratios are never averaged over batches, images or devices.
"""

import dataclasses
import functools
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer

from fcn_jax.metrics.bootstrap import percent
from fcn_jax.metrics.by_image import MORE, ByImage
from fcn_jax.metrics.classes import FOUR, Absent, title

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
        by_image: what was counted in each image, if that is known.
        seconds_per_image: time of the net for one image, if it was measured.
        peak_memory: most bytes that were in use at once, if that was measured: of the device, or
            of the whole process on a CPU.

    Source: FCN (CVPR 2015) section 5; `score.py` of the reference.
    """

    pixel_accuracy: float
    mean_accuracy: float
    mean_iu: float
    frequency_weighted_iu: float
    accuracy: Float[np.ndarray, " k"]
    iu: Float[np.ndarray, " k"]
    absent: Absent
    by_image: ByImage | None = None
    seconds_per_image: float | None = None
    peak_memory: int | None = None

    @functools.cached_property
    def intervals(self) -> Mapping[str, Float[np.ndarray, "..."]]:
        """The 95 % interval of each score by name: lower and upper end, of arrays too.

        From the bootstrap over images; empty where `by_image` is not known or holds one image.
        """
        return self.by_image.intervals(self.absent) if self.by_image else {}

    @functools.cached_property
    def more(self) -> Mapping[str, float]:
        """The scores beyond the four (`MORE`), by name; empty where they were not counted."""
        if not self.by_image or not self.by_image.details:
            return {}
        found = self.by_image.scores(self.absent)
        return {name: float(found[name]) for name in MORE}

    def __str__(self) -> str:
        """One line, in percent, with intervals and the number of classes that count."""
        counted = int(np.sum(~np.isnan(self.iu)))
        texts = [
            f"{title(name)} {percent(getattr(self, name), self.intervals.get(name))}"
            for name in FOUR
        ]
        return (
            f"{', '.join(texts)} "
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
