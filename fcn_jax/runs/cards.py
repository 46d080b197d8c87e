"""Model cards of runs, of exported and of converted weights (docs/report.md)."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from fcn_jax.data.named import zip_named
from fcn_jax.metrics import FOUR, MORE
from fcn_jax.report.card import Card
from fcn_jax.report.shown import ShownRun
from fcn_jax.runs.report import shown
from fcn_jax.training.run_folder import RunFolder
from fcn_jax.weights.foreign.convert import Conversion
from fcn_jax.weights.foreign.torch_nets import LICENCES
from fcn_jax.weights.weights_file import describe_preprocessing, load_weights

_OF_PUBLISHER = LICENCES | {
    "caffe": "that of the file's publisher; of Oxford's VGG16: Creative Commons Attribution 4.0; "
    "the authors' FCNs are for unrestricted use",
    "caffe_npz": "BSD 2-clause, of the repository that the file is from",
    "efficientnet_lite": "Apache 2.0",
}
"""The licence of converted weights, by kind. Source: weights/README.md."""
_DERIVED = "that of what the run started from, and of its training data: {}"


def run_card(folder: RunFolder, run: ShownRun, step: int | None = None) -> Card:
    """The card of a run.

    Args:
        folder: of the run.
        run: what `fcn_jax.runs.report.shown` gives.
        step: the checkpoint; by default the best one, whose scores are known.
    """
    described, facts = folder.described(), dict(run.facts)
    scored = step in (None, run.step)
    return Card(
        name=run.name,
        net=facts.get("net", ""),
        source=f"a run of {described.get('module', 'fcn_jax')}, trained on "
        f"{facts.get('trained on')}, step {run.step if scored else step}; it started from "
        f"{facts.get('started from', 'unknown weights')}",
        preprocessing=described.get("preprocessing"),
        use=_loading(run.name),
        class_names=run.class_names,
        evaluated_on=_evaluated_on(run) if scored else "",
        scores=_scores(run) if scored else {},
        weights_licence=_DERIVED.format(facts.get("started from", "unknown weights")),
        data_licence=f"that of the publisher of {facts.get('trained on', 'the training data')}",
    )


def export_card(target: Path, source: Path, preprocessing: Any, step: int | None = None) -> Card:
    """The card of an exported file.

    Args:
        target: what was written.
        source: the run's folder or the weights file that it is from.
        preprocessing: what the first layer expects.
        step: of the run.
    """
    use = [
        "from safetensors.torch import load_file",
        f'state = load_file("{target.name}")  # the state dict of the net in PyTorch',
        "net.load_state_dict(state, strict=False)",
    ]
    if target.suffix == ".npz":
        use = [
            "import numpy as np",
            f'arrays = np.load("{target.name}")  # LAYER/w and LAYER/b, as in Caffe',
            'kernel = arrays["conv1_1/w"]  # out, in, rows, columns',
        ]
    described = describe_preprocessing(preprocessing)
    if source.suffix != ".safetensors":
        folder = RunFolder(source)
        card = run_card(folder, shown(folder), step)
        return dataclasses.replace(card, name=target.stem, preprocessing=described, use=use)
    about = load_weights(source)[1]
    return Card(
        name=target.stem,
        net=about.net or about.architecture,
        source=about.source,
        preprocessing=described,
        use=use,
        class_names=dict(zip_named(about.class_names)),
    )


def conversion_card(kind: str, conversion: Conversion) -> Card:
    """The card of converted weights.

    Args:
        kind: of `fcn_jax.weights.foreign.convert.KINDS`.
        conversion: what was written.
    """
    about, file = conversion.metadata, conversion.target.name
    use = _loading(file)
    if not about.net:
        use = [
            "# a classifier: a recipe starts its trunk from it",
            f"python -m experiments.voc_fcn32s --init {file}",
        ]
    return Card(
        name=conversion.target.stem,
        net=about.net or f"{about.architecture}, a classifier of {about.num_classes} classes",
        source=f"{about.source} (sha256 {about.source_sha256})",
        preprocessing=describe_preprocessing(about.preprocessing),
        use=use,
        class_names=dict(zip_named(about.class_names)),
        remarks=[*conversion.remarks, *(f"left out: {note}" for note in conversion.notes)],
        weights_licence=_OF_PUBLISHER.get(kind, Card.weights_licence),
        task="image-segmentation" if about.net else "image-classification",
    )


def _loading(path: str) -> list[str]:
    return [
        "import fcn_jax as fcn",
        f'model = fcn.load("{path}")',
        'label = model("photo.jpg")  # uint8 (h, w), the class of every pixel',
    ]


def _evaluated_on(run: ShownRun) -> str:
    if not run.images:
        return run.split
    return f"{run.split}, {len(next(iter(run.images.values()))):,} images"


def _scores(run: ShownRun) -> dict[str, tuple[float, list[float] | None]]:
    """Value and interval of each score of the first output, where it is defined."""
    values, intervals = next(iter(run.scores.values()), ({}, {}))
    found = {}
    for name in (*FOUR, *MORE):
        value, ends = float(values.get(name, np.nan)), intervals.get(name)
        if not np.isnan(value):
            known = None if ends is None or np.isnan(ends).any() else ends.tolist()
            found[name] = value, known
    return found
