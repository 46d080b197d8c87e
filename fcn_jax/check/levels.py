"""Classes that are drawn as gray levels (0 and 255, 0 and 65535, or 0, 60, 120), and label maps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fcn_jax.check.findings import Finding
from fcn_jax.check.look import Look
from fcn_jax.check.values import Table, names, ranges
from fcn_jax.labels import IGNORE

_LEAST_STEP = 10


def gray_levels(table: Table, num_classes: int | None) -> dict[int, int]:
    """The class of each gray level, and 255 for levels that are probably void.

    Levels are 0 and equal steps of ten and more; some may be missing.

    Args:
      table: The values of all labels.
      num_classes: How many classes there are; None: nothing says it.

    Returns:
      Stored value to class; empty if the values are no gray levels, or are classes as they are.
    """
    values = table.values.tolist()
    if len(values) < 2 or values[0] != 0:
        return {}
    void = [value for k, value in enumerate(values) if k and table.lines(k) > 0.5]
    levels = [value for value in values if value not in void]
    if len(levels) < 2:
        void, levels = [], values
    others = [value for value in levels if value != IGNORE]
    if len(others) > 1 and IGNORE in levels and not _is_class(table, levels, num_classes):
        void, levels = [*void, IGNORE], others
    even = _even(levels)
    step = int(np.gcd.reduce([value for value in levels if value != IGNORE or len(levels) == 2]))
    if (not even and step < _LEAST_STEP) or (num_classes and levels[-1] < num_classes):
        return {}
    codes = [value // step for value in levels]
    if codes[-1] == IGNORE and len(levels) > 2:  # 8 bits stretched to 16
        void, levels, codes = [*void, levels[-1]], levels[:-1], codes[:-1]
    exact = all(value == k * step for value, k in zip(levels, codes, strict=True))
    if num_classes is None or codes[-1] >= num_classes or not exact:
        codes = list(range(len(levels)))
    return dict(zip(levels, codes, strict=True)) | dict.fromkeys(void, IGNORE)


def _is_class(table: Table, levels: list[int], num_classes: int | None) -> bool:
    """Whether 255 is a class among levels: by their number, by even steps or as what is largest."""
    if num_classes == len(levels) - 1:
        return False
    if num_classes == len(levels):
        return levels[-2] // int(np.gcd.reduce(levels[:-1])) != len(levels) - 1
    part = dict(zip(table.values.tolist(), table.share.tolist(), strict=True))
    return _even(levels) or part[IGNORE] > sum(part[v] for v in levels if 0 < v < IGNORE)


def _even(values: list[int]) -> bool:
    """Whether the values are equal steps from 0, of ten and more, up to rounding."""
    step = values[-1] / (len(values) - 1)
    return bool(step >= _LEAST_STEP and (abs(values - step * np.arange(len(values))) <= 1).all())


def class_map(main: Table, num_classes: int | None) -> list[str]:
    """Rows of a label map, `value,class,name`; 255 is ignored, unless it is a gray level.

    Classes that are below `num_classes` keep their numbers, and those that are missing get a row.
    """
    found = gray_levels(main, num_classes)
    if not found:
        values = main.without([IGNORE]).values.tolist()
        keep = num_classes is not None and bool(values) and values[-1] < num_classes
        values = list(range(num_classes or 0)) if keep else values
        found = {value: k for k, value in enumerate(values)}
        found |= {IGNORE: IGNORE} if IGNORE in main.values else {}
    classes = {value: k for value, k in found.items() if k != IGNORE}
    step = next((value // k for value, k in classes.items() if k), 0)
    most = IGNORE - 1 if main.values[-1] <= IGNORE else 65535
    exact = step and all(value == k * step for value, k in classes.items())
    if num_classes and exact and step * (num_classes - 1) <= most:
        found = {k * step: k for k in range(num_classes)} | found
    called = ("background", "object") if len(set(found.values()) - {IGNORE}) == 2 else ()
    return [
        f"{value},{k}," + ("" if k == IGNORE else called[k] if called else f"class {value}")
        for value, k in sorted(found.items(), key=lambda pair: (pair[1], pair[0]))
    ]


def level_finding(
    looks: Sequence[Look], table: Table, levels: dict[int, int], num_classes: int | None
) -> Finding:
    """Says that classes are drawn as gray levels, with the map that reads them."""
    classes = [value for value, k in levels.items() if k != IGNORE]
    void = [value for value, k in levels.items() if k == IGNORE]
    mask = len(classes) == 2 and classes[1] >= IGNORE
    doubt = f" {ranges(void)} is taken as void; if it is a class, correct its line." if void else ""
    return Finding(
        kind=f"masks of 0 and {classes[1]}" if mask else "gray levels",
        severity="wrong",
        found=f"The labels store the values {ranges(table.values)}.",
        means="These are masks of one object drawn in black and white. Here 255 means ignored, so "
        "nothing but background would be learned."
        if classes == [0, IGNORE]
        else "These are masks of one object drawn in black and white, and no numbers of classes."
        if mask
        else "Classes were drawn as gray levels that can be told apart; training takes every value "
        "for a class of its own" + (", and 255 for ignored." if IGNORE in levels else "."),
        mend=f"Give each value its class: --label-map FILE with the lines below.{doubt}",
        options=("--label-map", "FILE"),
        label_map="\n".join(["value,class,name", *class_map(table, num_classes)]),
        examples=names(looks),
    )
