"""Looks at all images and labels of a data set, and judges the whole."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fcn_jax.check.alignment import MOST, UNFIT, alignment_findings
from fcn_jax.check.classes import class_findings
from fcn_jax.check.copies import copy_findings
from fcn_jax.check.files import file_findings, unread_findings
from fcn_jax.check.findings import Finding
from fcn_jax.check.look import Item, Look, look
from fcn_jax.check.meaning import value_findings
from fcn_jax.check.pairs import pairs
from fcn_jax.check.together import Together
from fcn_jax.data.chosen_classes import ChosenClasses
from fcn_jax.data.errors import DataError
from fcn_jax.data.named import primary
from fcn_jax.data.source import FileSource

_NO_LABELS = ("images and labels swapped", "photographs as labels")


class Report(NamedTuple):
    """What a check found.

    Attributes:
      looks: What was seen of each image and its label.
      findings: What is wrong or unusual, the worst first.
      class_names: A name for each class.
      known: Whether the classes were given; else there are as many as the largest value says.
      left_out: A line for each folder that holds other files too.
    """

    looks: list[Look]
    findings: list[Finding]
    class_names: tuple[str, ...]
    known: bool
    left_out: tuple[str, ...] = ()

    @property
    def wrong(self) -> bool:
        """Whether training would be wrong, or would stop."""
        return any(finding.severity == "wrong" for finding in self.findings)


def inspect(
    sources: dict[str, FileSource],
    *,
    known: bool = True,
    threads: int | None = None,
    progress: Callable[[float, int], None] | None = None,
) -> Report:
    """Looks at a data set.

    Args:
      sources: Its parts by name, such as "train" and "validation", bound to their folder.
      known: Whether the number of classes was given, and was not merely assumed.
      threads: How many threads read; by default as many as there are processors.
      progress: Called with the numbers done and in all.
    """
    items, findings = pairs(sources)
    if len(items) == 2 and items[0].image == items[1].image:
        items = items[:1]  # a single image is trained on and validated on
    looks, together = _look_at_all(items, threads or os.cpu_count() or 1, progress)
    source = next(iter(sources.values()))
    class_names = tuple(primary(source.class_names))
    names = class_names if known else None
    findings += _judge(looks, together, source, names, _places(sources.values()))
    findings.sort(key=lambda finding: finding.severity != "wrong")
    left_out = tuple(dict.fromkeys(line for one in sources.values() for line in _left_out(one)))
    return Report(looks, findings, class_names, known, left_out)


def _left_out(source: FileSource) -> Sequence[str]:
    with contextlib.suppress(DataError):  # what is wrong is a finding
        return getattr(source, "left_out", ())
    return ()


def _places(sources: Iterable[FileSource]) -> Sequence[str] | None:
    """The file or folder that says which images each part has; None where lists can be given."""
    if any(not isinstance(source, ChosenClasses) for source in sources):
        return None
    found = {}
    for source in sources:
        with contextlib.suppress(DataError):
            path = Path(getattr(source, "annotations", ""))
            if not path.name and source.ids:
                path = Path(primary(source.image_path(source.ids[0]))).parent
            found[str(source.folder / path)] = None
    return tuple(found) or None


def _look_at_all(
    items: Sequence[Item], threads: int, progress: Callable[[float, int], None] | None
) -> tuple[list[Look], Together]:
    looks, together, kept = [], Together(), 0
    pool = ThreadPoolExecutor(threads)
    try:
        for number, seen in enumerate(pool.map(look, items), start=1):
            same_size = seen.image_size == seen.label_size
            keep = False
            if seen.edges is not None and seen.fit is not None:
                if same_size:
                    together.add(seen.edges[0], seen.edges[1], seen.fit.shifts)
                keep = same_size and seen.fit.own < UNFIT and kept < MOST
                kept += keep
                seen = seen._replace(fit=seen.fit._replace(shifts=np.zeros((0, 0))))
            looks.append(seen if keep else seen._replace(edges=None))
            if progress is not None:
                progress(number, len(items))
    finally:
        pool.shutdown(cancel_futures=True)
    return looks, together


def _judge(
    looks: Sequence[Look],
    together: Together,
    source: FileSource,
    class_names: tuple[str, ...] | None,
    places: Sequence[str] | None,
) -> Iterator[Finding]:
    found = list(file_findings(looks))
    odd = {name for one in found for name in one.examples if one.kind.startswith("labels with")}
    valued = [look for look in looks if look.values is not None and look.name not in odd]
    stored = [look for look in valued if look.raw is not None]
    count = None if class_names is None else len(class_names)
    values = list(value_findings(stored, source.label_values, count))
    yield from found
    yield from values
    if any(one.kind in _NO_LABELS for one in values):
        return
    copies = list(copy_findings(looks, places))
    yield from copies
    others = {name for one in copies if "label" in one.kind for name in one.examples}
    own = [look for look in looks if look.name not in others]
    yield from alignment_findings([x for x in own if x.image_size == x.label_size], together)
    if not any(one.severity == "wrong" for one in values):
        readable = [look for look in valued if look.classes is not None]
        names = class_names or tuple(f"class {k}" for k in range(255))
        yield from class_findings(readable, names, known=class_names is not None)
    yield from unread_findings(looks, [*found, *values])
