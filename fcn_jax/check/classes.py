"""How often each class occurs, as training would read the labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fcn_jax.check.findings import Finding, have, number
from fcn_jax.check.look import Look
from fcn_jax.check.values import names, ranges
from fcn_jax.data.errors import few
from fcn_jax.labels import IGNORE

_ALMOST_NONE = 1e-5  # of the labelled pixels
_MUCH = 0.3  # of all pixels; in NYUDv2 18 % are ignored, in VOC and SIFT Flow 5 to 7 %


def class_findings(
    looks: Sequence[Look], class_names: Sequence[str], known: bool
) -> Iterator[Finding]:
    """Classes that are missing or nearly so, and images that teach nothing.

    Args:
      looks: Those whose labels training can read.
      class_names: A name for each class.
      known: Whether the number of classes was given; else it is that of the largest value.
    """
    if not looks:
        return
    counts = np.array([look.classes for look in looks])
    empty = [look for look, row in zip(looks, counts, strict=True) if not row[:IGNORE].any()]
    if empty:
        every = len(empty) == len(looks)
        yield Finding(
            kind="nothing labelled",
            severity="wrong" if every else "look",
            found=f"{len(empty)} of {len(looks)} labels are ignored everywhere: they are 255, or "
            f"the image's alpha is 0: {few(names(empty), 5)}.",
            means="Nothing is learned from them.",
            mend="Label them (and save images without alpha), or leave them out: --train-list FILE",
            options=("--train-list", "FILE"),
            examples=names(empty),
        )
    yield from _much_ignored(looks, counts)
    pixels = counts[:, :IGNORE].sum(0)
    occurring = np.flatnonzero(pixels)
    if len(occurring) == 1 and counts.sum():
        yield Finding(
            kind="a single class",
            severity="wrong",
            found=f"Only {_name(occurring[0], class_names)} occurs, in "
            f"{number(len(looks), 'label')}."
            + (" The rest is 255, ignored." if counts[:, IGNORE].any() else ""),
            means="There is nothing to tell apart.",
            mend="The background counts as a class: give its pixels 0, and not 255; and ignore no "
            "value (--ignore) that objects have."
            if counts[:, IGNORE].any()
            else "Give the objects' pixels another value than the background's.",
            examples=names(looks),
        )
        return
    count = len(class_names) if known else int(occurring.max(initial=-1)) + 1
    yield from _rare(looks, counts[:, :count], class_names)
    yield from _parts(looks, counts[:, :count], class_names)
    yield from _speckles(looks)


def _much_ignored(looks: Sequence[Look], counts: np.ndarray) -> Iterator[Finding]:
    """A large part of all pixels is ignored, as options and the images' alpha say."""
    part = counts[:, IGNORE].sum() / max(counts.sum(), 1)
    if _MUCH < part < 1:
        order = np.argsort(-counts[:, IGNORE], kind="stable")
        yield Finding(
            kind="much is ignored",
            severity="look",
            found=f"{part:.0%} of all pixels are ignored, as training reads these labels.",
            means="Nothing is learned there, not even that no object is there. Pixels are ignored "
            "that are 255, that --ignore, --reduce-zero-label (the value 0) or the label map says, "
            "or where the image's alpha is 0.",
            mend="If these pixels are the background, it is a class: leave such an option out, "
            "or store a class there.",
            examples=tuple(looks[i].name for i in order),
        )


def _rare(
    looks: Sequence[Look], counts: np.ndarray, class_names: Sequence[str]
) -> Iterator[Finding]:
    pixels, images = counts.sum(0), (counts > 0).sum(0)
    total = pixels.sum()
    none = np.flatnonzero(pixels == 0)
    rare = np.flatnonzero((pixels > 0) & ((images == 1) & (len(looks) >= 10)))
    rare = np.union1d(rare, np.flatnonzero((pixels > 0) & (pixels < _ALMOST_NONE * total)))
    texts = []
    if len(none):
        never = f"never {have(len(none), 'occurs', 'occur')}"
        called = _called(none, class_names)
        texts.append(f"{len(none)} of {counts.shape[1]} {never}: {called}")
    if len(rare):
        some = [f"{_name(k, class_names)} ({pixels[k]} pixels in {images[k]})" for k in rare]
        occur = have(len(rare), "occurs", "occur")
        texts.append(f"{len(rare)} {occur} in hardly any pixel or in one image: {few(some, 6)}")
    if texts and total:
        first = [int(np.argmax(counts[:, k])) for k in rare]
        yield Finding(
            kind="classes with almost none",
            severity="look",
            found=f"Of the classes, {'; '.join(texts)}.",
            means="They cannot be learned, and a class that is not there has no score.",
            mend="Add images with them, or take several for one class: --label-map FILE (many "
            "values to one class).",
            options=("--label-map", "FILE"),
            examples=tuple(dict.fromkeys(looks[i].name for i in first)),
        )


def _parts(
    looks: Sequence[Look], counts: np.ndarray, class_names: Sequence[str]
) -> Iterator[Finding]:
    """Classes that the validation part has and training lacks."""
    parts = np.array([look.item.part for look in looks])
    if not {"train", "validation"} <= set(parts.tolist()):
        return
    trained, scored = (counts[parts == part].sum(0) for part in ("train", "validation"))
    if len(lacking := np.flatnonzero((trained == 0) & (scored > 0))):
        with_it = counts[:, lacking].sum(1) * (parts == "validation")
        best = np.argsort(-with_it, kind="stable")[: np.count_nonzero(with_it)]
        yield Finding(
            kind="classes only in validation",
            severity="look",
            found=f"Validation has {number(len(lacking), 'class')} that training lacks: "
            f"{_called(lacking, class_names)}.",
            means="They cannot be learned, and count in the scores.",
            mend="Divide the images in another way: --train-list FILE --validation-list FILE",
            options=("--train-list", "FILE", "--validation-list", "FILE"),
            examples=tuple(looks[i].name for i in best),
        )


def _speckles(looks: Sequence[Look]) -> Iterator[Finding]:
    """Labels with many single pixels that no neighbour shares."""
    those = [
        look
        for look in looks
        if look.values and look.values.lone.sum() > 0.02 * look.values.pixels.sum()
    ]
    if those:
        yield Finding(
            kind="speckled labels",
            severity="look",
            found=f"In {number(len(those), 'label')}, more than 2 % of the pixels differ from all "
            f"four neighbours: {few(names(those), 5)}.",
            means="The labels are noisy: results of a pixel-wise method, JPEGs once, or values "
            "changed by resizing.",
            mend="Export them again, or clean them with a median filter of the classes.",
            examples=names(those),
        )


def _called(classes: np.ndarray, class_names: Sequence[str]) -> str:
    if all(class_names[k] == f"class {k}" for k in classes):
        return ranges(classes)
    return few((_name(k, class_names) for k in classes), 12)


def _name(k: Any, class_names: Sequence[str]) -> Any:
    return class_names[k] if class_names[k] == f"class {k}" else f"{class_names[k]} ({k})"
