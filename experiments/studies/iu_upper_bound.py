"""How well a coarse prediction can score: the truth, made coarse and fine again.

Source: CVPR 2015 appendix A, TPAMI 2017 section 6.3: the mean IU of VOC's truth downsampled by 128
to 4 and upsampled again. The papers do not say how; this study tries the ways there are, says
which fits the published row best, and with it gives the entry for 2, which is not published.
"""

import dataclasses
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from experiments.studies import command
from experiments.studies.charts import save_chart
from experiments.studies.coarse import VOID, Mask, Way, carried, left_out, one_hot, ways
from fcn_jax.data.voc import VOC
from fcn_jax.metrics import Absent, score

PUBLISHED = {128: 50.9, 64: 73.3, 32: 86.1, 16: 92.8, 8: 96.4, 4: 98.5}
"""Mean IU in per cent by factor. Source: CVPR 2015 appendix A (v2), TPAMI 2017 section 6.3."""

FACTORS = (*PUBLISHED, 2)
SIEVE = (64, 16, 4)  # at which all ways are tried; the best ones then at every factor
CLASSES = 21  # and class 21 for the answer void, which no pixel of the truth has


@dataclasses.dataclass(frozen=True)
class Row:
    """What one way scores: mean IU in per cent by factor."""

    name: str
    way: Way
    values: dict[int, float]

    @property
    def distance(self) -> float:
        """Mean absolute difference from the published row, in points of mean IU."""
        shared = self.values.keys() & PUBLISHED.keys()
        return float(np.mean([abs(self.values[f] - PUBLISHED[f]) for f in shared]))


def rows_of(tried: Iterable[Way], truths: Iterable[Mask], factors: Iterable[int]) -> list[Row]:
    """The rows of every way, from one confusion matrix over all masks per way and factor.

    Each way is scored on the labelled pixels, where the answer void is wrong. What starts from
    truth without void (`background`, `filled`) is scored on that as well, at every pixel; `carried`
    also without the pixels that it answers void.
    """
    size = (CLASSES + 1, CLASSES + 1)
    tried, factors = list(tried), list(factors)
    strict = {key: np.zeros(size, np.int64) for key in product(tried, factors)}
    loose = {key: np.zeros(size, np.int64) for key in strict}
    counted = {void: np.zeros(CLASSES + 1, np.int64) for void in [None, *{w.void for w in tried}]}
    for truth in truths:
        starts = {void: truth if void is None else void(truth) for void in counted}
        hot = {void: one_hot(start, void) for void, start in starts.items() if void is not None}
        for void, start in starts.items():
            counted[void] += np.bincount(start.ravel(), minlength=VOID + 1)[: CLASSES + 1]
        for way, factor in strict:
            start, answer = starts[way.void], way(hot[way.void], factor)
            strict[way, factor] += _wrong(truth, answer)
            if start is not truth:
                loose[way, factor] += _wrong(start, answer)
    for way, factor in strict:
        for matrices, pixels in ((strict, counted[None]), (loose, counted[way.void])):
            matrices[way, factor] += np.diag(pixels - matrices[way, factor].sum(1))
    rows = []
    for way in tried:
        named = {str(way): strict}
        if way.void is carried:
            for factor in factors:
                loose[way, factor] = np.pad(strict[way, factor][:, :CLASSES], ((0, 0), (0, 1)))
            named[f"{way}, void answers not counted"] = loose
        elif way.void is not left_out:
            named[f"{way}, all pixels count"] = loose
        for name, matrices in named.items():
            rows.append(Row(name, way, {f: _mean_iu(matrices[way, f]) for f in factors}))
    return rows


def _wrong(truth: Mask, answer: Mask) -> np.ndarray:
    """int64 counts (22, 22) of the answers that are not the truth: few, so quickly counted."""
    size = CLASSES + 1
    wrong = np.flatnonzero(truth != answer)
    rows = truth.ravel()[wrong].astype(np.intp)
    pairs = size * rows + np.minimum(answer.ravel()[wrong], CLASSES)  # 255 answers class 21
    return np.bincount(pairs, minlength=size * (VOID + 1)).reshape(-1, size)[:size]


def _mean_iu(matrix: np.ndarray) -> float:
    return 100 * score(matrix, absent=Absent.NOT_IN_TRUTH).mean_iu


def table(rows: list[Row], title: str) -> Any:
    """The rows below the published one, the nearest first (`rich`)."""
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
        finalists: so many of the ways that are nearest at three factors are scored at all.
    """
    import rich

    source = VOC(split="seg11valid").at(data)
    truths = [source.read_label(name) for name in source.ids]
    tried = rows_of(ways(), truths, SIEVE)
    rich.print(table(tried, f"mean IU of {len(truths)} masks, all ways"))
    in_order = dict.fromkeys(row.way for row in sorted(tried, key=lambda row: row.distance))
    chosen = rows_of([*in_order][:finalists], truths, FACTORS)
    rich.print(table(chosen, "the nearest"))
    best = min(chosen, key=lambda row: row.distance)
    print(f"nearest: {best.name}; factor 2: {best.values[2]:.1f}")
    lines = {"published": [PUBLISHED.get(f) for f in FACTORS], best.name: [*best.values.values()]}
    title = "mean IU of the truth made coarse and fine again, %"
    path, ticks = out / "iu_upper_bound.svg", [*map(str, FACTORS)]
    print(save_chart(path, title, ticks, lines, "factor"))


if __name__ == "__main__":
    command(main)
