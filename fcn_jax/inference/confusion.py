"""Confusion matrices of a net over a whole split, for `fcn_jax.metrics.score`."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.core import FrozenDict
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, Int64

from fcn_jax.data.named import zip_named
from fcn_jax.devices.compiling import jit
from fcn_jax.devices.mesh import shard_batch, spread_rows, spreads_rows
from fcn_jax.inference.predictor import Preprocess
from fcn_jax.labels import IGNORE
from fcn_jax.metrics import confusion_matrix
from fcn_jax.nn.coarse_scores import scores_of, sum_over_tiles
from fcn_jax.nn.savings import use_for_rows

ENTRIES = ("image", "label", "size")
"""What a batch must hold."""


def confusion_matrices(
    net: nn.Module,
    variables: Any,
    preprocess: Preprocess,
    batches: Iterable[Mapping[str, Any]],
    num_classes: int | Mapping[str, int],
    *,
    mesh: Mesh | None = None,
    progress: Callable[[int, Any], None] | None = None,
) -> Int64[np.ndarray, "k k"] | dict[str, Int64[np.ndarray, "_ _"]]:
    """Counts, over all batches, how often each true class was predicted as each class.

    Every labelled pixel counts once, whatever the batch size, the canvas and the devices. While the
    device works on one batch, the host fetches the counts of the batch before.

    Args:
        net: `net.apply(variables, images, sizes=sizes)` gives scores (b, h, w, num_classes). It is
            compiled once per shape of batch in the life of the process, not once per call.
        variables: the net's variables.
        preprocess: makes the net's input from uint8 images and sizes, on the device. Pass the same
            function at every call: another function needs another compilation.
        batches: mappings with "image", uint8 (b, h, w, 3), 0..255, RGB; "label", uint8 (b, h, w),
            0..num_classes-1, or 255 where a pixel is ignored or outside its image; "size", int32
            (b, 2), rows and columns of each image. Each process brings its own part of each batch.
            For example `read_ahead(batches, 0, len(batches))` with `evaluation_batches`.
        num_classes: k; for a net with several outputs a dictionary of them, by output. The labels
            and the result are then dictionaries too.
        mesh: devices to use, with axes `data` (images) and `space` (rows); None is one device.
        progress: called after each batch with the number of batches and the result so far.

    Returns:
        int64 (k, k), or a dictionary of them by output. Entry (i, j) is the number of pixels of
        true class i that were predicted as class j.

    Raises:
        ValueError: if a batch lacks an entry, a label is neither a class nor 255, or the net does
            not have `num_classes` classes.
    """
    classes = dict(num_classes) if isinstance(num_classes, Mapping) else num_classes
    static_classes = FrozenDict(classes) if isinstance(classes, dict) else classes  # hashable
    total = jax.tree.map(lambda k: np.zeros((k, k), np.int64), classes)
    sharding = None if mesh is None else NamedSharding(mesh, PartitionSpec())
    variables = jax.device_put(variables, sharding)

    def counts_of_batches() -> Iterator[Any]:
        for number, batch in enumerate(batches, start=1):
            check_batch(batch, number, classes)
            placed = {name: batch[name] for name in ENTRIES}
            placed = placed if mesh is None else shard_batch(mesh, placed)
            yield _count(net, preprocess, static_classes, mesh, variables, placed)
        yield None

    # `pairwise` asks for the next counts before it gives these: the device always has work.
    for number, (counts, _) in enumerate(itertools.pairwise(counts_of_batches()), start=1):
        total = jax.tree.map(lambda sums, new: sums + np.asarray(new, np.int64), total, counts)
        if progress is not None:
            progress(number, jax.tree.map(np.copy, total))
    return total


@jit(static_argnames=("net", "preprocess", "num_classes", "mesh"))
def _count(
    net: nn.Module,
    preprocess: Preprocess,
    num_classes: int | FrozenDict,
    mesh: Mesh | None,
    variables: Any,
    batch: dict[str, Any],
) -> Any:
    """The int32 confusion matrix of one batch, for each output."""
    scores, labels = scores_and_labels(net, preprocess, mesh, variables, batch)
    classes = dict(num_classes) if isinstance(num_classes, FrozenDict) else num_classes
    return everywhere(mesh, jax.tree.map(_count_output, classes, labels, scores))


def scores_and_labels(
    net: nn.Module, preprocess: Preprocess, mesh: Mesh | None, variables: Any, batch: dict[str, Any]
) -> tuple[Any, Any]:
    """Scores of a batch, coarse where possible, and its labels; for use inside `jit`."""
    images = spread_rows(mesh, preprocess(batch["image"], batch["size"]))
    with use_for_rows(spreads_rows(mesh)):
        scores = scores_of(net, variables, images, sizes=batch["size"])
    return spread_rows(mesh, (scores, batch["label"]))


def everywhere(mesh: Mesh | None, tree: Any) -> Any:
    """The same arrays, complete on every device; for use inside `jit`."""
    if mesh is None:
        return tree
    return jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, PartitionSpec()))


def _count_output(num_classes: int, labels: Array, scores: Any) -> Int[Array, "k k"]:
    """The int32 confusion matrix of one batch and output."""
    check_scores(num_classes, labels, scores)

    def count_rows(scores: Array, labels: Array) -> Array:
        return confusion_matrix(labels, jnp.argmax(scores, axis=-1), num_classes)

    return sum_over_tiles(count_rows, scores, labels)


def check_scores(num_classes: int, labels: Array, scores: Any) -> None:
    """Raises ValueError unless there are scores of every class for every label."""
    if scores.shape != (expected := (*labels.shape, num_classes)):
        raise ValueError(
            f"confusion_matrices: expected scores {expected} for labels of {num_classes} classes, "
            f"found {scores.shape}. Give the net and the data set the same number of classes."
        )


def check_batch(
    batch: Mapping[str, Any], number: int, num_classes: Any, entries: tuple[str, ...] = ENTRIES
) -> None:
    """Raises ValueError if an entry is missing, or a label of `num_classes` is no class nor 255."""
    if missing := set(entries) - set(batch):
        raise ValueError(
            f"confusion_matrices: batch {number} has entries {sorted(batch)}; expected also "
            f"{sorted(missing)}."
        )

    def check_label(k: int, label: np.ndarray) -> None:
        unknown = np.unique(label[(label >= k) & (label != IGNORE)])
        if unknown.size:
            raise ValueError(
                f"confusion_matrices: batch {number} has labels {unknown.tolist()}; expected "
                f"0..{k - 1} or 255 (ignored). Check num_classes, or map the labels."
            )

    labels = dict(zip_named(batch["label"]))
    for name, k in num_classes.items() if isinstance(num_classes, Mapping) else [("", num_classes)]:
        check_label(k, labels[name])
