"""What `fcn_jax.runs.comparison.compare_runs` found, as tables and sentences."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from rich import box
from rich.table import Column, Table
from rich.text import Text

from fcn_jax.metrics.bootstrap import percent
from fcn_jax.metrics.classes import title

_LOWER_IS_BETTER = {"calibration_error"}
_FEW = 20  # images, below which intervals are too narrow


def letter(run: int) -> str:
    """What a run is called in the tables: A, B, ..., and its number from the 27th on."""
    return chr(ord("A") + run) if run < 26 else str(run + 1)


def comparison(found: dict[str, Any], *, most: int = 10) -> Iterator[Table | str]:
    """The tables and lines of a comparison, in order.

    Args:
        found: the result of `compare_runs`.
        most: how many classes and images are shown.
    """
    for i, run in enumerate(found["runs"]):
        yield f"{letter(i)}: {run['run']}, step {run['step']}, {run['split']}{_cost(run)}"
    number = found["images"]
    yield f"the same {number} images; per cent, with 95 % intervals"
    for name, output in found["outputs"].items():
        if name:
            yield f"\n{name}"
        for i, difference in enumerate(output["differences"], start=1):
            yield _scores_table(output["scores"], difference["scores"], i)
            yield from _sentences(difference["scores"], i, number)
            yield _classes_table(difference["classes"][:most], i)
            yield _images_table(difference["images"][:most], i)
    yield (
        "The intervals say how far other images of the same kind would move a score. They do not "
        "say what another seed of the same training would change."
    )
    if number < _FEW:
        yield f"With {number} images the intervals are too narrow: take {_FEW} or more."


def _cost(run: dict[str, Any]) -> str:
    if run["seconds_per_image"] is None:
        return ""
    memory = (run["peak_memory"] or 0) / 1e9
    return f"; {run['seconds_per_image']:.3g} s per image, {memory:.1f} GB of memory at most"


def _text(value: float | None, ends: Sequence[float] | None = None, sign: str = "") -> str:
    number = np.nan if value is None else value
    return percent(number, None if ends is None else np.array(ends), sign)


def _table(first: str, run: int, what: str = "") -> Table:
    names = (f"{letter(0)}{what}", f"{letter(run)}{what}", f"{letter(run)} - {letter(0)}")
    columns = (Column(name, justify="right") for name in names)
    return Table(Column(first, overflow="fold"), *columns, box=box.SIMPLE)


def _scores_table(scores: dict[str, Any], differences: dict[str, Any], run: int) -> Table:
    table = _table("score", run)
    for name, values in scores.items():
        pair = (_text(values[i]["value"], values[i]["interval"]) for i in (0, run))
        d = differences[name]
        table.add_row(title(name), *pair, _text(d["difference"], d["interval"], "+"))
    return table


def _sentences(differences: dict[str, Any], run: int, images: int) -> Iterator[str]:
    """What the differences of scores mean, in words."""
    better: dict[str, list[str]] = {letter(run): [], letter(0): []}
    unclear = []
    for name, d in differences.items():
        if d["more_than_chance"]:
            up = (d["difference"] > 0) != (name in _LOWER_IS_BETTER)
            text = f"{title(name)} {_text(d['difference'], sign='+')}"
            better[letter(run if up else 0)].append(text)
        elif d["difference"] is not None:
            unclear.append(title(name))
    for who, texts in better.items():
        if texts:
            yield f"{who} is better, by more than chance explains: {'; '.join(texts)}."
    if unclear:
        yield f"Cannot tell apart with these {images} images: {'; '.join(unclear)}."
    if needed := _images_needed(differences["mean_iu"], images):
        size = _text(differences["mean_iu"]["difference"], sign="+")
        yield f"To tell a difference of mean IU of {size}, take about {needed:,} images."


def _images_needed(difference: dict[str, Any], images: int) -> int | None:
    """How many images would make the interval exclude 0, as its width falls with their root."""
    ends, size = difference["interval"], difference["difference"]
    if difference["more_than_chance"] or not ends or not size:
        return None
    needed = images * ((ends[1] - ends[0]) / 2 / abs(size)) ** 2
    return int(float(f"{needed:.1e}")) if images < needed < 1e6 else None


def _classes_table(classes: Sequence[dict[str, Any]], run: int) -> Table:
    table = _table("class", run, " IU")
    table.add_column("images", justify="right")
    for d in classes:
        pair = (_text(d[which]) for which in ("first", "other"))
        mark = "  " if d["more_than_chance"] else " ?"
        difference = _text(d["difference"], d["interval"], "+")
        table.add_row(Text(d["class"]), *pair, f"{difference}{mark}", str(d["images"]))
    table.caption = "largest differences first; ?: chance may explain it"
    return table


def _images_table(images: Sequence[dict[str, Any]], run: int) -> Table:
    table = _table("image", run, " right")
    for d in images:
        pair = (_text(d[which]) for which in ("first", "other"))
        table.add_row(Text(d["image"]), *pair, _text(d["difference"], sign="+"))
    table.caption = "correct pixels; largest differences first"
    return table
