"""Scoring a net on a whole data set, and drawing its predictions for a few examples."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import numpy as np
from jax.sharding import Mesh

from fcn_jax.data.batching import evaluation_batches
from fcn_jax.data.canvases import choose_canvases
from fcn_jax.data.named import as_plain, primary, zip_named
from fcn_jax.data.prefetch import read_ahead
from fcn_jax.data.source import FileSource, Source
from fcn_jax.devices.mesh import make_mesh, own_part
from fcn_jax.inference.by_image import count_by_image
from fcn_jax.inference.memory import peak_memory
from fcn_jax.inference.predictor import Predictor
from fcn_jax.metrics import FOUR, Absent, Scores, score
from fcn_jax.metrics.boundaries import BOUNDARY_WIDTH
from fcn_jax.preprocessing import AnyPreprocessing
from fcn_jax.report.palette import class_palette
from fcn_jax.report.pictures import contact_sheet


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
) -> Scores | dict[str, Scores]:
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

    Returns:
        The scores, with what was counted in each image and so with intervals; by name, in the data
        set's order, if it has several labels.
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
        mesh=mesh,
        details=details,
        boundary_width=boundary_width,
        threads=threads,
        progress=None if progress is None else lambda n: progress(n, len(batches)),
    )
    cost = {"seconds_per_image": seconds, "peak_memory": peak_memory()} if details else {}
    return as_plain(
        {
            name: dataclasses.replace(
                score(counted.matrix(), absent=absent), by_image=counted, **cost
            )
            for name, _, counted in zip_named(source.num_classes, images)
        }
    )


def example_names(source: Source) -> tuple[str, ...]:
    """The names of all examples: a source's `ids`, or what its examples say, which reads them."""
    if isinstance(source, FileSource):
        return tuple(source.ids)
    return tuple(source[i].name for i in range(len(source)))


def score_line(scores: Scores | dict[str, Scores], **more: Any) -> dict[str, Any]:
    """The line of `metrics.jsonl` for an evaluation.

    The four scores are those of the first output; names of the others' begin with the output's, as
    in `geometric_mean_iu`.
    """
    line = {**more, **{name: getattr(primary(scores), name) for name in FOUR}}
    for output, others in list(scores.items())[1:] if isinstance(scores, dict) else ():
        line |= {f"{output}_{name}": getattr(others, name) for name in FOUR}
    return line


def format_scores(scores: Scores | dict[str, Scores]) -> str:
    """The scores as a line of text."""
    if not isinstance(scores, dict):
        return str(scores)
    return "; ".join(f"{name}: {each_one}" for name, each_one in scores.items())


def draw_examples(
    net: nn.Module, source: Source, variables: Any, preprocessing: AnyPreprocessing, count: int = 4
) -> np.ndarray:
    """Image, truth and prediction of a few examples, side by side."""
    predict = Predictor(net, variables, preprocessing)
    picks = np.linspace(0, len(source) - 1, min(count, len(source))).astype(int)
    predict.prepare(source.size(int(i)) for i in picks)
    first = next(iter(source.num_classes)) if isinstance(source.num_classes, Mapping) else None
    rows = []
    for example in (source[int(i)] for i in picks):
        label = predict(example.image)
        rows.append(
            (picture(example.image), primary(example.label), label[first] if first else label)
        )
    return contact_sheet(
        rows,
        ("image", "truth", "prediction"),
        class_names=primary(source.class_names),
        palette=class_palette(primary(source.num_classes)),
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
