"""How sure a score is: the bootstrap over images.

The images of a set are a sample. Drawn again from themselves, with replacement, they give other
sets of the same size, and the scores of those sets spread as the scores of other samples would.
Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
"""

import numpy as np
from jaxtyping import Float, Float64

RESAMPLES = 2000
"""How many sets are drawn. Source: Efron and Tibshirani 1993, section 13.3, ask for at least 1,000
for an interval."""

LEVEL = 0.95
"""How often the interval should hold the score of all images of this kind."""

LEAST_IMAGES = 6
"""Of fewer images, no difference is more than chance: if one run is better in all 5 of 5 images,
that happens by chance in 2 / 2**5 = 6 % of the cases (sign test), which is more than 5 %."""


def draws(images: int, resamples: int = RESAMPLES, seed: int = 0) -> Float64[np.ndarray, "r n"]:
    """How often each of n images is in each of r sets drawn with replacement.

    The same number of images and seed give the same sets, so two runs are compared on the same
    ones.
    """
    chosen = np.random.default_rng(seed).integers(images, size=(resamples, images))
    chosen += images * np.arange(resamples)[:, None]
    times = np.bincount(chosen.ravel(), minlength=resamples * images)
    return times.reshape(resamples, images).astype(np.float64)


def interval(
    values: Float[np.ndarray, "r ..."], level: float = LEVEL
) -> Float[np.ndarray, "2 ..."]:
    """The percentile interval of scores over r resampled sets: lower and upper end.

    Args:
        values: a score of each set; NaN where it is not defined, which is left out.
        level: share of the values inside.

    Returns:
        The ends; NaN where no set defines the score.
    """
    flat = values.reshape(len(values), -1)
    ends = np.full((2, flat.shape[1]), np.nan)
    defined = ~np.isnan(flat).all(axis=0)
    percentiles = 50 * (1 - level), 50 * (1 + level)
    ends[:, defined] = np.nanpercentile(flat[:, defined], percentiles, axis=0)
    return ends.reshape(2, *values.shape[1:])


def percent(value: float, ends: np.ndarray | None = None, sign: str = "") -> str:
    """`37.5 (35.9 to 39.2)`: a fraction of 1 in per cent, with its interval if there is one.

    Args:
        value: the fraction; NaN gives a dash.
        ends: lower and upper end of its interval.
        sign: "+" writes the sign of positive numbers too.
    """
    if np.isnan(value):
        return "–"
    number, text = f"{100 * float(value):{sign}.1f}", interval_text(ends, sign)
    return f"{number} ({text})" if text else number


def interval_text(ends: np.ndarray | None, sign: str = "") -> str:
    """`35.9 to 39.2`: an interval of a fraction in per cent; nothing if there is none."""
    if ends is None or np.isnan(ends).any():
        return ""
    return " to ".join(f"{100 * float(end):{sign}.1f}" for end in ends)
