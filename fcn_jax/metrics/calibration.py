"""Calibration: whether a class predicted with probability 0.8 is right in 80 % of its pixels."""

import numpy as np
from jaxtyping import Float, Float64, UInt8

from fcn_jax.labels import IGNORE
from fcn_jax.metrics.classes import ratio

BINS = 15
"""Equal bins of confidence. Source: Guo et al., ICML 2017, section 5."""


def reliability_counts(
    label: UInt8[np.ndarray, "h w"],
    prediction: UInt8[np.ndarray, "h w"],
    confidence: Float[np.ndarray, "h w"],
) -> Float64[np.ndarray, "15 3"]:
    """The reliability table of one image.

    Args:
        label: true classes; 255 (void) is not counted.
        prediction: predicted classes.
        confidence: probability of the predicted class, 0..1.

    Returns:
        For each bin the pixels whose confidence lies in it, the sum of their confidences, and how
        many of them are right. Bin i holds confidences above i / 15, up to and with (i + 1) / 15;
        the first holds 0 too.
    """
    counted = label != IGNORE
    confidence = confidence[counted].astype(np.float64)
    bins = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    right = label[counted] == prediction[counted]
    sums = (np.bincount(bins, weights, BINS) for weights in (None, confidence, right))
    return np.stack(list(sums), axis=-1).astype(np.float64)


def calibration_error(sums: Float[np.ndarray, "*sets 15 3"]) -> np.ndarray:
    """The expected calibration error: the mean over pixels of |accuracy - confidence| of their bin.

    Args:
        sums: sums of `reliability_counts` over the images of each set.

    Returns:
        Fractions of 1; NaN without a pixel. Empty bins count nothing.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, equation 3.
    """
    pixels, confidence, right = np.moveaxis(sums, -1, 0)
    return ratio(np.abs(right - confidence).sum(axis=-1), pixels.sum(axis=-1))
