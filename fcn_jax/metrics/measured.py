"""Scores of outputs that are no classes of pixels: depth, and classes or attributes of the image.

An evaluator measures each image alone, on the host, and scores are a function of sums over images.
So they do not depend on batches, canvases, devices or processes, and have intervals.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float64, Shaped

from fcn_jax.metrics.bootstrap import draws, interval


@runtime_checkable
class Evaluator(Protocol):
    """How an output is scored. Any frozen dataclass with these members will do in a recipe."""

    @property
    def best(self) -> str:
        """The score that chooses the best checkpoint, if the output is the first; higher wins."""
        ...

    def measure(
        self, label: Shaped[np.ndarray, "..."], scores: Float[np.ndarray, "..."]
    ) -> Float64[np.ndarray, " m"]:
        """Numbers of one image that can be added; as many, and 0, where its label is missing.

        Args:
            label: of the image without padding, as the data set gives it.
            scores: of the net, `(h, w, k)` or `(k,)`.

        Raises:
            ValueError: label and scores do not belong together.
        """
        ...

    def scores(self, sums: Float64[np.ndarray, "*sets m"]) -> Mapping[str, np.ndarray]:
        """Scores by name, of the sums over the images of one set or of many; NaN if undefined."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """What an evaluator measured in each of n images, and the scores that follow.

    Attributes:
        evaluator: what measured.
        names: of the images.
        values: what it measured in each.
        seconds_per_image: see `fcn_jax.metrics.Scores`.
        peak_memory: see there.
    """

    evaluator: Any
    names: tuple[str, ...]
    values: Float64[np.ndarray, "n m"]
    seconds_per_image: float | None = None
    peak_memory: int | None = None

    @functools.cached_property
    def scores(self) -> Mapping[str, float]:
        """The scores of all images, by name."""
        found = self.evaluator.scores(self.values.sum(axis=0))
        return {name: float(value) for name, value in found.items()}

    @functools.cached_property
    def intervals(self) -> Mapping[str, Float[np.ndarray, "2"]]:
        """The 95 % interval of each, from the bootstrap over images; empty for one image."""
        if len(self.names) < 2:
            return {}
        drawn = self.evaluator.scores(draws(len(self.names)) @ self.values)
        return {name: interval(values) for name, values in drawn.items()}

    @property
    def best(self) -> str:
        """The score that chooses the best checkpoint."""
        return self.evaluator.best

    def __str__(self) -> str:
        """One line, with intervals."""
        return ", ".join(f"{name.replace('_', ' ')} {self._text(name)}" for name in self.scores)

    def _text(self, name: str) -> str:
        ends = self.intervals.get(name)
        if ends is None or np.isnan(ends).any():
            return f"{self.scores[name]:.3g}"
        return f"{self.scores[name]:.3g} ({ends[0]:.3g} to {ends[1]:.3g})"
