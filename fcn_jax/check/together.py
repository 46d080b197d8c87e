"""Labels that are all shifted or all turned against their images."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from fcn_jax.check import edges
from fcn_jax.check.edges import REACH, SIDE, Edges, Fit
from fcn_jax.check.findings import Finding, number
from fcn_jax.check.look import Look

FITS = 5.5
"""A label surely fits an image: no label of another image does so well (see `alignment`)."""
FAR = 5
"""Pixels of 128: a single label that is less off was drawn with an unsteady hand."""
BY_NATURE = (
    "If these labels should not follow edges of the image, as for masks drawn roughly, ignore this."
)


@dataclasses.dataclass
class Together:
    """The agreement of all labels with their images, for every shift, summed over the data set.

    What any label of the set has with any of its images is taken off: a frame that all images
    share, for example.
    """

    count: int = 0
    _image: Edges = dataclasses.field(default_factory=edges.no_edges)
    _label: Edges = dataclasses.field(default_factory=edges.no_edges)
    _own: edges.Shifts = dataclasses.field(default_factory=edges.no_shifts)

    def add(self, image: Edges, label: Edges, own: edges.Shifts) -> None:
        """Adds one image: its edge maps, and their `edges.agreement`."""
        lengths = [float(np.sqrt((e**2).sum())) + 1e-9 for e in (image, label)]
        self._image = self._image + image / lengths[0]
        self._label = self._label + label / lengths[1]
        self._own = self._own + own / (lengths[0] * lengths[1])
        self.count += 1

    def shifts(self) -> np.ndarray:
        """Standardised agreement for every shift, as `edges.standardised`."""
        own = self._own
        if self.count >= 5:
            shared = edges.agreement(edges.spectrum(self._image), edges.spectrum(self._label))
            own = own - shared / self.count
        return edges.standardised(own)


def all_shifted(looks: Sequence[Look], together: Together) -> Finding | None:
    """A finding, if the labels of the whole set are shifted alike."""
    if together.count < 2:
        return None
    shifts = together.shifts()
    best, place = edges.peak(shifts)
    sharp = np.array([fit.place for fit in _fits(looks) if fit.best > FITS]).reshape(-1, 2)
    there = (abs(sharp - place).max(1) <= 1).sum()
    least = 2 if len(sharp) >= 5 else FAR
    if max(map(abs, place)) < least or best < 7 or best - edges.near(shifts, 1) < 1.5:
        return None
    if there < 0.7 * len(sharp):  # each label is off by itself
        return None
    size = np.median([look.label_size for look in looks], axis=0)
    return Finding(
        kind="labels shifted",
        severity="wrong",
        found=f"Over {together.count} images the labels fit best {moved(place, size)}.",
        means="All labels are shifted against their images, by cropping or padding one of the two, "
        "perhaps.",
        mend="Make the labels again from the same pixels as the images; nothing moves them back. "
        + BY_NATURE,
        examples=tuple(look.name for look in _most_edges(looks)[:6]),
    )


def all_turned(looks: Sequence[Look]) -> Finding | None:
    """A finding, if the labels of the whole set are turned alike."""
    for how in edges.TURNS:
        pairs = np.array([(f.turned[how], f.own) for f in _fits(looks) if how in f.turned])
        if len(pairs) < max(4, len(looks) // 2):
            continue
        more = pairs[:, 0] - pairs[:, 1]
        sure = more.mean() / (more.std(ddof=1) / np.sqrt(len(more)) + 1e-9)
        if sure > 5 and more.mean() > 1.5 and pairs[:, 0].mean() > 2 * pairs[:, 1].mean():
            return Finding(
                kind="labels turned",
                severity="wrong",
                found=f"Over {len(pairs)} images the labels fit far better when they are taken as "
                f"{how}: {pairs[:, 0].mean():.1f} against {pairs[:, 1].mean():.1f} standard "
                "deviations.",
                means=f"All labels are {how} against their images.",
                mend=turn_back(how, looks),
                undo=edges.TURNS[how],
                examples=tuple(look.name for look in _most_edges(looks)[:6]),
            )
    return None


def _fits(looks: Sequence[Look]) -> list[Fit]:
    return [look.fit for look in looks if look.fit is not None]


def _most_edges(looks: Sequence[Look]) -> list[Look]:
    return sorted(looks, key=lambda look: -max(look.fit.best, *look.fit.turned.values()))


def moved(place: tuple[int, int], size: Iterable[float | int]) -> str:
    """A shift of the edge maps in pixels of the label, in words."""
    rows, columns = (round(shift * side / SIDE) for shift, side in zip(place, size, strict=True))
    parts = []
    if rows:
        parts.append(f"{number(abs(rows), 'pixel')} {'down' if rows > 0 else 'up'}")
    if columns:
        parts.append(f"{number(abs(columns), 'pixel')} to the {'right' if columns > 0 else 'left'}")
    more = " or more" if REACH in map(abs, place) else ""
    return f"when moved {' and '.join(parts)}{more}"


def turn_back(how: str, looks: Sequence[Look]) -> str:
    """What mends labels that are turned."""
    if any(look.turned != 1 or (look.raw and look.raw.orientation != 1) for look in looks):
        return (
            "Some of these files carry an orientation (EXIF) tag, which is followed. If the labels "
            "were drawn on the images as stored, remove the tags: exiftool -Orientation= FILE"
        )
    return f"Undo it in the label files, or in the images: they were saved {how}. {BY_NATURE}"
