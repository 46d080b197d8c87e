"""The page with pictures: one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fcn_jax.atomic import write_atomically
from fcn_jax.check.findings import Finding
from fcn_jax.check.inspect import Report
from fcn_jax.check.look import Look
from fcn_jax.check.pictures import Picture, picture
from fcn_jax.check.summary import Summary
from fcn_jax.check.text import verdict
from fcn_jax.pages.render import render

_EACH, _IN_ALL = 3, 40  # examples of a finding, and pictures of the page
_SAMPLES = 6


class Shown(NamedTuple):
    """A finding and its pictures; of each example, itself and what it is compared with."""

    finding: Finding
    examples: list[list[Picture]]
    more: int


def write_page(path: Path, title: str, report: Report, short: Summary) -> Path:
    """Writes the page.

    Args:
      path: The file; it is below 5 MB.
      title: The data folder.
      report: What was found.
      short: The data set in short.

    Returns:
      The file's path.
    """
    text = render(
        "fcn_jax.check",
        "page.html",
        title=title,
        verdict=verdict(report),
        wrong=report.wrong,
        short=short,
        largest=max((row.share for row in short.rows), default=1) or 1,
        shown=_shown(report),
        samples=[picture(look, report.class_names) for look in _samples(report.looks)],
    )
    return write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))


def _shown(report: Report) -> list[Shown]:
    looks = {look.name: look for look in report.looks}
    shown, left = [], _IN_ALL
    for finding in report.findings:
        examples = []
        for k, name in enumerate(finding.examples[: min(_EACH, left)]):
            note = finding.notes[k] if finding.notes else ""
            group = [picture(looks[name], report.class_names, note)]
            if finding.undo:
                undone = picture(
                    looks[name], report.class_names, "the label turned back", finding.undo
                )
                group.append(undone._replace(image=""))
            if finding.beside:
                group.append(picture(looks[finding.beside[k]], report.class_names))
            left -= len(group)
            examples.append(group)
        shown.append(Shown(finding, examples, len(finding.examples) - len(examples)))
    return shown


def _samples(looks: Sequence[Look]) -> list[Look]:
    """Examples at equal distances in the list, of those that can be read."""
    sound = [look for look in looks if look.image_size and look.label_size]
    step = max(1, len(sound) // _SAMPLES)
    return sound[::step][:_SAMPLES]
