"""Labels that store numbers: do classes count from 0, what is void, what numbers objects?"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from fcn_jax.check.findings import Finding, have, number
from fcn_jax.check.look import Look
from fcn_jax.check.values import Table, names, of_one_image_each, ranges, with_value
from fcn_jax.data.label_values import LabelValues
from fcn_jax.labels import IGNORE

_SMALL = 0.1  # of all pixels: what is void has rarely more, and the background rarely less


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
    if len(small) > 1 and len(other) == 1:
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
    alone, unknown = _alone(values), num_classes is None
    beyond = num_classes is not None and last >= num_classes + given.reduce_zero
    if given.reduce_zero and not beyond:
        return
    if alone and (unknown or beyond):
        yield _void(
            looks, alone, f"far from the others ({ranges(v for v in values if v not in alone)})"
        )
    elif beyond:
        yield _beyond(looks, classes, num_classes or 0, given.reduce_zero)
    elif values[0] == 1 and classes.labels > 1 < len(values) and last - 1 < 2 * len(values):
        if unknown:
            yield _from_one(looks, f"The labels store {ranges(values)}, and never 0.", "look")
    elif values[0] == 0 and (between := classes.lines(0)) > 0.5:
        yield _from_one(
            looks,
            f"The value 0 lies in lines between the others ({ranges(values[1:])}): it is a side of "
            f"{between:.0%} of all borders.",
            "wrong" if between > 0.8 else "look",
            num_classes,
        )
    elif len(values) >= 4 and classes.lines(len(values) - 1) > 0.5:
        yield _void(looks, [last], "in lines between the others", severity="look")
    elif unknown and last + 1 > 2 * len(values) and last >= 10:
        yield _gaps(looks, values)


def _alone(values: np.ndarray) -> list[int]:
    """One or two values at the end, far from the others: more others, which are classes."""
    for count in (1, 2):
        rest = values[:-count]
        if len(rest) > count and rest[0] <= 1 and rest[-1] < 2 * len(rest) + 2:
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


def _from_one(
    looks: Sequence[Look],
    found: str,
    severity: Literal["wrong", "look"],
    num_classes: int | None = None,
    other: str = "",
) -> Finding:
    fewer = ""
    if num_classes:
        fewer = f"; if 0 is one of the {num_classes}, --num-classes {num_classes - 1} too"
    return Finding(
        kind="counting from 1",
        severity=severity,
        found=found,
        means="The classes count from 1, and 0 is void: pixels of no class.",
        mend=f"Take 0 as ignored and 1 as the first class: --reduce-zero-label{fewer}{other}",
        options=("--reduce-zero-label",),
        examples=with_value(looks, 0) or names(looks),
    )


def _beyond(looks: Sequence[Look], classes: Table, num_classes: int, reduced: bool) -> Finding:
    """Values above the last class: one class more, classes from 1, void, or another numbering."""
    values, share = classes.values, classes.share
    wrong = values[values >= num_classes]
    found = f"There {have(num_classes, 'is', 'are')} {number(num_classes, 'class')}, 0 to "
    found += f"{num_classes - 1}, and the labels store "
    more = f"--num-classes {values[-1] + 1}"
    if reduced:
        return _too_many(looks, classes, num_classes)
    if wrong.tolist() == [num_classes]:
        at_zero = float(share[values == 0].sum())
        if values[0] != 0 or classes.lines(0) > 0.5 or at_zero < _SMALL:
            other = f". If 0 is a class, such as the background, give {more}" if at_zero else ""
            return _from_one(looks, f"{found}{ranges(values)}.", "wrong", other=other)
        if classes.lines(len(values) - 1):
            return _void(looks, [num_classes], f"beyond the {num_classes} classes")
    void = [k for k in range(1, len(values)) if classes.lines(k) > 0.5]
    gaps = values[0] > 0 or values[-1] + 1 > 2 * len(values)
    if gaps and 1 < len(values) - len(void) <= num_classes:
        return dataclasses.replace(_gaps(looks, values, values[void].tolist()), severity="wrong")
    examples = with_value(looks, int(wrong[0]))
    kept, part = len(values) - len(wrong), float(share[values >= num_classes].sum())
    ignorable = kept > max(1, len(wrong)) and part < _SMALL
    zero = f" Value 0 is {share[0]:.0%} of the pixels." if values[0] == 0 else ""
    means = f"There are {values[-1] + 1} classes"
    means += ": the background counts, and is class 0" if zero else ""
    return Finding(
        kind="values beyond the classes",
        severity="wrong",
        found=f"{found}{ranges(wrong)} too, in {number(len(examples), 'label')}.{zero}",
        means=means + (", or these values are void." if ignorable else "."),
        mend=f"Give {more} (in --class-names, name the background first)"
        + (f", or ignore them: --ignore {' '.join(map(str, wrong[:10]))}" if ignorable else "")
        + (f"; or, if 0 is void, --reduce-zero-label{_less(values, num_classes)}" if zero else ""),
        options=("--num-classes", str(values[-1] + 1)),
        examples=examples,
    )


def _too_many(looks: Sequence[Look], classes: Table, num_classes: int) -> Finding:
    """More classes than were given, of labels that count from 1 as the options say."""
    last = int(classes.values[-1])
    return Finding(
        kind="values beyond the classes",
        severity="wrong",
        found=f"With --reduce-zero-label, {number(num_classes, 'class')} are the values 1 to "
        f"{num_classes}, and the labels store {ranges(classes.values)}.",
        means=f"There are {last} classes; or 0 is a class, such as the background, and there are "
        f"{last + 1}.",
        mend=f"Give --num-classes {last}; or --num-classes {last + 1} without --reduce-zero-label",
        options=("--num-classes", str(last)),
        examples=with_value(looks, last),
    )


def _less(values: np.ndarray, num_classes: int) -> str:
    """The number of classes, if it is not `num_classes`, of labels without the value 0."""
    return "" if values[-1] == num_classes else f" --num-classes {values[-1]}"


def _gaps(looks: Sequence[Look], values: np.ndarray, void: Sequence[int] = ()) -> Finding:
    classes = [value for value in values.tolist() if value not in void]
    rows = [f"{v},{k},class {v}" for k, v in enumerate(classes)]
    rows += [f"{value},{IGNORE}," for value in void]
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
