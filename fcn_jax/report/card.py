"""A model card: `NAME.md` in the form that model hubs read, and `NAME.json` with the same facts."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fcn_jax.atomic import write_atomically
from fcn_jax.metrics.bootstrap import interval_text
from fcn_jax.metrics.classes import title as title_of
from fcn_jax.pages.render import render

FORMAT = "fcn_jax card 1"
_HUB = {"mean_iu": "mean_iou", "pixel_accuracy": "accuracy"}
MARK = "<!-- written by fcn_jax; remove this line to keep your changes -->"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Card:
    """What a card says.

    Attributes:
        name: of the net.
        net: the net in words, or as text.
        source: where the weights are from.
        preprocessing: what the first layer expects, as JSON.
        use: lines of code that use it.
        class_names: of each output, by its name ("" if there is one only); empty if not known.
        evaluated_on: the images of the scores, such as "VOC seg11valid, 736 images".
        scores: value and interval (or None), fractions of 1, by the score's name.
        weights_licence: of the weights, a sentence.
        data_licence: of the data that they were trained on, a sentence.
        remarks: what else a user should know.
        task: as model hubs call it.
    """

    name: str
    net: str
    source: str
    preprocessing: Any
    use: Sequence[str]
    class_names: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    evaluated_on: str = ""
    scores: Mapping[str, tuple[float, Sequence[float] | None]] = dataclasses.field(
        default_factory=dict
    )
    weights_licence: str = "Not recorded: it is that of where the weights are from."
    data_licence: str = "Not recorded: it is that of the publisher of the training data."
    remarks: Sequence[str] = ()
    task: str = "image-segmentation"


def write_card(path: Path, card: Card) -> list[Path]:
    """Writes a card as `path` (`.md`) and as JSON beside it, atomically.

    Returns:
        What was written. A file that fcn_jax did not write is left as it is.
    """
    texts = {path: _markdown(card), path.with_suffix(".json"): _json(card)}
    written = []
    for file, text in texts.items():
        if not file.exists() or _is_ours(file):
            write_atomically(file, lambda part, text=text: part.write_text(text, encoding="utf-8"))
            written.append(file)
    return written


def _is_ours(file: Path) -> bool:
    mark = MARK if file.suffix == ".md" else FORMAT
    return mark in file.read_text(encoding="utf-8", errors="replace")


def _json(card: Card) -> str:
    scores = {k: {"value": value, "interval": ends} for k, (value, ends) in card.scores.items()}
    fields = {"format": FORMAT, **dataclasses.asdict(card), "scores": scores}
    return json.dumps(fields, indent=2, ensure_ascii=False) + "\n"


def _markdown(card: Card) -> str:
    rows = [
        (
            title_of(name),
            f"{100 * value:.1f}",
            interval_text(None if ends is None else np.array(ends)),
        )
        for name, (value, ends) in card.scores.items()
    ]
    classes = {name: names for name, names in card.class_names.items() if names}
    return render(
        "fcn_jax.report",
        "card.md",
        card=card,
        head={key: json.dumps(value, ensure_ascii=False) for key, value in _head(card).items()},
        mark=MARK,
        rows=rows,
        classes=classes,
        preprocessing=json.dumps(card.preprocessing),
    )


def _head(card: Card) -> dict[str, Any]:
    """The front matter. Source: the Hugging Face hub's metadata of model cards."""
    head: dict[str, Any] = {
        "library_name": "fcn_jax",
        "pipeline_tag": card.task,
        "license": "other",
        "license_name": "see-below",
        "tags": ["fcn_jax", "jax", "semantic-segmentation"],
    }
    if card.scores:
        metrics = [
            {"type": _HUB.get(name, name), "name": title_of(name), "value": value}
            for name, (value, _) in card.scores.items()
        ]
        data = {"type": card.evaluated_on.split(",")[0], "name": card.evaluated_on}
        task = {"type": card.task}
        results = [{"task": task, "dataset": data, "metrics": metrics}]
        head |= {
            "metrics": [metric["type"] for metric in metrics],
            "model-index": [{"name": card.name}],
        }
        head["model-index"][0]["results"] = results
    return head
