"""The confusion matrix of a network over a whole split."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, Int64, Integer, UInt8

from fcn_jax.compiling import jit
from fcn_jax.inference.predictor import Preprocess, dense_scores
from fcn_jax.metrics import confusion_matrix

Progress = Callable[[int, np.ndarray], None]
"""Called with the number of batches counted so far and a copy of their int64 (k, k) matrix."""


def evaluate(
    net: nn.Module,
    variables: Any,
    preprocess: Preprocess,
    batches: Iterable[Mapping[str, Integer[np.ndarray, "..."]]],
    num_classes: int,
    *,
    mesh: Mesh | None = None,
    progress: Progress | None = None,
) -> Int64[np.ndarray, "{num_classes} {num_classes}"]:
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
        num_classes: k.
        mesh: devices to use, with axes `data` (images) and `space` (rows); None is one device.
        progress: called after each batch with the number of batches and the matrix so far.

    Returns:
        int64 (k, k): entry (i, j) is the number of pixels of true class i predicted as j, for
        `fcn_jax.metrics.score`.

    Raises:
        ValueError: if a batch lacks an entry, a label is neither a class nor 255, or the network
            has not `num_classes` classes.
    """
    total = np.zeros((num_classes, num_classes), np.int64)
    if mesh is not None:
        replicated = NamedSharding(mesh, PartitionSpec())
        variables = jax.device_put(variables, replicated)
    else:
        replicated, variables = None, jax.tree.map(jnp.asarray, variables)

    def add(number: int, counts: Array) -> None:
        total[...] += np.asarray(counts, np.int64)
        if progress is not None:
            progress(number, total.copy())

    pending, number = None, 0
    for number, batch in enumerate(batches, start=1):
        images, labels, sizes = _placed(batch, number, num_classes, mesh)
        counts = _count(net, preprocess, num_classes, replicated, variables, images, labels, sizes)
        if pending is not None:
            add(number - 1, pending)
        pending = counts
    if pending is not None:
        add(number, pending)
    return total


@functools.partial(jit, static_argnames=("net", "preprocess", "num_classes", "replicated"))
def _count(
    net: nn.Module,
    preprocess: Preprocess,
    num_classes: int,
    replicated: NamedSharding | None,
    variables: Any,
    images: UInt8[Array, "b h w 3"],
    labels: UInt8[Array, "b h w"],
    sizes: Int[Array, "b 2"],
) -> Int[Array, "k k"]:
    """The int32 confusion matrix of one batch."""
    scores = dense_scores(net, preprocess, variables, images, sizes)
    if scores.shape != (*labels.shape, num_classes):
        raise ValueError(
            f"evaluate: expected scores {(*labels.shape, num_classes)} for labels of "
            f"{num_classes} classes, found {scores.shape}. Give the network and the data set the "
            "same number of classes."
        )
    counts = confusion_matrix(labels, jnp.argmax(scores, axis=-1), num_classes)
    return counts if replicated is None else jax.lax.with_sharding_constraint(counts, replicated)


def _placed(
    batch: Mapping[str, np.ndarray], number: int, num_classes: int, mesh: Mesh | None
) -> Sequence[Array | np.ndarray]:
    """Images, labels and sizes of a checked batch, on their devices."""
    missing = [key for key in ("image", "label", "size") if key not in batch]
    if missing:
        raise ValueError(
            f"evaluate: batch {number} has entries {sorted(batch)}; expected also {missing}."
        )
    label = np.asarray(batch["label"])
    unknown = np.unique(label[(label >= num_classes) & (label != 255)])
    if unknown.size:
        raise ValueError(
            f"evaluate: batch {number} has labels {unknown.tolist()}; expected "
            f"0..{num_classes - 1} or 255 (ignored). Check num_classes, or map the labels."
        )
    parts = [np.asarray(batch["image"]), label, np.asarray(batch["size"])]
    if mesh is None:
        return parts
    rows = "space" if "space" in mesh.axis_names else None
    specs = [PartitionSpec("data", rows), PartitionSpec("data", rows), PartitionSpec("data")]
    return [
        jax.make_array_from_process_local_data(NamedSharding(mesh, spec), part)
        for spec, part in zip(specs, parts, strict=True)
    ]
