"""The values of all labels together, and which of them are only edges between others."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64

from fcn_jax.check.look import Look, Values
from fcn_jax.labels import IGNORE


@dataclasses.dataclass(frozen=True)
class Table:
    """What the labels of a data set hold.

    Attributes:
      values: int64, each value that occurs, sorted; a colour is 65536 R + 256 G + B.
      pixels, flat, lone, border, ramp: int64, as in `Values`, over all labels.
      images: int64, in how many labels each value occurs.
      labels: How many labels there are.
    """

    values: Int64[np.ndarray, " v"]
    pixels: Int64[np.ndarray, " v"]
    flat: Int64[np.ndarray, " v"]
    lone: Int64[np.ndarray, " v"]
    border: Int64[np.ndarray, " v"]
    ramp: Int64[np.ndarray, " v"]
    images: Int64[np.ndarray, " v"]
    labels: int

    @property
    def solid(self) -> Bool[np.ndarray, " v"]:
        """Which values have pixels away from edges: at least one in twenty."""
        return self.flat * 20 >= self.pixels

    @property
    def thickness(self) -> np.ndarray:
        """The part of each value's pixels that is away from edges, 0 to 1."""
        return self.flat / self.pixels

    @property
    def between(self) -> np.ndarray:
        """The part of all borders that each value is a side of, 0 to 1."""
        return 2 * self.border / max(self.border.sum(), 1)

    @property
    def share(self) -> np.ndarray:
        """The part of all pixels that has each value, 0 to 1."""
        return self.pixels / self.pixels.sum()

    def lines(self, k: int) -> float:
        """Whether the k-th value lies in lines between the others, and how many borders it has.

        Lines: twice as many of its pixels are at edges as of the other values', in most labels.

        Returns:
          The part of all borders that it is a side of, 0 to 1; 0 if it lies in no lines.
        """
        if len(self.values) < 3:
            return 0.0
        thin, others = 1 - self.thickness[k], 1 - np.delete(self.thickness, k)
        lines = thin > 2 * np.median(others) and thin > 1.2 * others.max()
        often = self.labels >= 3 and self.images[k] * 2 >= self.labels
        return float(self.between[k]) if lines and often and self.share[k] < 0.25 else 0.0

    @property
    def ramps(self) -> float:
        """The part of all edges that pass over a value between their two sides, 0 to 1.

        Such values are many where a label was resized with interpolation. In labels of VOC, NYUDv2
        and SIFT Flow they are at 0.2 % of the edges; if enlarged twice bilinearly, at 28 to 65 %.
        """
        one = self.ramp.max(initial=0) > 0.8 * self.ramp.sum()  # lines drawn in one middle value
        return 0.0 if one else float(2 * self.ramp.sum() / max(self.border.sum(), 1))

    def without(self, values: Iterable[int]) -> Table:
        """The table without some values."""
        return self._where(~np.isin(self.values, list(values)))

    def main(self) -> Table:
        """The table of the values that areas have, where `smoothed`; else the same table."""
        return self._where(self.solid) if self.smoothed else self

    @property
    def smoothed(self) -> bool:
        """Whether most values lie on edges only: smoothed or resized labels, or a JPEG's.

        A data set has few classes that are thin everywhere; smoothing gives dozens of values.
        """
        solid, thin = self.solid.sum(), (~self.solid).sum()
        few_pixels = self.pixels[~self.solid].sum() < 0.4 * self.pixels.sum()
        return bool(solid and thin >= max(6, 2 * solid) and few_pixels)

    @property
    def photographic(self) -> bool:
        """Whether these are pixels of photographs: many values, and hardly any area of one."""
        return bool(len(self.values) > 64 and self.flat.sum() < 0.3 * self.pixels.sum())

    def _where(self, which: Bool[np.ndarray, " v"]) -> Table:
        columns = ("values", "pixels", "flat", "lone", "border", "ramp", "images")
        return dataclasses.replace(self, **{name: getattr(self, name)[which] for name in columns})


def table(all_values: Sequence[Values]) -> Table:
    """Adds up the values of labels."""
    values = np.concatenate([one.values for one in all_values])
    known, place = np.unique(values, return_inverse=True)
    pixels, flat, lone, border, ramp = (
        np.bincount(place, np.concatenate([one[k] for one in all_values]), len(known))
        for k in (1, 2, 3, 4, 5)
    )
    return Table(
        values=known,
        pixels=pixels.astype(np.int64),
        flat=flat.astype(np.int64),
        lone=lone.astype(np.int64),
        border=border.astype(np.int64),
        ramp=ramp.astype(np.int64),
        images=np.bincount(place, minlength=len(known)),
        labels=len(all_values),
    )


def of_one_image_each(looks: Sequence[Look]) -> bool:
    """Whether the values number objects of one image: the same number is another thing elsewhere.

    The values of each label are 0 (or 1) to its own count, and these counts differ widely.
    """
    last = []
    for look in looks:
        values = look.values.values
        values = values[(values != 0) & (values != IGNORE)]
        if len(values) and (values[0] > 1 or values[-1] - values[0] + 1 != len(values)):
            return False
        last.append(len(values))
    return len(last) >= 4 and max(last) >= 6 and len(set(last)) >= 4


def ranges(values: Iterable[Any], most: int = 12) -> str:
    """Numbers in words, runs of three or more in short: `0 to 11, 255`."""
    runs: list[list[int]] = []
    for value in sorted(map(int, values)):
        if runs and runs[-1][-1] + 1 == value:
            runs[-1].append(value)
        else:
            runs.append([value])
    texts = []
    for run in runs:
        texts += [f"{run[0]} to {run[-1]}"] if len(run) > 2 else map(str, run)
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" if texts[most:] else "")


def colour(value: Any) -> str:
    """A colour in words: `128,64,0`."""
    return f"{value >> 16},{value >> 8 & 255},{value & 255}"


def names(looks: Sequence[Look]) -> tuple[str, ...]:
    """The examples' names."""
    return tuple(look.name for look in looks)


def with_value(looks: Sequence[Look], value: int) -> tuple[str, ...]:
    """Names of the examples that have most of a value."""
    found = []
    for look in looks:
        at = np.flatnonzero(look.values.values == value)
        found += [(-int(look.values.pixels[at[0]]), look.name)] if len(at) else []
    return tuple(name for _, name in sorted(found))
