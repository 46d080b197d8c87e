"""What a net gets right in every image of a split, for `fcn_jax.metrics.ByImage`."""

import functools
import itertools
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.core import FrozenDict
from jax.sharding import Mesh
from jaxtyping import Array, UInt8

from fcn_jax.data.named import as_plain, zip_named
from fcn_jax.devices.compiling import jit
from fcn_jax.devices.mesh import replicated_sharding, shard_batch
from fcn_jax.inference.confusion import (
    ENTRIES,
    check_batch,
    check_scores,
    everywhere,
    scores_and_labels,
)
from fcn_jax.inference.predictor import Preprocess
from fcn_jax.metrics import ByImage, Evaluator, Measured, confusion_matrix, image_details
from fcn_jax.metrics.boundaries import BOUNDARY_WIDTH
from fcn_jax.metrics.by_image import detail_shapes
from fcn_jax.nn.coarse_scores import is_coarse, map_over_tiles, sum_over_tiles

_ENTRIES = (*ENTRIES, "index")


def count_by_image(
    net: nn.Module,
    variables: Any,
    preprocess: Preprocess,
    batches: Iterable[Mapping[str, Any]],
    num_classes: int | Mapping[str, int],
    *,
    names: Sequence[str],
    evaluators: Mapping[str, Evaluator] = FrozenDict(),
    mesh: Mesh | None = None,
    details: bool = False,
    boundary_width: float = BOUNDARY_WIDTH,
    threads: int = 4,
    progress: Callable[[int], None] | None = None,
) -> tuple[Any, float | None]:
    """Counts each image of a set: its confusion matrix, and what other scores need.

    While the device works on one batch, the host counts the details of the batch before.

    Args:
        net: as for `fcn_jax.inference.confusion.confusion_matrices`.
        variables: the net's variables.
        preprocess: as there.
        batches: as there, and also with "index", int32 (b,): the place of each image in `names`,
            -1 in rows without an image. `evaluation_batches` has it.
        num_classes: k; for a net with several outputs a dictionary of them, by output.
        names: names of all images.
        evaluators: of outputs that are no classes of pixels, by output ("" for the only one).
        mesh: as there.
        details: also count what the scores beyond the four need (`image_details`).
        boundary_width: of the boundary IU, a share of the image's diagonal.
        threads: threads that count details.
        progress: called after each batch with the number of batches.

    Returns:
        The counts (`ByImage`), or what an evaluator measured (`Measured`), by output if there are
        several: the same for any batch size and devices. And, with details, the device's seconds
        per image: the median of three runs of the last batch, whose images are the largest.

    Raises:
        ValueError: a batch or the net is not what is expected; or details are asked for in one of
            several processes, which sees a part of the images.
    """
    _check_details(details, boundary_width)
    outputs = dict(num_classes if isinstance(num_classes, Mapping) else {"": num_classes})
    classes = FrozenDict({k: n for k, n in outputs.items() if k not in evaluators})
    variables = jax.device_put(variables, None if mesh is None else replicated_sharding(mesh))
    tallies: dict[str, Any] = {name: _Measures(names, e) for name, e in evaluators.items()}
    tallies |= {k: _Tally(names, outputs[k], details, boundary_width) for k in classes}
    count = functools.partial(_count, net, preprocess, classes, mesh, details, variables)
    placed: dict[str, Any] = {}

    def counted_batches() -> Iterator[Any]:
        nonlocal placed
        for number, batch in enumerate(batches, start=1):
            check_batch(batch, number, classes, _ENTRIES)
            placed = {name: batch[name] for name in _ENTRIES}
            placed = placed if mesh is None else shard_batch(mesh, placed)
            yield batch, count(placed)
        yield None

    # `pairwise` asks for the next counts before it gives these: the device always has work.
    with ThreadPoolExecutor(max(1, threads)) as pool:
        pairs = itertools.pairwise(counted_batches())
        for number, ((batch, found), _) in enumerate(pairs, start=1):
            _add(tallies, batch, found, pool)
            if progress is not None:
                progress(number)
    seconds = _seconds(lambda: count(placed)) / len(placed["index"]) if details and placed else None
    return as_plain({name: tallies[name].result() for name in outputs}), seconds


def _add(
    tallies: Mapping[str, Any],
    batch: Mapping[str, Any],
    found: Mapping[str, Any],
    pool: ThreadPoolExecutor,
) -> None:
    """Adds what was found in a batch."""
    index = np.asarray(found["index"])
    for name, counts in found["counts"].items():
        tallies[name].add(index, np.asarray(counts))
    for name, arrays in found["measured"].items():
        rows = index.tolist(), np.asarray(found["size"]), *map(np.asarray, arrays)
        list(pool.map(tallies[name].add, *rows))
    labels = dict(zip_named(batch["label"]))
    for name, arrays in found["details"].items():
        rows = index.tolist(), batch["size"], labels[name], *map(np.asarray, arrays)
        list(pool.map(tallies[name].add_details, *rows))


def _check_details(details: bool, boundary_width: float) -> None:
    if not 0 < boundary_width <= 1:
        raise ValueError(
            "boundary_width is a share of the image's diagonal: expected above 0 and at most 1, "
            f"found {boundary_width}"
        )
    if details and jax.process_count() > 1:
        raise ValueError(
            "details are counted by one process; evaluate with one, or without details"
        )


class _Tally:
    """Collects the counts of one output."""

    def __init__(self, names: Sequence[str], num_classes: int, details: bool, width: float):
        self._names, self._classes, self._width = tuple(names), num_classes, width
        self._entries = [np.zeros((0, 4), np.int64)]
        shapes = detail_shapes(num_classes) if details else {}
        self._details: dict[str, Any] = {k: np.zeros((len(names), *s)) for k, s in shapes.items()}

    def add(self, index: np.ndarray, matrices: np.ndarray) -> None:
        """Adds the confusion matrices (b, k, k) of a batch."""
        row, truth, predicted = np.nonzero(matrices)
        columns = index[row], truth, predicted, matrices[row, truth, predicted]
        self._entries.append(np.stack(columns, axis=-1).astype(np.int64))

    def add_details(
        self, i: int, size: np.ndarray, label: np.ndarray, classes: np.ndarray, sure: np.ndarray
    ) -> None:
        """Adds the details of image `i`; -1 is none."""
        if i < 0:
            return
        label, classes, sure = (array[: size[0], : size[1]] for array in (label, classes, sure))
        found = image_details(label, classes, sure, self._classes, boundary_width=self._width)
        for name, values in found.items():
            self._details[name][i] = values

    def result(self) -> ByImage:
        """What was counted, in the order of the names."""
        entries = np.concatenate(self._entries)
        return ByImage(
            names=self._names,
            num_classes=self._classes,
            entries=entries[np.lexsort(entries.T[2::-1])],
            details=self._details,
            boundary_width=self._width,
        )


class _Measures:
    """Collects what an evaluator measures."""

    def __init__(self, names: Sequence[str], evaluator: Evaluator):
        self._names, self._evaluator = tuple(names), evaluator
        self._values: dict[int, np.ndarray] = {}

    def add(self, i: int, size: np.ndarray, label: Any, scores: np.ndarray) -> None:
        """Measures image `i`; -1 is none."""
        if i < 0:
            return
        label = np.asarray(label)
        if label.ndim > 1:
            label = label[: size[0], : size[1]]
        if scores.ndim > 1:
            scores = scores[: size[0], : size[1]]
        self._values[i] = self._evaluator.measure(label, scores)

    def result(self) -> Measured:
        """What was measured, in the order of the names."""
        values = np.stack([self._values[i] for i in range(len(self._names))])
        return Measured(evaluator=self._evaluator, names=self._names, values=values)


@jit(static_argnames=("net", "preprocess", "num_classes", "mesh", "details"))
def _count(
    net: nn.Module,
    preprocess: Preprocess,
    num_classes: FrozenDict,
    mesh: Mesh | None,
    details: bool,
    variables: Any,
    batch: dict[str, Any],
) -> dict[str, Any]:
    """What is known of a batch, by output.

    Of `num_classes`: int32 confusion matrices (b, k, k), and with details the predicted classes,
    uint8 (b, h, w), and their probabilities, float32 (b, h, w). Of other outputs: labels, scores.
    """
    found: dict[str, Any] = {"index": batch["index"], "size": batch["size"]}
    found |= {"counts": {}, "details": {}, "measured": {}}
    for name, scores, labels in zip_named(
        *scores_and_labels(net, preprocess, mesh, variables, batch)
    ):
        if name not in num_classes:
            found["measured"][name] = labels, scores.dense() if is_coarse(scores) else scores
            continue
        k: Any = num_classes[name]
        check_scores(k, labels, scores)
        if details:
            found["details"][name] = best = map_over_tiles(_best, scores)
            found["counts"][name] = _counts(k, labels, best[0])
        else:
            found["counts"][name] = _counts_of_scores(k, labels, scores)
    return everywhere(mesh, found)


def _best(scores: Array) -> tuple[UInt8[Array, "b h w"], Array]:
    """The class of the highest score, the first of equals, and its probability."""
    best = jnp.argmax(scores, axis=-1).astype(jnp.uint8)  # a label has at most 255 classes
    highest = jnp.max(scores, axis=-1, keepdims=True)
    return best, 1 / jnp.sum(jnp.exp(scores - highest), axis=-1)


def _counts(num_classes: int, labels: Array, predictions: Array) -> Array:
    """A confusion matrix for each image."""
    return jax.vmap(lambda label, found: confusion_matrix(label, found, num_classes))(
        labels, predictions
    )


def _counts_of_scores(num_classes: int, labels: Array, scores: Any) -> Array:
    """A confusion matrix for each image, from scores."""

    def of_rows(scores: Array, labels: Array) -> Array:
        return _counts(num_classes, labels, jnp.argmax(scores, axis=-1))

    return sum_over_tiles(of_rows, scores, labels)


def _seconds(run: Callable[[], Any]) -> float:
    """The median time of three runs."""
    taken = []
    for _ in range(3):
        before = time.perf_counter()
        jax.block_until_ready(run())
        taken.append(time.perf_counter() - before)
    return statistics.median(taken)
