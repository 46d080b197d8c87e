"""Labels that store numbers: do classes count from 0, what is void, what numbers objects?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from fcn_jax.check.findings import Finding, number
from fcn_jax.check.look import Look
from fcn_jax.check.values import Table, names, of_one_image_each, ranges, with_value
from fcn_jax.data.label_values import LabelValues
from fcn_jax.labels import IGNORE


def number_findings(
    looks: Sequence[Look], classes: Table, given: LabelValues, num_classes: int | None
) -> Iterator[Finding]:
    """What the stored numbers mean.

    Args:
      looks: Their labels.
      classes: Their values, without 255 and those that are ignored.
      given: The options about values.
      num_classes: How many classes there are; None: nothing says it.
    """
    if classes.values[-1] > IGNORE or classes.values[0] < 0:
        yield _large(looks, classes)
    elif of_one_image_each(looks) and num_classes is None:
        yield Finding(
            kind="objects, not classes",
            severity="look",
            found=f"Every label stores 1 to its own largest value, up to {classes.values[-1]}.",
            means="The values may number the objects of each image, and be no classes.",
            mend="If so, use the labels of classes (such as VOC's SegmentationClass).",
            examples=names(looks),
        )
    else:
        yield from _counting(looks, classes, given, num_classes)


def _large(looks: Sequence[Look], classes: Table) -> Finding:
    values = classes.values
    small = values[(values >= 0) & (values < IGNORE)]
    other = values[(values < 0) | (values > IGNORE)]
    if len(small) and len(other) == 1:
        value = int(other[0])
        return Finding(
            kind="another value for void",
            severity="wrong",
            found=f"The labels store {ranges(small)} and, far from them, {value}.",
            means=f"{value} is probably void: pixels of no class.",
            mend=f"Ignore it: --ignore {value}",
            options=("--ignore", str(value)),
            examples=with_value(looks, value),
        )
    for factor in (1000, 256):
        kinds = np.unique(np.where(values >= factor, values // factor, values))
        if len(kinds) * 2 < len(values) and len(kinds) <= IGNORE:
            new = {int(kind): k for k, kind in enumerate(kinds)}
            rows = [
                f"{v},{new[int(v // factor if v >= factor else v)]},"
                f"{f'class {v // factor if v >= factor else v}'}"
                for v in values.tolist()
            ]
            return Finding(
                kind="numbers of objects",
                severity="wrong",
                found=f"The labels store {len(values)} values up to {values[-1]}.",
                means=f"They are probably {factor} times the class and the number of an object, "
                "as in Cityscapes' instanceIds.",
                mend="Use the labels of classes (Cityscapes: --labels "
                "'{stem}_gtFine_labelIds.png'), or take many values for one class: --label-map "
                "FILE with the lines below.",
                options=("--label-map", "FILE"),
                label_map="\n".join(["value,class,name", *rows]),
                examples=names(looks),
            )
    return Finding(
        kind="numbers of objects",
        severity="wrong",
        found=f"The labels store {len(values)} values from {values[0]} to {values[-1]}; classes go "
        "to 254.",
        means="They are probably numbers of objects, or depths, and no classes.",
        mend="Use the labels of classes, or give each value its class: --label-map FILE (a CSV of "
        "value,class,name).",
        options=("--label-map", "FILE"),
        examples=names(looks),
    )


def _counting(
    looks: Sequence[Look], classes: Table, given: LabelValues, num_classes: int | None
) -> Iterator[Finding]:
    """Values below 255: do they count from 0, and is one of them void?"""
    values, last = classes.values, int(classes.values[-1])
    alone = _alone(values)
    beyond = num_classes is not None and last >= num_classes + given.reduce_zero
    if given.reduce_zero and not beyond:
        return
    if alone and (num_classes is None or beyond):
        yield _void(
            looks, alone, f"far from the others ({ranges(v for v in values if v not in alone)})"
        )
    elif beyond:
        yield _beyond(looks, classes, num_classes or 0)
    elif num_classes is not None:
        return
    elif values[0] == 1 and classes.labels > 1 < len(values) and last - 1 < 2 * len(values):
        yield _from_one(looks, f"The labels store {ranges(values)}, and never 0.", "look")
    elif len(values) >= 3 and values[0] == 0 and (between := _is_void(classes, 0)) > 0.5:
        yield _from_one(
            looks,
            f"The value 0 lies in lines between the others ({ranges(values[1:])}): it is a side of "
            f"{between:.0%} of all borders.",
            "wrong" if between > 0.8 else "look",
        )
    elif len(values) >= 4 and _is_void(classes, len(values) - 1) > 0.5:
        yield _void(looks, [last], "in lines between the others", severity="look")
    elif last + 1 > 2 * len(values) and last >= 10:
        yield _gaps(looks, values)


def _is_void(classes: Table, k: int) -> float:
    """Whether the k-th value lies in lines between the others, and then how many borders it has.

    Lines: twice as many of its pixels are at edges as of the other values', in most labels.

    Returns:
      The part of all borders that it is a side of, 0 to 1; 0 if it is no void.
    """
    thin, others = 1 - classes.thickness[k], 1 - np.delete(classes.thickness, k)
    lines = thin > 2 * np.median(others) and thin > 1.2 * others.max()
    often = classes.labels >= 3 and classes.images[k] * 2 >= classes.labels
    return float(classes.between[k]) if lines and often and classes.share[k] < 0.25 else 0.0


def _alone(values: np.ndarray) -> list[int]:
    """One or two values at the end, far from the others, which are classes from 0 or 1."""
    for count in (1, 2):
        rest = values[:-count]
        if len(rest) and rest[0] <= 1 and rest[-1] < 2 * len(rest) + 2:
            gaps = np.diff(values[-count - 1 :])
            if gaps[0] >= max(10, 2 * len(rest)):
                return values[-count:].tolist()
    return []


def _void(
    looks: Sequence[Look], void: list[int], why: str, severity: Literal["wrong", "look"] = "wrong"
) -> Finding:
    texts, examples = " ".join(map(str, void)), with_value(looks, void[0])
    return Finding(
        kind="another value for void",
        severity=severity,
        found=f"The value {' and '.join(map(str, void))} stands {why}, in "
        f"{number(len(examples), 'label')}.",
        means="It is probably void: pixels of no class, which would be learned as one.",
        mend=f"If so, ignore it: --ignore {texts}",
        options=("--ignore", *map(str, void)),
        examples=examples,
    )


def _from_one(looks: Sequence[Look], found: str, severity: Literal["wrong", "look"]) -> Finding:
    return Finding(
        kind="counting from 1",
        severity=severity,
        found=found,
        means="The classes count from 1, and 0 is void: pixels of no class.",
        mend="Take 0 as ignored and 1 as the first class: --reduce-zero-label",
        options=("--reduce-zero-label",),
        examples=with_value(looks, 0) or names(looks),
    )


def _beyond(looks: Sequence[Look], classes: Table, num_classes: int) -> Finding:
    values = classes.values
    wrong = values[values >= num_classes]
    found = f"There are {num_classes} classes, 0 to {num_classes - 1}, and the labels store "
    if wrong.tolist() == [num_classes]:
        zero, last = (classes.thickness[values == v] for v in (0, num_classes))
        if not len(zero) or zero[0] <= last[0]:
            return _from_one(looks, f"{found}{ranges(values)}.", "wrong")
        if _is_void(classes, len(values) - 1):
            return _void(looks, [num_classes], f"beyond the {num_classes} classes")
    examples = with_value(looks, int(wrong[0]))
    return Finding(
        kind="values beyond the classes",
        severity="wrong",
        found=f"{found}{ranges(wrong)} too, in {number(len(examples), 'label')}.",
        means="There are more classes (the background counts), or these values are void.",
        mend=f"Give --num-classes {values[-1] + 1}, or ignore them: --ignore "
        f"{' '.join(map(str, wrong[:10]))}",
        options=("--ignore", *map(str, wrong)),
        examples=examples,
    )


def _gaps(looks: Sequence[Look], values: np.ndarray) -> Finding:
    rows = [f"{v},{k},class {v}" for k, v in enumerate(values)]
    return Finding(
        kind="numbers with gaps",
        severity="look",
        found=f"The labels store {len(values)} values between {values[0]} and {values[-1]}: "
        f"{ranges(values)}.",
        means="These are numbers from a longer list, or other values than classes. The net would "
        f"have {values[-1] + 1} classes, most of which never occur.",
        mend="Count the classes anew: --label-map FILE with the lines below.",
        options=("--label-map", "FILE"),
        label_map="\n".join(["value,class,name", *rows]),
        examples=names(looks),
    )
