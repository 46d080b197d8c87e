"""Labels that are shifted, mirrored or turned against their images, or belong to others.

The thresholds were chosen so that SIFT Flow's 2,486 images, 795 of NYUDv2 and 20 of VOC give no
finding: labels of these sets fit with 5 to 25 standard deviations (nine of ten above 4), and labels
of other images with less than 4 (99 of 100 below 3.4). A mirrored label is then found in 98 of 100
images of NYUDv2, 77 of VOC's and 67 of SIFT Flow's, whose scenes are often symmetrical.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from fcn_jax.check import edges
from fcn_jax.check.edges import SIDE, SIDEWAYS, Edges, Fit
from fcn_jax.check.findings import Finding, have, number
from fcn_jax.check.look import Look
from fcn_jax.check.together import (
    BY_NATURE,
    FAR,
    FITS,
    Together,
    all_shifted,
    all_turned,
    moved,
    turn_back,
)
from fcn_jax.data.errors import few

UNFIT = 3.0
MOST = 400
"""How many unfit labels are compared with the images of one another."""


def alignment_findings(looks: Sequence[Look], together: Together) -> Iterator[Finding]:
    """At most one finding for the whole set, or one for each kind of single labels."""
    fitted = [look for look in looks if look.fit is not None]
    if not fitted:
        return
    whole = all_shifted(fitted, together) or all_turned(fitted)
    if whole:
        yield whole
        return
    others = dict(_of_others(fitted))
    if others:
        yield _belonging(others)
    rest = [look for look in fitted if look.name not in others]
    yield from _turned(rest)
    yield from _shifted(rest)


def _turned(looks: Sequence[Look]) -> Iterator[Finding]:
    found: dict[str, list[Look]] = {}
    for look in looks:
        if how := _how_turned(look.fit):
            found.setdefault(how, []).append(look)
    for how, those in found.items():
        yield Finding(
            kind="label turned",
            severity="wrong",
            found=f"{_part(those, looks)} far better when taken as {how}: "
            f"{few(look.name for look in those)}.",
            means=f"The label is {how} against its image.",
            mend=turn_back(how, those),
            undo=edges.TURNS[how],
            examples=tuple(look.name for look in those),
            notes=tuple(f"fit {x.fit.own:.1f}; turned back {x.fit.turned[how]:.1f}" for x in those),
        )


def _how_turned(fit: Fit) -> str:
    """What a single label is surely turned by; ""."""
    how, best = max(fit.turned.items(), key=lambda item: item[1])
    if how in SIDEWAYS:  # horizons and trunks often agree with each other's directions
        return how if best > 7 and fit.own < 2 else ""
    return how if best > FITS and best > 2 * fit.own and best - fit.own > 2.5 else ""


def _shifted(looks: Sequence[Look]) -> Iterator[Finding]:
    those = [
        look
        for look in looks
        if look.fit.best > 6
        and look.fit.own < min(look.fit.best / 3, FITS)
        and max(map(abs, look.fit.place)) >= FAR
        and not _how_turned(look.fit)
    ]
    if those:
        notes = tuple(f"fits {moved(look.fit.place, look.label_size)}" for look in those)
        yield Finding(
            kind="label shifted",
            severity="wrong",
            found=f"{_part(those, looks)} only when moved: "
            + few(f"{x.name} {note}" for x, note in zip(those, notes, strict=True))
            + ".",
            means="The label is shifted against its image.",
            mend="Make it again from the same pixels as its image, or remove both. " + BY_NATURE,
            examples=tuple(look.name for look in those),
            notes=notes,
        )


def _of_others(looks: Sequence[Look]) -> Iterator[tuple[str, tuple[str, float]]]:
    """Labels that fit another image whose own label does not fit: that image, and how well."""
    unfit = [look for look in looks if look.fit.own < UNFIT and look.edges is not None][:MOST]
    if len(unfit) < 2:
        return
    images, labels = (np.stack([_coarse(look.edges[k]) for look in unfit]) for k in (0, 1))
    alike = labels @ images.T
    alike = (alike - alike.mean(0)) / (alike.std(0) + 1e-9)
    np.fill_diagonal(alike, -np.inf)
    fits: dict[int, tuple[int, float]] = {}
    for i, row in enumerate(alike):
        for j in np.argsort(-row)[:3].tolist():
            there = _fit_of(unfit[i], unfit[j])
            if there > max(FITS, 2 * unfit[i].fit.own, fits.get(i, (0, 0.0))[1]):
                fits[i] = j, there
    for i, (j, there) in sorted(fits.items()):
        back = _fit_of(unfit[j], unfit[i])
        swapped = back > max(3.5, unfit[j].fit.own + 1.5)
        if swapped or j in fits or i in {other for other, _ in fits.values()}:
            yield unfit[i].name, (unfit[j].name, there)
            if swapped and j not in fits:
                yield unfit[j].name, (unfit[i].name, back)


def _fit_of(label: Look, image: Look) -> float:
    """How one example's label fits another one's image."""
    maps = edges.spectrum(image.edges[0]), edges.spectrum(label.edges[1])
    return edges.near(edges.standardised(edges.agreement(*maps)))


def _belonging(others: dict[str, tuple[str, float]]) -> Finding:
    return Finding(
        kind="labels of other images",
        severity="wrong",
        found=f"{len(others)} labels do not fit their own image, but another one whose label does "
        "not fit either: "
        + few(f"that of {name} fits {other}" for name, (other, _) in others.items())
        + ".",
        means="These labels were swapped, or files were numbered anew on one side only.",
        mend="Rename them, so that each label has its own image's name.",
        examples=tuple(others),
        notes=tuple(f"its label fits {other} ({fit:.1f})" for other, fit in others.values()),
        beside=tuple(other for other, _ in others.values()),
    )


def _coarse(maps: Edges) -> np.ndarray:
    """An edge map in blocks of four, as a unit vector."""
    blocks = maps.reshape(3, SIDE // 4, 4, SIDE // 4, 4).mean((2, 4)).ravel()
    return blocks / (np.sqrt((blocks**2).sum()) + 1e-9)


def _part(those: Sequence[Look], looks: Sequence[Look]) -> str:
    return f"{len(those)} of {number(len(looks), 'label')} {have(len(those), 'fits', 'fit')}"
