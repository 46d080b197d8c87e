"""Labels that count, or are drawn, in another way than the others of their set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from fcn_jax.check.findings import Finding, have, number
from fcn_jax.check.look import Look
from fcn_jax.check.values import colour, names, table
from fcn_jax.labels import IGNORE

_AREA = 0.5  # of a value's pixels are away from edges: it fills areas
_LARGE = 0.3  # of all pixels


def unlike_findings(looks: Sequence[Look], num_classes: int | None) -> Iterator[Finding]:
    """Files of numbers that differ from the rest of their set.

    Args:
      looks: Their labels.
      num_classes: How many classes there are; None: nothing says it.
    """
    values = table([look.values for look in looks]).values.tolist()
    far = len(values) > 2 and values[-1] >= 100 and values[-1] > 10 * values[-2]
    for value in {IGNORE, values[-1]} if far else {IGNORE}:
        yield from _masks(looks, value)
    yield from _two_starts(looks, num_classes)
    yield from _palettes(looks)


def _masks(looks: Sequence[Look], value: int) -> Iterator[Finding]:
    """Objects on 255, or on another value far from the classes, in some files only."""
    filled = [_filled(look, value) for look in looks]
    drawn = [
        look
        for look, full in zip(looks, filled, strict=True)
        if full and look.values.values.tolist() == [0, value]
    ]
    rest = [
        look
        for look, full in zip(looks, filled, strict=True)
        if not full and (look.values.values % value % IGNORE).any()
    ]
    if not drawn or not rest:
        return
    two = table([look.values for look in rest]).values.max() == 1
    yield Finding(
        kind="masks of two kinds",
        severity="look" if value == IGNORE else "wrong",
        found=f"In {number(len(drawn), 'label')} areas are {value} and nothing else is above 0; "
        f"{number(len(rest), 'other')} {have(len(rest), 'stores', 'store')} classes.",
        means=f"Objects were probably drawn with {value} there, and would be "
        + ("ignored (255)." if value == IGNORE else "another class."),
        mend=f"If so, take {value} for the object too: --label-map FILE with the lines below."
        if two
        else "If so, save these labels again, with the objects' class.",
        options=("--label-map", "FILE") if two else (),
        label_map=f"value,class,name\n0,0,background\n1,1,object\n{value},1,object" if two else "",
        examples=names(drawn),
    )


def _filled(look: Look, value: int) -> bool:
    """Whether a value fills areas of a label."""
    at = look.values.values == value
    pixels, flat = look.values.pixels[at].sum(), look.values.flat[at].sum()
    return bool(flat > _AREA * pixels and pixels > 0.01 * look.values.pixels.sum())


def _two_starts(looks: Sequence[Look], num_classes: int | None) -> Iterator[Finding]:
    """The background is 0 in some labels, and 1 in others, which never store 0."""
    share = np.array([[_share(look, value) for value in (0, 1)] for look in looks])
    ones = share[:, 0] == 0
    if not 2 <= ones.sum() <= len(looks) - 2:
        return
    zero, one = np.median(share[~ones, 0]), np.median(share[ones, 1])
    if min(zero, one) < _LARGE or np.median(share[~ones, 1]) > 0.1 or share[ones, 1].min() == 0:
        return
    those = [look for look, first in zip(looks, ones, strict=True) if first]
    last = max(int(v[v != IGNORE].max()) for v in (look.values.values for look in those))
    beyond = num_classes is not None and last >= num_classes
    yield Finding(
        kind="labels that count in two ways",
        severity="wrong" if beyond else "look",
        found=f"{number(len(those), 'label')} never {have(len(those), 'stores', 'store')} 0, and 1 "
        f"is {one:.0%} of {have(len(those), 'its', 'their')} pixels; in the others, 0 is "
        f"{zero:.0%}.",
        means="These labels probably count from 1, and the others from 0: the background is 1 here "
        "and 0 there.",
        mend="Save all of them in one way: np.where(label == 255, 255, label - 1) for these.",
        examples=names(those),
    )


def _share(look: Look, value: int) -> float:
    pixels = look.values.pixels[look.values.values != IGNORE].sum()
    return float(look.values.pixels[look.values.values == value].sum() / max(pixels, 1))


def _palettes(looks: Sequence[Look]) -> Iterator[Finding]:
    """The same number has another colour in another file."""
    first: dict[int, tuple[int, str]] = {}
    for look in looks:
        palette = look.raw.palette if look.raw else b""
        for value in look.values.values.tolist() if palette else ():
            red, green, blue = [*palette[3 * value : 3 * value + 3], 0, 0, 0][:3]
            own = red << 16 | green << 8 | blue
            other, name = first.setdefault(value, (own, look.name))
            if other != own:
                yield Finding(
                    kind="palettes differ",
                    severity="look",
                    found=f"The value {value} is drawn in {colour(other)} in {name}, and in "
                    f"{colour(own)} in {look.name}.",
                    means="The same number may mean another class there: numbers were given in "
                    "each file anew, as by a program that reduces colours.",
                    mend="If the colours are the classes, save the labels as RGB "
                    "(PIL.Image.open(f).convert('RGB').save(g)) and check them again.",
                    examples=(name, look.name),
                )
                return
