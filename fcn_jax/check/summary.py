"""What a data set is, in a few lines and one table, for the text and for the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from fcn_jax.check.inspect import Report
from fcn_jax.check.look import Look
from fcn_jax.check.values import colour, table
from fcn_jax.labels import IGNORE

_MOST_ROWS = 60


class Row(NamedTuple):
    """A class, or a stored value, of the whole set.

    Attributes:
      key: The class's number; or the value or colour.
      name: Its name; "" of a value.
      share: The part of all pixels, 0 to 1.
      pixels: How many pixels.
      images: In how many images.
    """

    key: str
    name: str
    share: float
    pixels: int
    images: int


class Summary(NamedTuple):
    """A data set in short.

    Attributes:
      facts: Pairs of a name and a text.
      heading: What the rows are: "class", "value" or "colour".
      rows: The classes as training reads them; or the stored values, if it cannot.
      more: How many rows were left out.
    """

    facts: list[tuple[str, str]]
    heading: str
    rows: list[Row]
    more: int


def summary(report: Report) -> Summary:
    """Puts together what was seen."""
    heading, rows = _rows(report)
    facts = _facts(report.looks) + [("other files", line) for line in report.left_out]
    return Summary(facts, heading, rows[:_MOST_ROWS], len(rows[_MOST_ROWS:]))


def _facts(looks: Sequence[Look]) -> list[tuple[str, str]]:
    parts = Counter(look.item.part for look in looks)
    images = ", ".join(f"{part} {count}" for part, count in parts.items() if part)
    facts = [("images", f"{len(looks)}" + (f" ({images})" if images else ""))]
    sizes = np.array([look.image_size for look in looks if look.image_size])
    if len(sizes):
        small, large = sizes[sizes.prod(1).argmin()], sizes[sizes.prod(1).argmax()]
        kinds = len(np.unique(sizes, axis=0))
        ends = f"{small[0]} x {small[1]}"
        ends += f" to {large[0]} x {large[1]}, {kinds} sizes" if kinds > 1 else " each"
        facts.append(("rows x columns", ends))
    facts.append(("image files", _counted(look.image_kind for look in looks)))
    facts.append(("label files", _counted(look.raw.kind for look in looks if look.raw)))
    tags = sum(look.turned != 1 for look in looks)
    facts.append(("orientation tags", f"{tags} images" if tags else ""))
    fits = [look.fit.own for look in looks if look.fit]
    if fits:
        text = f"median {np.median(fits):.1f} standard deviations in {len(fits)} images"
        facts.append(("labels fit images", f"{text} (above 4 is usual for photographs)"))
    return [(name, text) for name, text in facts if text]


def _counted(kinds: Iterable[str]) -> str:
    counts = Counter(kind for kind in kinds if kind)
    if len(counts) == 1:
        return next(iter(counts))
    return "; ".join(f"{kind}: {count}" for kind, count in counts.most_common(6))


def _rows(report: Report) -> tuple[str, list[Row]]:
    read = [look.classes for look in report.looks if look.classes is not None]
    if read:
        counts = np.array(read)
        pixels, images = counts.sum(0), (counts > 0).sum(0)
        last = int(np.flatnonzero(pixels[:IGNORE]).max(initial=0)) + 1
        count = max(last, len(report.class_names) if report.known else 0)
        names = {k: name for k, name in enumerate(report.class_names[:count])}
        # Of values far apart, such as gray levels, those between them are no classes.
        shown = len(report.class_names) if report.known else count * (count <= _MOST_ROWS)
        keys = [k for k in range(count) if pixels[k] or k < shown]
        keys += [IGNORE] if pixels[IGNORE] else []
        names[IGNORE] = "ignored"
        total = max(pixels.sum(), 1)
        return "class", [
            Row(str(k), names.get(k, ""), pixels[k] / total, int(pixels[k]), int(images[k]))
            for k in keys
        ]
    stored = [look for look in report.looks if look.values is not None]
    if not stored:
        return "class", []
    whole = table([look.values for look in stored if look.values])
    colours = any(look.raw and look.raw.colours for look in stored)
    order = np.argsort(-whole.pixels, kind="stable")
    return "colour" if colours else "value", [
        Row(
            colour(int(whole.values[k])) if colours else str(whole.values[k]),
            "",
            float(whole.share[k]),
            int(whole.pixels[k]),
            int(whole.images[k]),
        )
        for k in order
    ]
