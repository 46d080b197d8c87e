"""How well a coarse prediction can score: the truth, downsampled and upsampled again.

Source: CVPR 2015 appendix A, TPAMI 2017 section 6.3: the mean IU of VOC's truth downsampled by 128
to 4 and upsampled again. The papers do not say how. This study tries several downsampling methods,
prints the one closest to the published row, and its score at 2, which is not published.
"""

import dataclasses
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from experiments.studies import command
from experiments.studies.charts import save_chart
from experiments.studies.coarse import Mask, Method, all_methods, carried, left_out, one_hot
from fcn_jax.data.voc import VOC
from fcn_jax.labels import IGNORE
from fcn_jax.metrics import Absent, score

PUBLISHED = {128: 50.9, 64: 73.3, 32: 86.1, 16: 92.8, 8: 96.4, 4: 98.5}
"""Mean IU in per cent by factor. Source: CVPR 2015 appendix A (v2), TPAMI 2017 section 6.3."""

FACTORS = (*PUBLISHED, 2)
FIRST_FACTORS = (64, 16, 4)  # for all methods; the closest ones are then scored at every factor
CLASSES = 21  # class 21 is the answer void, which the truth does not contain


Matrices = dict[tuple[Method, int], np.ndarray]
"""int64 confusion matrices (22, 22) by method and factor."""


@dataclasses.dataclass(frozen=True)
class Row:
    """The scores of one method: mean IU in per cent by factor."""

    name: str
    method: Method
    values: dict[int, float]

    @property
    def distance(self) -> float:
        """Mean absolute difference from the published row, in points of mean IU."""
        shared = self.values.keys() & PUBLISHED.keys()
        return float(np.mean([abs(self.values[f] - PUBLISHED[f]) for f in shared]))


def rows_of(methods: Iterable[Method], truths: Iterable[Mask], factors: Iterable[int]) -> list[Row]:
    """One row or two per method, each from the confusion matrix over all masks.

    Every method is scored on the labelled pixels, where the answer void is wrong. Methods that
    replace void (`background`, `filled`) are also scored at every pixel, against their own truth;
    `carried` is also scored without the pixels that it answers void.
    """
    methods, factors = list(methods), list(factors)
    labelled, every_pixel = _confusion_matrices(methods, truths, factors)
    answered = {key: np.pad(m[:, :CLASSES], ((0, 0), (0, 1))) for key, m in labelled.items()}
    rows = []
    for method in methods:
        named = {str(method): labelled}
        if method.void is carried:
            named[f"{method}, void answers not counted"] = answered
        elif method.void is not left_out:
            named[f"{method}, all pixels count"] = every_pixel
        for name, matrices in named.items():
            values = {factor: _mean_iu(matrices[method, factor]) for factor in factors}
            rows.append(Row(name, method, values))
    return rows


def _confusion_matrices(
    methods: list[Method], truths: Iterable[Mask], factors: list[int]
) -> tuple[Matrices, Matrices]:
    """Against the truth on labelled pixels, and against `method.void(truth)` at every pixel."""
    size = CLASSES + 1
    labelled = {key: np.zeros((size, size), np.int64) for key in product(methods, factors)}
    every_pixel = {key: np.zeros((size, size), np.int64) for key in labelled}
    voids = {method.void for method in methods}
    counts = {void: np.zeros(size, np.int64) for void in (None, *voids)}  # pixels of each class
    for truth in truths:
        replaced = {void: void(truth) for void in voids}
        hot = {void: one_hot(mask, void) for void, mask in replaced.items()}
        for void, mask in [(None, truth), *replaced.items()]:
            counts[void] += np.bincount(mask.ravel(), minlength=IGNORE + 1)[:size]
        for method, factor in labelled:
            answer = method(hot[method.void], factor)
            labelled[method, factor] += _wrong(truth, answer)
            every_pixel[method, factor] += _wrong(replaced[method.void], answer)
    for method, factor in labelled:  # all other pixels are right
        for matrices, pixels in ((labelled, counts[None]), (every_pixel, counts[method.void])):
            matrices[method, factor] += np.diag(pixels - matrices[method, factor].sum(1))
    return labelled, every_pixel


def _wrong(truth: Mask, answer: Mask) -> np.ndarray:
    """int64 counts (22, 22) of the wrong answers; they are few, so this is fast."""
    size = CLASSES + 1
    wrong = np.flatnonzero(truth != answer)
    rows = truth.ravel()[wrong].astype(np.intp)
    pairs = size * rows + np.minimum(answer.ravel()[wrong], CLASSES)  # 255 answers class 21
    return np.bincount(pairs, minlength=size * (IGNORE + 1)).reshape(-1, size)[:size]


def _mean_iu(matrix: np.ndarray) -> float:
    return 100 * score(matrix, absent=Absent.NOT_IN_TRUTH).mean_iu


def table(rows: list[Row], title: str) -> Any:
    """The published row, then the others by distance, as a table of `rich`."""
    from rich.table import Table

    made = Table(title=title, title_justify="left")
    made.add_column("centres, down, up, void")
    for heading in (*map(str, FACTORS), "distance"):
        made.add_column(heading, justify="right")
    made.add_row("published", *(f"{v:.1f}" for v in PUBLISHED.values()), "", "", end_section=True)
    for row in sorted(rows, key=lambda row: row.distance):
        cells = (f"{row.values[f]:.1f}" if f in row.values else "" for f in FACTORS)
        made.add_row(row.name, *cells, f"{row.distance:.2f}")
    return made


def main(data: Path = Path("data"), out: Path = Path("runs/studies"), finalists: int = 4) -> None:
    """How well a coarse prediction can score at best, by its output stride.

    Args:
        data: folder that holds VOCdevkit or VOC2012; the masks of seg11valid are enough.
        out: folder for the plot.
        finalists: number of methods, closest at three factors, that are scored at all factors.
    """
    import rich

    source = VOC(split="seg11valid").at(data)
    truths: list[Any] = [source.read_label(name) for name in source.ids]
    tried = rows_of(all_methods(), truths, FIRST_FACTORS)
    rich.print(table(tried, f"mean IU of {len(truths)} masks, all methods"))
    by_distance = dict.fromkeys(row.method for row in sorted(tried, key=lambda row: row.distance))
    chosen = rows_of([*by_distance][:finalists], truths, FACTORS)
    rich.print(table(chosen, "the closest methods"))
    best = min(chosen, key=lambda row: row.distance)
    print(f"closest: {best.name}; factor 2: {best.values[2]:.1f}")
    lines = {"published": [PUBLISHED.get(f) for f in FACTORS], best.name: [*best.values.values()]}
    title = "mean IU of the truth, downsampled and upsampled again, %"
    path, ticks = out / "iu_upper_bound.svg", [*map(str, FACTORS)]
    print(save_chart(path, title, ticks, lines, "factor"))


if __name__ == "__main__":
    command(main)
