"""Files that cannot be read, sizes that differ, and labels stored in an unusual way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from fcn_jax.check.findings import Finding, have, number
from fcn_jax.check.look import Look
from fcn_jax.check.values import names
from fcn_jax.data.errors import few

_REMARKS = {
    "alpha": (
        "with shapes in the alpha channel alone",
        "The label was exported as a transparent picture.",
        "Save the alpha channel as a gray PNG: PIL.Image.open(f).getchannel('A').save(g)",
    ),
    "bands": (
        "of several bands",
        "There is a band for each class (one-hot), or a probability of each.",
        "Save the index of the largest band: label.argmax(-1).astype('uint8')",
    ),
    "fractions": (
        "with numbers that are not whole",
        "These are probabilities or scaled values, and no classes.",
        "Save classes as whole numbers: probabilities as (p > 0.5).astype('uint8')",
    ),
}


def file_findings(looks: Sequence[Look]) -> Iterator[Finding]:
    """What is wrong with single files."""
    yield from _unreadable(looks)
    yield from _sizes(looks)
    for remark, (what, means, mend) in _REMARKS.items():
        if those := [look for look in looks if look.raw and look.raw.remark == remark]:
            yield Finding(
                kind=f"labels with {remark}",
                severity="wrong",
                found=f"{number(len(those), 'label')} {what}: {_few(those)}.",
                means=means,
                mend=mend,
                examples=names(those),
            )


def unread_findings(looks: Sequence[Look], known: Sequence[Finding]) -> Iterator[Finding]:
    """Labels that training refuses, where no other finding says why."""
    those = [look for look in looks if look.why and look.label_size]
    explained = {name for one in known if one.severity == "wrong" for name in one.examples}
    if left := [look for look in those if look.name not in explained]:
        yield Finding(
            kind="labels refused",
            severity="wrong",
            found=f"{number(len(left), 'label')} cannot be read as classes: {left[0].why}",
            means="Training would stop there.",
            mend="Do what the message says.",
            examples=names(left),
        )


def _unreadable(looks: Sequence[Look]) -> Iterator[Finding]:
    kinds: tuple[tuple[str, Callable[[Look], str]], ...] = (
        ("image", lambda look: look.image_error),
        ("label", lambda look: look.label_error),
    )
    for what, error in kinds:
        if those := [look for look in looks if error(look)]:
            yield Finding(
                kind=f"{what}s unreadable",
                severity="wrong",
                found=f"{len(those)} of {len(looks)} {what}s cannot be read: {_few(those)}. "
                f"{error(those[0])}",
                means="Files are empty, cut off or damaged, or of a kind that needs an option.",
                mend="Copy or export them again, or do what the message says.",
                examples=names(those) if what == "label" else (),
                notes=tuple(error(look) for look in those) if what == "label" else (),
            )


def _sizes(looks: Sequence[Look]) -> Iterator[Finding]:
    """Labels of another size than their image's."""
    other = [
        look
        for look in looks
        if look.image_size and look.label_size and look.image_size != look.label_size
    ]
    sideways = [look for look in other if look.image_size == (look.label_size or ())[::-1]]
    rest = [look for look in other if look not in sideways]
    if sideways:
        tagged = [look for look in sideways if look.turned > 4]
        yield Finding(
            kind="rows and columns swapped",
            severity="wrong",
            found=f"{number(len(sideways), 'label')} with as many rows as the image has columns: "
            f"{_sizes_of(sideways)}.",
            means=f"{len(tagged)} of these images {have(len(tagged), 'carries', 'carry')} an "
            "orientation (EXIF) tag, which turns the image; the label was drawn on the stored "
            "pixels."
            if tagged
            else "The label was saved transposed or turned.",
            mend="Remove the tag: exiftool -Orientation= IMAGE"
            if tagged
            else "Turn the label back: PIL.Image.open(f).transpose(method).save(g), where method "
            f"is {_method(sideways)}.",
            examples=names(sideways),
            notes=tuple(_size(look) for look in sideways),
        )
    if rest:
        ratios = {
            tuple(round(a / b, 2) for a, b in zip(*_both(look), strict=True)) for look in rest
        }
        scaled = len(ratios) == 1 and len(rest) > 1
        yield Finding(
            kind="sizes differ",
            severity="wrong",
            found=f"{number(len(rest), 'label')} of another size than the image: "
            f"{_sizes_of(rest)}.",
            means=f"All labels are {min(ratios)[0]:g} times as high as their images: they were "
            "made on resized images."
            if scaled
            else "The label belongs to another image, or was made on a cropped or resized one.",
            mend="Resize the images to the labels' size, or the labels to the images' with the "
            "nearest pixel: label.resize(image.size, PIL.Image.Resampling.NEAREST)",
            examples=names(rest),
            notes=tuple(_size(look) for look in rest),
        )


def _method(looks: Sequence[Look]) -> str:
    """How Pillow turns these labels back."""
    methods = {
        "mirrored along its diagonal": "PIL.Image.Transpose.TRANSPOSE",
        "turned by 90 degrees to the left": "PIL.Image.Transpose.ROTATE_270",
        "turned by 90 degrees to the right": "PIL.Image.Transpose.ROTATE_90",
    }
    sums = {
        how: sum(look.fit.turned.get(how, 0.0) for look in looks if look.fit) for how in methods
    }
    return methods[max(sums, key=lambda how: sums[how])]


def _both(look: Look) -> tuple[tuple[int, int], tuple[int, int]]:
    assert look.label_size and look.image_size
    return look.label_size, look.image_size


def _size(look: Look) -> str:
    (rows, columns), (h, w) = _both(look)
    return f"label {rows} x {columns}, image {h} x {w}"


def _sizes_of(looks: Sequence[Look]) -> str:
    return few((f"{look.name} ({_size(look)})" for look in looks), 3)


def _few(looks: Sequence[Look]) -> str:
    return few((look.name for look in looks), 5)
