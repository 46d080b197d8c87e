"""Scoring a net on a whole data set, and drawing what it makes of a few examples."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fcn_jax.data.canvases import choose_canvases
from fcn_jax.data.pipeline import evaluation_batches, read_ahead
from fcn_jax.data.source import Source
from fcn_jax.inference.evaluate import evaluate
from fcn_jax.inference.predictor import Predictor
from fcn_jax.metrics import Scores, score
from fcn_jax.preprocessing import Preprocessing
from fcn_jax.recipe import Recipe
from fcn_jax.report.palette import class_palette
from fcn_jax.report.pictures import contact_sheet
from fcn_jax.training.step import make_mesh

FOUR = ("pixel_accuracy", "mean_accuracy", "mean_iu", "frequency_weighted_iu")


def evaluate_on(
    recipe: Recipe,
    source: Source,
    variables: Any,
    preprocessing: Preprocessing,
    *,
    threads: int = 4,
    progress: Callable[[int, int], None] | None = None,
) -> Scores:
    """Scores of a net on a whole data set, one integer confusion matrix for all of it."""
    sizes = [source.size(i) for i in range(len(source))]
    size = recipe.batch_size
    batches = evaluation_batches(source, batch_size=size, canvases=choose_canvases(sizes, size))
    read = read_ahead(batches, 0, len(batches), threads=threads)
    matrix = evaluate(
        recipe.model,
        variables,
        preprocessing,
        read,
        source.num_classes,
        mesh=make_mesh(size),
        progress=None if progress is None else lambda n, _: progress(n, len(batches)),
    )
    return score(matrix, absent=recipe.absent)


def score_line(scores: Scores, **more: Any) -> dict[str, Any]:
    """The line of `metrics.jsonl` for an evaluation."""
    return {**more, **{name: getattr(scores, name) for name in FOUR}}


def draw_examples(
    recipe: Recipe, source: Source, variables: Any, preprocessing: Preprocessing, count: int = 4
) -> np.ndarray:
    """Image, truth and prediction of a few examples, side by side."""
    predict = Predictor(recipe.model, variables, preprocessing)
    picks = np.linspace(0, len(source) - 1, min(count, len(source))).astype(int)
    rows = [(e.image, e.label, predict(e.image)) for e in (source[int(i)] for i in picks)]
    return contact_sheet(
        rows,
        ("image", "truth", "prediction"),
        class_names=source.class_names,
        palette=class_palette(source.num_classes),
    )


def split_name(source: Source) -> str:
    """The split of a source, or its class where it has none."""
    return str(getattr(source, "split", None) or type(source).__name__)
