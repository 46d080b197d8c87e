"""The usual errors of depth."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Float64

_ERRORS = (
    *("delta_1", "delta_2", "delta_3"),
    *("abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "silog"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DepthErrors:
    """Errors of depth in metres: of each image, then averaged over the images that have a label.

    With y the label, ŷ the score and d = ln y - ln ŷ, over the pixels that are not missing:
    `abs_rel` mean `|y - ŷ| / y`; `sq_rel` mean (y - ŷ)² / y; `rmse` √mean (y - ŷ)²; `rmse_log`
    √mean d²; `log10` mean `|log10 y - log10 ŷ|`; `silog` √(mean d² - (mean d)² / 2); `delta_1`,
    `delta_2`, `delta_3` the share of pixels with max(y / ŷ, ŷ / y) below 1.25, 1.25² and 1.25³.
    `delta_1`, the higher the better, chooses the best checkpoint.

    Attributes:
        minimum: metres, above 0; a label that is not above is missing, and so are NaN and 0. A
            score below counts as this.
        maximum: metres; a label that is not below is missing. A score above counts as this.
        window: first and last row, first and last column (exclusive) of the pixels that count;
            None: all. (45, 471, 41, 601) is usual for NYUDv2 of 480 x 640 pixels.

    Source: mmsegmentation's `depth_metric.py`; the errors are those of Eigen et al. 2014, section
    4.3, who take means over the pixels of all images instead.
    """

    minimum: float = 1e-3
    maximum: float = float("inf")
    window: tuple[int, int, int, int] | None = None

    best = "delta_1"

    def __post_init__(self):
        if not 0 < self.minimum < self.maximum:
            raise ValueError(
                "depths need 0 < minimum < maximum, in metres; found "
                f"{self.minimum} and {self.maximum}"
            )

    def measure(
        self, label: Float[np.ndarray, "..."], scores: Float[np.ndarray, "..."]
    ) -> Float64[np.ndarray, "10"]:
        """1 if the image has a label, and the nine errors; or 10 zeros.

        Args:
            label: `(h, w)`, metres.
            scores: `(h, w, 1)`, metres.

        Raises:
            ValueError: there is not one score for each number of the label.
        """
        if scores.shape != (*label.shape, 1):
            raise ValueError(
                f"depth: expected scores {(*label.shape, 1)} for labels {label.shape}, found "
                f"{scores.shape}; give the net the head `Pixels(1)`"
            )
        first, last, left, right = self.window or (0, *label.shape[:1], 0, *label.shape[1:])
        inside = np.s_[first:last, left:right]
        true, found = label[inside].astype(np.float64), scores[inside][..., 0].astype(np.float64)
        known = np.isfinite(true) & (true > self.minimum) & (true < self.maximum)
        if not known.any():
            return np.zeros(1 + len(_ERRORS))
        true, found = true[known], np.clip(found[known], self.minimum, self.maximum)
        error, d = np.abs(true - found), np.log(true) - np.log(found)
        ratio = np.maximum(true / found, found / true)
        numbers = (
            *(np.mean(ratio < 1.25**power) for power in (1, 2, 3)),
            *(np.mean(error / true), np.mean(error**2 / true), np.sqrt(np.mean(error**2))),
            *(np.sqrt(np.mean(d**2)), np.mean(np.abs(d)) / np.log(10)),
            np.sqrt(np.mean(d**2) - np.mean(d) ** 2 / 2),
        )
        return np.array([1, *numbers])

    def scores(self, sums: Float64[np.ndarray, "*sets 10"]) -> Mapping[str, np.ndarray]:
        """The means over the images of each set."""
        with np.errstate(invalid="ignore"):  # 0 / 0 is NaN
            means = sums[..., 1:] / sums[..., :1]
        return {name: means[..., i] for i, name in enumerate(_ERRORS)}
