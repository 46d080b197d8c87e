"""Scoring a net on a whole data set, and drawing its predictions for a few examples."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import numpy as np
from jax.sharding import Mesh

from fcn_jax.data.batching import evaluation_batches
from fcn_jax.data.canvases import choose_canvases
from fcn_jax.data.kinds import label_kinds
from fcn_jax.data.named import as_plain, primary, zip_named
from fcn_jax.data.prefetch import read_ahead
from fcn_jax.data.source import FileSource, Source
from fcn_jax.devices.mesh import make_mesh, own_part
from fcn_jax.inference.answers import answers
from fcn_jax.inference.by_image import count_by_image
from fcn_jax.inference.memory import peak_memory
from fcn_jax.inference.predictor import Predictor
from fcn_jax.labels import LabelKind
from fcn_jax.metrics import FOUR, Absent, Evaluator, Measured, Scores, score
from fcn_jax.metrics.boundaries import BOUNDARY_WIDTH
from fcn_jax.preprocessing import AnyPreprocessing
from fcn_jax.report.palette import class_palette, coloured
from fcn_jax.report.pictures import contact_sheet
from fcn_jax.runs.evaluators import evaluators_of

_OF_PIXELS = (LabelKind.CLASSES, LabelKind.NUMBERS)


def evaluate(
    net: nn.Module,
    variables: Any,
    preprocessing: Callable[..., Any],
    source: Source,
    *,
    batch_size: int = 1,
    absent: Absent = Absent.IN_NEITHER,
    threads: int = 4,
    mesh: Mesh | None = None,
    progress: Callable[[int, int], None] | None = None,
    details: bool = False,
    boundary_width: float = BOUNDARY_WIDTH,
    names: Sequence[str] | None = None,
    evaluators: Mapping[str, Evaluator] | None = None,
) -> Any:
    """Scores of a net on a whole data set, from one integer confusion matrix.

    Of several processes each reads its own part, and all get the scores of the whole.

    Args:
        net: `net.apply(variables, images, sizes=sizes)` gives scores (b, h, w, k).
        variables: the net's.
        preprocessing: makes the net's input from uint8 images and sizes, on the device.
        source: the data set.
        batch_size: images at a time; changes no score.
        absent: which classes the mean IU leaves out.
        threads: threads that read images ahead.
        mesh: the devices; by default as many as the batch can use.
        progress: called with the number of batches done and of all.
        details: also `Scores.more` (boundaries, sizes, calibration), the time per image and the
            memory; for one process.
        boundary_width: of the boundary IU, a share of the image's diagonal; 0.005 for Cityscapes.
        names: of the images, if they are known; else those of `example_names`.
        evaluators: by output, in place of those of `evaluators_of`; "" for the only output.

    Returns:
        The `Scores`, with what was counted in each image and so with intervals; `Measured` of
        outputs that are no classes of pixels. By name, in the data set's order, if there are
        several.

    Raises:
        ValueError: the net or an evaluator does not fit the data set.
    """
    sizes = [source.size(i) for i in range(len(source))]
    mesh = mesh or make_mesh(batch_size)
    batches = evaluation_batches(
        source,
        batch_size=batch_size,
        canvases=choose_canvases(sizes, batch_size),
        part=own_part(mesh),
    )
    images, seconds = count_by_image(
        net,
        variables,
        preprocessing,
        read_ahead(batches, 0, len(batches), threads=threads),
        source.num_classes,
        names=example_names(source) if names is None else names,
        evaluators=evaluators_of(source, evaluators),
        mesh=mesh,
        details=details,
        boundary_width=boundary_width,
        threads=threads,
        progress=None if progress is None else lambda n: progress(n, len(batches)),
    )
    cost = {"seconds_per_image": seconds, "peak_memory": peak_memory()} if details else {}
    outputs = zip_named(source.num_classes, images)
    return as_plain({name: _scored(counted, absent, cost) for name, _, counted in outputs})


def _scored(counted: Any, absent: Absent, cost: dict[str, Any]) -> Scores | Measured:
    """What was counted or measured of an output, with its scores."""
    if isinstance(counted, Measured):
        return dataclasses.replace(counted, **cost)
    return dataclasses.replace(score(counted.matrix(), absent=absent), by_image=counted, **cost)


def of_classes(scores: Any) -> dict[str, Scores]:
    """Those of the scores that are of classes of pixels, by output."""
    return {name: found for name, found in zip_named(scores) if isinstance(found, Scores)}


def example_names(source: Source) -> tuple[str, ...]:
    """The names of all examples: a source's `ids`, or what its examples say, which reads them."""
    if isinstance(source, FileSource):
        return tuple(source.ids)
    return tuple(source[i].name for i in range(len(source)))


def score_line(scores: Any, **more: Any) -> dict[str, Any]:
    """The line of `metrics.jsonl` for an evaluation.

    The four scores are those of the first output; names of the others' begin with the output's, as
    in `geometric_mean_iu` and `depth_rmse`. If the first output is no classes of pixels, its names
    do so too, and `best_by` is the name of the score that chooses the best checkpoint.
    """
    line = dict(more)
    for place, (output, found) in enumerate(zip_named(scores)):
        if isinstance(found, Scores):
            values, prefix = {name: getattr(found, name) for name in FOUR}, bool(place)
        else:
            values, prefix = found.scores, bool(output)
        start = f"{output}_" if prefix else ""
        if not place and isinstance(found, Measured):
            line["best_by"] = start + found.best
        line |= {start + name: value for name, value in values.items()}
    return line


def format_scores(scores: Any) -> str:
    """The scores as a line of text."""
    if not isinstance(scores, dict):
        return str(scores)
    return "; ".join(f"{name}: {each_one}" for name, each_one in scores.items())


def draw_examples(
    net: nn.Module, source: Source, variables: Any, preprocessing: AnyPreprocessing, count: int = 4
) -> np.ndarray | None:
    """Image, truth and prediction of a few examples, side by side; of the first output of pixels.

    None if there is no such output.
    """
    kinds = dict(zip_named(label_kinds(source)))
    name = next((n for n, kind in kinds.items() if kind in _OF_PIXELS), None)
    if name is None:
        return None
    predict = Predictor(net, variables, preprocessing)
    picks = np.linspace(0, len(source) - 1, min(count, len(source))).astype(int)
    predict.prepare(source.size(int(i)) for i in picks)
    rows, classes = [], kinds[name] is LabelKind.CLASSES
    for example in (source[int(i)] for i in picks):
        label, found = (
            dict(zip_named(values))[name]
            for values in (example.label, answers(predict, example.image, kinds))
        )
        if not classes:
            highest = float(np.nanmax(label, initial=0))
            label, found = coloured(label, highest), coloured(found, highest)
        rows.append((picture(example.image), label, found))
    return contact_sheet(
        rows,
        ("image", "truth", "prediction"),
        class_names=dict(zip_named(source.class_names))[name] if classes else (),
        palette=class_palette(dict(zip_named(source.num_classes))[name]) if classes else None,
    )


def picture(image: Any) -> np.ndarray:
    """RGB pixels to show: the first input, or its depth in gray."""
    first = primary(image)
    if first.shape[-1] == 3:
        return first
    depth = first.astype(np.float32) / max(int(first.max()), 1)
    return np.repeat((255 * depth).astype(np.uint8), 3, axis=-1)


def split_name(source: Source) -> str:
    """The split of a source, or the name of its class if it has no split."""
    return str(getattr(source, "split", None) or type(source).__name__)
