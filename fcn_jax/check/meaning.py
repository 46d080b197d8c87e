"""What the stored values of labels probably mean, and the options that read them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from fcn_jax.check.counting import number_findings
from fcn_jax.check.findings import Finding, number
from fcn_jax.check.levels import class_map, gray_levels, level_finding
from fcn_jax.check.look import Look
from fcn_jax.check.unlike import unlike_findings
from fcn_jax.check.values import Table, colour, names, ranges, table
from fcn_jax.data.label_values import OTHERS, LabelValues
from fcn_jax.labels import IGNORE

_MOST_COLOURS = 128


def value_findings(
    looks: Sequence[Look], given: LabelValues, num_classes: int | None
) -> Iterator[Finding]:
    """What the values mean, as far as the options do not say it already.

    Args:
      looks: Those whose label's values are known.
      given: The options about values.
      num_classes: How many classes there are; None: nothing says it.
    """
    if not looks:
        return
    colours = [look for look in looks if look.raw is not None and look.raw.colours]
    plain = [look for look in looks if look.raw is None or not look.raw.colours]
    if given.mapping:
        yield from _lines_after_map(colours or plain, given)
        return
    if colours and plain:
        yield _mixed(colours, plain)
        colours, plain = ([], plain) if len(plain) > len(colours) else (colours, [])
    for those, of in ((colours, _of_colours), (plain, _of_numbers)):
        if those:
            whole = table([look.values for look in those]).without(given.ignore)
            if len(whole.values):
                for found in of(those, whole, given, num_classes):
                    yield _with_count(found, num_classes)


def _with_count(found: Finding, num_classes: int | None) -> Finding:
    """Adds that a printed map has another number of classes than was given."""
    lines = [line.split(",")[-2] for line in found.label_map.splitlines()[1:]]
    classes = max((int(k) + 1 for k in lines if int(k) != IGNORE), default=0)
    if not classes or num_classes in (None, classes):
        return found
    text = f" The map has {number(classes, 'class')}: leave --num-classes out, or add the others."
    return dataclasses.replace(found, mend=found.mend + text)


def _lines_after_map(looks: Sequence[Look], given: LabelValues) -> Iterator[Finding]:
    """Stored values to which the label map gives a class, and which lie in lines as void does."""
    whole = table([look.values for look in looks]).without(given.ignore)
    colours = bool(looks[0].raw and looks[0].raw.colours)
    if given.by_name or given.by_colour != colours or len(whole.values) > _MOST_COLOURS:
        return
    classes = dict(given.mapping)
    for k, value in enumerate(whole.values.tolist()):
        key = (value >> 16, value >> 8 & 255, value & 255) if colours else value
        void = IGNORE if value == IGNORE and not colours else classes.get(OTHERS, IGNORE)
        if classes.get(key, void) != IGNORE and whole.lines(k) > 0.5:
            text = colour(value) if colours else str(value)
            yield Finding(
                kind="another value for void",
                severity="look",
                found=f"{text} lies in lines between the others, and the label map gives it class "
                f"{classes.get(key, void)}.",
                means="It is probably void: pixels of no class, which would be learned as one.",
                mend=f"If so, give it {IGNORE} in the label map: {text},{IGNORE},",
                examples=names(looks),
            )


def _mixed(colours: Sequence[Look], plain: Sequence[Look]) -> Finding:
    fewer, what = (colours, "colours") if len(colours) <= len(plain) else (plain, "values")
    return Finding(
        kind="labels of two kinds",
        severity="wrong",
        found=f"{len(colours)} labels store colours and {len(plain)} store values.",
        means=f"The {len(fewer)} with {what} were saved in another way.",
        mend="Save all of them in one way, as values.",
        examples=tuple(look.name for look in fewer),
    )


def _of_colours(
    looks: Sequence[Look], whole: Table, given: LabelValues, num_classes: int | None
) -> Iterator[Finding]:
    lossy = any(look.raw and look.raw.lossy for look in looks)
    main, often = whole.main(), whole.images.max() > 1 or whole.labels < 3
    if whole.photographic:
        yield _photographs(looks)
    elif not often or (len(main.values) > _MOST_COLOURS and main.images.mean() < 3):
        yield Finding(
            kind="colours of single objects",
            severity="wrong",
            found=f"The labels store {len(main.values)} colours, most of them in one label only.",
            means="Each object has a colour of its own, as in COCO's panoptic labels; a colour is "
            "no class.",
            mend="Use the labels of classes, or --layout coco-panoptic with its JSON.",
            examples=names(looks),
        )
    else:
        texts = [colour(value) for value in main.values]
        void = [main.lines(k) > 0.5 for k in range(len(texts))]
        numbers = np.cumsum(np.logical_not(void)) - 1
        rows = [
            f"{text},{IGNORE}," if lines else f"{text},{k},class {k}"
            for text, k, lines in zip(texts, numbers, void, strict=True)
        ]
        rest = _rest(whole, main)
        yield Finding(
            kind="colours",
            severity="wrong",
            found=f"The labels store colours (RGB): {len(texts)} that fill areas, "
            f"{'; '.join(texts[:12])}{'; ...' if texts[12:] else ''}." + rest,
            means="Each colour is probably a class." + (_SMOOTHED if rest else ""),
            mend="Give each its class with --label-map FILE. A draft of this file is below: "
            "correct names and order, and give 255 to what is no class, "
            + (
                "as is done for a colour that lies in lines between the others."
                if any(void)
                else "such as void."
            ),
            options=("--label-map", "FILE"),
            label_map="\n".join(["r,g,b,class,name", *rows]),
            examples=names(looks),
        )
        if rest or lossy:
            yield _smoothed(looks, whole, main)


_SMOOTHED = " The others lie on edges only: the labels were smoothed, resized or saved as JPEG."


def _rest(whole: Table, main: Table) -> str:
    count = len(whole.values) - len(main.values)
    part = 1 - main.pixels.sum() / whole.pixels.sum()
    return f" {count} more on edges only, {part:.1%} of the pixels." if count else ""


def _of_numbers(
    looks: Sequence[Look], whole: Table, given: LabelValues, num_classes: int | None
) -> Iterator[Finding]:
    if whole.photographic:
        yield _photographs(looks)
        return
    if any(look.raw and look.raw.lossy for look in looks):
        yield _smoothed(looks, whole, whole.main(), num_classes)
        return
    if gray := [look for look in looks if look.raw and look.raw.remark == "gray colours"]:
        yield _gray_colours(gray, whole.main(), num_classes)
        return
    main = whole.main()
    rest = _rest(whole, main)
    classes = main.without([IGNORE])
    if rest:
        yield _smoothed(looks, whole, main, num_classes)
    elif levels := gray_levels(main, num_classes):
        yield level_finding(looks, main, levels, num_classes)
    elif whole.ramps > 0.1:  # single pixels of any class between any others: 17 % at most
        yield _blended(looks, whole)
    elif len(classes.values):
        unlike = list(unlike_findings(looks, num_classes))
        yield from unlike
        if not any(one.severity == "wrong" for one in unlike):  # which explains the numbers too
            yield from number_findings(looks, classes, given, num_classes)


def _gray_colours(looks: Sequence[Look], main: Table, count: int | None) -> Finding:
    rows = [f"{row.split(',')[0]},{row.split(',')[0]},{row}" for row in class_map(main, count)]
    return Finding(
        kind="values as colours",
        severity="wrong",
        found=f"{len(looks)} labels store gray as colours (red, green and blue are equal): "
        f"{ranges(main.values)}.",
        means="The values were saved as an RGB image; files of colours are read as colours.",
        mend="Save them with one band, or give each its class: --label-map FILE with the lines "
        "below.",
        options=("--label-map", "FILE"),
        label_map="\n".join(["r,g,b,class,name", *rows]),
        examples=names(looks),
    )


def _blended(looks: Sequence[Look], whole: Table) -> Finding:
    return Finding(
        kind="smoothed edges",
        severity="wrong" if whole.ramps > 0.2 else "look",
        found=f"{min(whole.ramps, 1):.0%} of the edges between two values pass over a third one "
        "that lies between them.",
        means="The labels were smoothed, or resized with interpolation, which makes pixels of "
        "wrong classes along edges.",
        mend="Export the labels again without smoothing, and resize them with the nearest pixel "
        "only. These edges cannot be told from classes.",
        examples=names(looks),
    )


def _photographs(looks: Sequence[Look]) -> Finding:
    swapped = sum(look.flat_image for look in looks) * 2 > len(looks)
    return Finding(
        kind="images and labels swapped" if swapped else "photographs as labels",
        severity="wrong",
        found=f"The labels ({len(looks)} files) hold hundreds of values and no areas of one value"
        + (", and the images hold few colours." if swapped else "."),
        means="The folders are swapped: labels are read as images."
        if swapped
        else "These are photographs or drawings, not labels.",
        mend="Swap them: --images labels --labels images" if swapped
        else "Name the labels' folder: --labels FOLDER",
        options=("--images", "labels", "--labels", "images") if swapped else (),
        examples=names(looks),
    )  # fmt: skip


def _smoothed(
    looks: Sequence[Look], whole: Table, main: Table, count: int | None = None
) -> Finding:
    lossy = [look for look in looks if look.raw is not None and look.raw.lossy]
    colours = bool(looks[0].raw and looks[0].raw.colours)
    readable = not lossy and not colours
    again = "Export the labels again without smoothing, as PNG, and resize them with the nearest "
    again += "pixel only."
    ignoring = " Or ignore these edges: --label-map FILE with the lines below; * is all others."
    fill = "" if colours else f" ({ranges(main.values)})"
    return Finding(
        kind="JPEG labels" if lossy else "smoothed edges",
        severity="wrong",
        found=f"{number(len(lossy), 'label')} in JPEG files, with {len(whole.values)} values."
        if lossy
        else f"The labels store {len(whole.values)} values, and only {len(main.values)} of them "
        f"fill areas{fill}; the others lie on edges.",
        means="JPEG files change values near edges."
        if lossy
        else "Edges were smoothed (anti-aliasing), or the labels were resized with interpolation, "
        "or were JPEG files once.",
        mend=again + (ignoring if readable else ""),
        options=("--label-map", "FILE") if readable else (),
        label_map="\n".join(["value,class,name", *class_map(main, count), f"*,{IGNORE},"])
        if readable
        else "",
        examples=names(lossy or looks),
    )
