"""What was counted in every image of a set, and the scores and intervals that follow."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Float64, Int64, Num, UInt8

from fcn_jax.metrics.bootstrap import draws, interval
from fcn_jax.metrics.boundaries import (
    BANDS,
    BOUNDARY_WIDTH,
    band_counts,
    boundary_counts,
    outline_counts,
    outline_scores,
)
from fcn_jax.metrics.calibration import BINS, calibration_error, reliability_counts
from fcn_jax.metrics.classes import TRUTH, Absent, class_iu, four_scores, mean_of, ratio
from fcn_jax.metrics.sizes import SIZES, size_counts

MORE = (
    *("boundary_iu", "boundary_f"),
    *(f"iu_{size}" for size in SIZES),
    *(f"iu_within_{width}" for width in BANDS),
    "calibration_error",
)
"""The scores beyond the four: of `ByImage.scores` where details were counted."""


def detail_shapes(num_classes: int) -> dict[str, tuple[int, ...]]:
    """What is counted of each image beside its confusion matrix, with the shapes of the arrays."""
    return {
        "boundary": (num_classes, 3),
        "outline": (num_classes, 4),
        "sizes": (len(SIZES), num_classes, 3),
        "bands": (len(BANDS), num_classes, 3),
        "confidence": (BINS, 3),
    }


def image_details(
    label: UInt8[np.ndarray, "h w"],
    prediction: UInt8[np.ndarray, "h w"],
    confidence: Float[np.ndarray, "h w"],
    num_classes: int,
    *,
    boundary_width: float = BOUNDARY_WIDTH,
) -> dict[str, Num[np.ndarray, "..."]]:
    """Counts one image for all scores beyond the four.

    Args:
        label: true classes, 255 = void, which no score counts.
        prediction: predicted classes.
        confidence: probability of the predicted class, 0..1.
        num_classes: k.
        boundary_width: see `boundary_counts`.

    Returns:
        The arrays of `detail_shapes`; what they hold is said in `boundary_counts`,
        `outline_counts`, `size_counts`, `band_counts` and `reliability_counts`.
    """
    three = label, prediction, num_classes
    return {
        "boundary": boundary_counts(*three, width=boundary_width),
        "outline": outline_counts(*three),
        "sizes": size_counts(*three),
        "bands": band_counts(*three),
        "confidence": reliability_counts(label, prediction, confidence),
    }


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ByImage:
    """What was counted in each of n images.

    Attributes:
        names: of the images.
        num_classes: k.
        entries: the confusion matrices of the images without their zeros. Each row is an image's
            place in `names`, a true class, a predicted class, and the number of such pixels.
        details: arrays (n, ...) by the names of `detail_shapes`; empty if they were not counted.
        boundary_width: the width that the boundary IU was counted with.
    """

    names: tuple[str, ...]
    num_classes: int
    entries: Int64[np.ndarray, "m 4"]
    details: Mapping[str, Num[np.ndarray, "..."]] = dataclasses.field(default_factory=dict)
    boundary_width: float = BOUNDARY_WIDTH

    def __len__(self) -> int:
        return len(self.names)

    def of(self, names: Sequence[str]) -> "ByImage":
        """The same images in the order of `names`."""
        place = {name: i for i, name in enumerate(names)}
        new = np.array([place[name] for name in self.names])
        entries = self.entries.copy()
        entries[:, 0] = new[entries[:, 0]]
        details = {name: values[np.argsort(new)] for name, values in self.details.items()}
        return dataclasses.replace(self, names=tuple(names), entries=entries, details=details)

    def matrix(self) -> Int64[np.ndarray, "k k"]:
        """The confusion matrix of all images."""
        total = np.zeros((self.num_classes, self.num_classes), np.int64)
        np.add.at(total, (self.entries[:, 1], self.entries[:, 2]), self.entries[:, 3])
        return total

    @functools.cached_property
    def classes(self) -> Int64[np.ndarray, "n k 3"]:
        """Counts by class (see `fcn_jax.metrics.classes`) of each image."""
        counts = np.zeros((len(self), self.num_classes, 3), np.int64)
        image, truth, predicted, pixels = self.entries.T
        right = truth == predicted
        for place, rows, column in ((0, right, truth), (1, ..., truth), (2, ..., predicted)):
            np.add.at(counts[..., place], (image[rows], column[rows]), pixels[rows])
        return counts

    def pixel_accuracy(self) -> Float64[np.ndarray, " n"]:
        """Share of the labelled pixels of each image that are right; NaN if it has none."""
        hit, truth, _ = np.moveaxis(self.classes.sum(axis=1), -1, 0)
        return ratio(hit, truth)

    def scores(
        self, absent: Absent, times: Float64[np.ndarray, "r n"] | None = None
    ) -> dict[str, Float[np.ndarray, "..."]]:
        """Scores of the set, or of many sets that hold each image some number of times.

        Args:
            absent: which classes the mean IUs leave out.
            times: of `draws`; by default the set itself.

        Returns:
            Fractions of 1 by name: the four scores, `accuracy` and `iu` of the classes, and those
            of `MORE` if details were counted. With `times`, the first axis is its first axis.
        """
        weights = np.ones((1, len(self))) if times is None else times
        found = _scores({k: _weighted(weights, v) for k, v in self._added.items()}, absent)
        return found if times is not None else {k: np.asarray(v[0]) for k, v in found.items()}

    def intervals(self, absent: Absent) -> dict[str, Float[np.ndarray, "2 ..."]]:
        """The 95 % interval of each score of `scores`; empty for one image, which has none."""
        if len(self) < 2:
            return {}
        drawn = self.scores(absent, draws(len(self)))
        return {name: interval(values) for name, values in drawn.items()}

    def reliability(self) -> Float64[np.ndarray, "15 3"] | None:
        """The sum of `reliability_counts` over the images; None if details were not counted."""
        return self.details["confidence"].sum(axis=0) if self.details else None

    @functools.cached_property
    def _added(self) -> dict[str, np.ndarray]:
        """Arrays (n, ...) whose sums over images give every score."""
        added = {"classes": self.classes, **self.details}
        if self.details:
            added["outline"] = outline_scores(self.details["outline"], self.classes)
        return added


def _weighted(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    sums = weights @ values.reshape(len(values), -1).astype(np.float64)
    return sums.reshape(len(weights), *values.shape[1:])


def _scores(sums: Mapping[str, np.ndarray], absent: Absent) -> dict[str, np.ndarray]:
    found = four_scores(sums["classes"], absent)
    if "boundary" not in sums:
        return found
    outline = ratio(sums["outline"][..., 0], sums["outline"][..., 1])
    if absent is Absent.NOT_IN_TRUTH:
        outline = np.where(sums["classes"][..., TRUTH] > 0, outline, np.nan)
    found["boundary_iu"] = mean_of(class_iu(sums["boundary"], absent))
    found["boundary_f"] = mean_of(outline)
    sizes = mean_of(class_iu(sums["sizes"], Absent.NOT_IN_TRUTH))
    bands = mean_of(class_iu(sums["bands"], absent))
    found |= {f"iu_{size}": sizes[:, i] for i, size in enumerate(SIZES)}
    found |= {f"iu_within_{width}": bands[:, i] for i, width in enumerate(BANDS)}
    found["calibration_error"] = calibration_error(sums["confidence"])
    return found
