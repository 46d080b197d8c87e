"""The confusion matrix of a network over a whole split."""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.core import FrozenDict
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, Int64

from fcn_jax.devices.compiling import jit
from fcn_jax.devices.mesh import shard_batch, spread_rows, spreads_rows
from fcn_jax.inference.predictor import Preprocess
from fcn_jax.labels import IGNORE
from fcn_jax.metrics import confusion_matrix
from fcn_jax.nn.coarse_scores import scores_of, sum_over_tiles
from fcn_jax.nn.savings import use_for_rows

Matrices = Int64[np.ndarray, "k k"] | dict[str, Int64[np.ndarray, "_ _"]]
Progress = Callable[[int, Any], None]
"""Called with the number of batches counted so far and a copy of their int64 (k, k) matrix."""


def evaluate(
    net: nn.Module,
    variables: Any,
    preprocess: Preprocess,
    batches: Iterable[Mapping[str, Any]],
    num_classes: int | Mapping[str, int],
    *,
    mesh: Mesh | None = None,
    progress: Progress | None = None,
) -> Matrices:
    """Counts, over all batches, how often each true class was predicted as each class.

    Every labelled pixel counts once, whatever the batch size, the canvas and the devices. While the
    device is at work on one batch, the host fetches the counts of the one before.

    Args:
        net: `net.apply(variables, images, sizes=sizes)` gives scores (b, h, w, num_classes). It is
            compiled once per shape of batch in the life of the process, not once per call.
        variables: the network's variables.
        preprocess: makes the network's input from uint8 images and sizes, on the device. Pass the
            same function at every call: another one is another program.
        batches: mappings with "image", uint8 (b, h, w, 3), 0..255, RGB; "label", uint8 (b, h, w),
            0..num_classes-1, or 255 where a pixel is ignored or outside its image; "size", int32
            (b, 2), rows and columns of each image; for example
            `read_ahead(batches, 0, len(batches))` of `evaluation_batches`. Each process brings its
            own part of each batch.
        num_classes: k, by name where the net has several outputs; labels and result are too then.
        mesh: devices to use, with axes `data` (images) and `space` (rows); None is one device.
        progress: called after each batch with the number of batches and the matrix so far.

    Returns:
        int64 (k, k), by name where `num_classes` is: entry (i, j) is the number of pixels of true
        class i predicted as j, for `fcn_jax.metrics.score`.

    Raises:
        ValueError: if a batch lacks an entry, a label is neither a class nor 255, or the network
            has not `num_classes` classes.
    """
    classes = _classes(num_classes)
    total = jax.tree.map(lambda k: np.zeros((k, k), np.int64), classes)
    if mesh is not None:
        variables = jax.device_put(variables, NamedSharding(mesh, PartitionSpec()))
    else:
        variables = jax.tree.map(jnp.asarray, variables)

    def add(number: int, counts: Any) -> None:
        nonlocal total
        total = jax.tree.map(lambda sums, new: sums + np.asarray(new, np.int64), total, counts)
        if progress is not None:
            progress(number, jax.tree.map(np.copy, total))

    pending, number = None, 0
    for number, batch in enumerate(batches, start=1):
        images, labels, sizes = _placed(batch, number, classes, mesh)
        static = FrozenDict(classes) if isinstance(classes, dict) else classes
        counts = _count(net, preprocess, static, mesh, variables, images, labels, sizes)
        if pending is not None:
            add(number - 1, pending)
        pending = counts
    if pending is not None:
        add(number, pending)
    return total


@functools.partial(jit, static_argnames=("net", "preprocess", "num_classes", "mesh"))
def _count(
    net: nn.Module,
    preprocess: Preprocess,
    num_classes: int | FrozenDict,
    mesh: Mesh | None,
    variables: Any,
    images: Any,
    labels: Any,
    sizes: Int[Array, "b 2"],
) -> Any:
    """The int32 confusion matrix of one batch, for each output."""

    def count(k: int, labels: Array, scores: Any) -> Array:
        if scores.shape != (*labels.shape, k):
            raise ValueError(
                f"evaluate: expected scores {(*labels.shape, k)} for labels of {k} classes, found "
                f"{scores.shape}. Give the network and the data set the same number of classes."
            )

        def of_rows(scores: Array, labels: Array) -> Array:
            return confusion_matrix(labels, jnp.argmax(scores, axis=-1), k)

        counts = sum_over_tiles(of_rows, scores, labels)
        if mesh is None:
            return counts
        return jax.lax.with_sharding_constraint(counts, NamedSharding(mesh, PartitionSpec()))

    images = spread_rows(mesh, preprocess(images, sizes))
    with use_for_rows(spreads_rows(mesh)):
        scores = scores_of(net, variables, images, sizes=sizes)
    scores, labels = spread_rows(mesh, (scores, labels))
    return jax.tree.map(count, _classes(num_classes), labels, scores)


def _classes(num_classes: int | Mapping[str, int]) -> Any:
    return dict(num_classes) if isinstance(num_classes, Mapping) else num_classes


def _placed(batch: Mapping[str, Any], number: int, num_classes: Any, mesh: Mesh | None) -> Any:
    """Images, labels and sizes of a checked batch, on their devices."""
    missing = [key for key in ("image", "label", "size") if key not in batch]
    if missing:
        raise ValueError(
            f"evaluate: batch {number} has entries {sorted(batch)}; expected also {missing}."
        )

    def check(k: int, label: np.ndarray) -> None:
        unknown = np.unique(label[(label >= k) & (label != IGNORE)])
        if unknown.size:
            raise ValueError(
                f"evaluate: batch {number} has labels {unknown.tolist()}; expected "
                f"0..{k - 1} or 255 (ignored). Check num_classes, or map the labels."
            )

    jax.tree.map(check, num_classes, batch["label"])
    parts = {key: batch[key] for key in ("image", "label", "size")}
    return tuple((parts if mesh is None else shard_batch(mesh, parts)).values())
