"""What the page of runs is made from."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from fcn_jax.metrics import FOUR, Absent, ByImage


class Example(NamedTuple):
    """An image that a run was evaluated on, at most 300 pixels wide and high.

    Attributes:
        name: the image's.
        kind: "best", "median" or "worst".
        right: share of its labelled pixels that are right, 0..1.
        image: uint8 RGB.
        truth, prediction: uint8 classes, 255 = ignored, of the image's size.
    """

    name: str
    kind: str
    right: float
    image: UInt8[np.ndarray, "h w 3"]
    truth: UInt8[np.ndarray, "h w"]
    prediction: UInt8[np.ndarray, "h w"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ShownRun:
    """A run, for its page.

    Attributes:
        folder: its folder.
        facts: what was run, as names and texts.
        recipe: the recipe's fields by path (`model.trunk.width`), as text.
        steps: of the recipe.
        lines: of `metrics.jsonl`.
        speed: of `speed.jsonl`.
        step: the one whose scores are shown, the best; None before the first evaluation.
        split: which images were evaluated.
        absent: which classes the mean IU leaves out.
        images: by output ("" if there is one only), what was counted in each image at `step`;
            empty if that was not kept.
        class_names: by output.
        seconds_per_image, peak_memory: as in `fcn_jax.metrics.Scores`.
        examples: images with their predictions, of the first output.
        notes: what the page lacks, and what adds it.
    """

    folder: str
    facts: Sequence[tuple[str, str]]
    recipe: Mapping[str, str]
    steps: int
    lines: Sequence[Mapping[str, Any]]
    speed: Sequence[Mapping[str, Any]]
    step: int | None
    split: str = ""
    absent: Absent = Absent.IN_NEITHER
    images: Mapping[str, ByImage] = dataclasses.field(default_factory=dict)
    class_names: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    seconds_per_image: float | None = None
    peak_memory: int | None = None
    examples: Sequence[Example] = ()
    notes: Sequence[str] = ()

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.rstrip("/").rpartition("/")[2]

    @property
    def evaluations(self) -> list[Mapping[str, Any]]:
        """The lines with scores."""
        return [line for line in self.lines if line.get(deciding(line)) is not None]

    @property
    def shown_line(self) -> Mapping[str, Any]:
        """The line whose scores are shown; empty before the first evaluation."""
        found = [line for line in self.evaluations if line["step"] == self.step]
        return found[-1] if found else {}

    @functools.cached_property
    def scores(self) -> dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]]:
        """By output, scores and intervals by name; without counts, the scores of its line."""
        if self.images:
            return {
                name: (images.scores(self.absent), images.intervals(self.absent))
                for name, images in self.images.items()
            }
        found = {name: self.shown_line[name] for name in FOUR if name in self.shown_line}
        return {"": (found, {})} if found else {}

    @property
    def measured(self) -> dict[str, float]:
        """Scores of outputs that are no classes of pixels, by name, in their own units."""
        own = {f"{name}_{score}" for name in self.images for score in FOUR} | {*FOUR, "step"}
        found = {k: v for k, v in self.shown_line.items() if k not in own}
        return {k: v for k, v in found.items() if isinstance(v, int | float)}


def deciding(line: Mapping[str, Any]) -> str:
    """The name of the score that chooses the best checkpoint, in a line of an evaluation."""
    return str(line.get("best_by", "mean_iu"))


def flat(described: Any, path: str = "") -> dict[str, str]:
    """The fields of a recipe as JSON (see `fcn_jax.runs.description`), by their paths, as text."""
    if isinstance(described, dict):
        found = {}
        if "class" in described:
            found[path or "class"] = str(described["class"]).rpartition(".")[2]
        for key, item in described.items():
            if key != "class":
                found |= flat(item, f"{path}.{key}" if path else str(key))
        return found
    if isinstance(described, list):
        if any(isinstance(item, dict | list) for item in described):
            found = [flat(item, f"{path}[{i}]") for i, item in enumerate(described)]
            return {key: text for part in found for key, text in part.items()}
        return {path: ", ".join(map(str, described)) or "none"}
    return {path: "none" if described is None else str(described)}
