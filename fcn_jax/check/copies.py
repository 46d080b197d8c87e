"""Copies of a picture, byte for byte or nearly, and labels that several pictures share.

Pictures are compared as 24 x 24 gray pixels, and in colour as 8 x 8. JPEGs of quality 30 and more,
and copies resized by 0.25 to 2 with a smooth filter, differ by at most 1.6 gray levels (root of the
mean square) and 7 at any pixel, in 95 of 100 images of VOC, NYUDv2 and SIFT Flow. Panning by two
pixels of 500, or moving an object of a tenth of the side by half its width, differs by more.
Different images of these sets differ by 7 at least.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float32

from fcn_jax.check.findings import Finding, number
from fcn_jax.check.look import THUMB, Look
from fcn_jax.data.errors import few

_RMS, _MOST = 1.8, 8.0  # gray levels
_OTHER_PICTURE = 12.0  # gray levels: surely not the same view
_BLOCK = 1024
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Source: ITU-R BT.601; colours alone are changed most by JPEG."""


def copy_findings(looks: Sequence[Look], places: Sequence[str] | None = None) -> Iterator[Finding]:
    """Copies in two parts, copies in one part, and labels that different pictures share.

    Args:
      looks: What was seen of each image.
      places: The file or folder that says which images a part has, for each part; None where lists
        can be given.
    """
    seen = [look for look in looks if look.thumb is not None]
    if not seen:
        return
    thumbs = np.array([look.thumb for look in seen], np.float32).reshape(-1, THUMB, THUMB, 3)
    groups = _groups(seen, list(_alike(thumbs)))
    across = [group for group in groups if len({look.item.part for look in group}) > 1]
    within = [group for group in groups if group not in across]
    if across:
        yield _across(across, places)
    if within:
        yield _within(within)
    yield from _shared_labels(seen, thumbs)


def _alike(thumbs: Float32[np.ndarray, "n 24 24 3"]) -> Iterator[tuple[int, int]]:
    """Pairs of pictures that are nearly the same."""
    light = thumbs @ _LUMA
    colours = thumbs.reshape(-1, 8, 3, 8, 3, 3).mean((2, 4))
    coarse = light.reshape(-1, 6, 4, 6, 4).mean((2, 4)).reshape(len(thumbs), -1)
    limit = np.minimum(_RMS, 0.1 * light.std((1, 2)))  # without contrast, only the same
    squares = (coarse**2).mean(1)
    for start in range(0, len(thumbs), _BLOCK):
        block = slice(start, start + _BLOCK)
        # Means of blocks differ by no more than the pixels do, so this misses nothing.
        apart = squares[block, None] + squares - 2 / coarse.shape[1] * coarse[block] @ coarse.T
        for i, j in zip(*np.nonzero(apart < (_RMS + 0.1) ** 2), strict=True):
            i, j = int(i) + start, int(j)
            if i < j:
                difference = np.abs(light[i] - light[j])
                small = np.sqrt((difference**2).mean()) <= min(limit[i], limit[j])
                if small and max(difference.max(), np.abs(colours[i] - colours[j]).max()) <= _MOST:
                    yield i, j


def _groups(looks: Sequence[Look], alike: Sequence[tuple[int, int]]) -> list[list[Look]]:
    """Pictures that are copies of one another, of their bytes or nearly."""
    owner = list(range(len(looks)))

    def root(i: int) -> int:
        while owner[i] != i:
            owner[i] = i = owner[owner[i]]
        return i

    first: dict[bytes, int] = {}
    same = [(first.setdefault(look.image_bytes, i), i) for i, look in enumerate(looks)]
    for i, j in (*same, *alike):
        owner[root(j)] = root(i)
    groups: dict[int, list[Look]] = {}
    for i, look in enumerate(looks):
        groups.setdefault(root(i), []).append(look)
    return [group for group in groups.values() if len(group) > 1]


def _across(groups: Sequence[Sequence[Look]], places: Sequence[str] | None) -> Finding:
    pairs, options = [], ("--train-list", "FILE", "--validation-list", "FILE")
    mend = (
        "Remove the copies from one part; or name the images of each part in a file, with all "
        f"copies of a picture in the same one: {' '.join(options)}"
    )
    if places is not None:
        several = "Remove the copies from one part: change " + " or ".join(places)
        alone = f"Remove all copies but one, of which a tenth is held out: change {places[0]}"
        mend, options = several if len(places) > 1 else alone, ()
    for group in groups:
        other = next(look for look in group if look.item.part != group[0].item.part)
        pairs.append((other, group[0]))
    texts = [f"{a.name} is {b.name} ({_how(a, b)})" for a, b in pairs]
    return Finding(
        kind="copies in both parts",
        severity="wrong",
        found=f"{_pictures(groups)} in both parts: {few(texts, 5)}.",
        means="Scores would count pictures that were learned.",
        mend=mend,
        options=options,
        examples=tuple(a.name for a, _ in pairs),
        notes=tuple(_how(a, b) for a, b in pairs),
        beside=tuple(b.name for _, b in pairs),
    )


def _within(groups: Sequence[Sequence[Look]]) -> Finding:
    pairs = [(look, group[0]) for group in groups for look in group[1:]]
    other = [(a, b) for a, b in pairs if a.label_values != b.label_values]
    texts = [f"{a.name} is {b.name} ({_how(a, b)})" for a, b in pairs]
    differ = f" {len(other)} have different labels: {few((a.name for a, _ in other), 5)}."
    return Finding(
        kind="copies in one part",
        severity="look",
        found=f"{_pictures(pairs)} in the same part as a copy: {few(texts, 5)}."
        + (differ if other else ""),
        means="They count more than others.",
        mend="Remove the copies, unless they are meant." + (" Keep the right label." * bool(other)),
        examples=tuple(a.name for a, _ in pairs),
        notes=tuple(_how(a, b) for a, b in pairs),
        beside=tuple(b.name for _, b in pairs),
    )


def _pictures(found: Sequence[object]) -> str:
    return "1 picture is" if len(found) == 1 else f"{len(found)} pictures are"


def _how(a: Look, b: Look) -> str:
    if a.item.image == b.item.image:
        return "the same file"
    return "same bytes" if a.image_bytes == b.image_bytes else "nearly the same picture"


def _shared_labels(looks: Sequence[Look], thumbs: np.ndarray) -> Iterator[Finding]:
    """The same label, with two areas at least, for different pictures."""
    groups: dict[bytes, list[int]] = {}
    for i, look in enumerate(looks):
        if look.fit is not None and look.values and (look.values.flat > 0).sum() > 1:
            groups.setdefault(look.label_values, []).append(i)
    pairs = []
    for group in groups.values():
        for i in group[1:]:
            if np.sqrt(((thumbs[i] - thumbs[group[0]]) ** 2).mean()) > _OTHER_PICTURE:
                pairs.append((looks[i], looks[group[0]]))
    labels = sum(look.fit is not None for look in looks)
    if pairs:
        every = len(pairs) + 1 == labels > 2
        texts = [f"{a.name} has that of {b.name}" for a, b in pairs]
        yield Finding(
            kind="one label for all" if every else "labels of several images",
            severity="wrong",
            found=f"All {labels} labels are the same, though the pictures differ."
            if every
            else f"{number(len(pairs), 'label')} of another picture, pixel for pixel: "
            f"{few(texts, 5)}.",
            means="A label was saved under the names of several images.",
            mend="Save each image's own label, or remove these images.",
            examples=tuple(a.name for a, _ in pairs),
            notes=tuple(f"the same label as {b.name}" for _, b in pairs),
            beside=tuple(b.name for _, b in pairs),
        )
