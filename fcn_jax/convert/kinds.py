"""From a file of other people's weights to one of ours: `python -m fcn_jax convert`."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import jax
import jax.numpy as jnp

from fcn_jax.convert.caffe_npz import read_caffe_npz
from fcn_jax.convert.imported import Reader
from fcn_jax.convert.torchvision import read_torchvision
from fcn_jax.convert.weights_file import Metadata, save_weights, sha256
from fcn_jax.fcn import Classifier
from fcn_jax.surgery import load_blobs

KINDS: Mapping[str, Reader] = MappingProxyType(
    {"caffe_npz": read_caffe_npz, "torchvision": read_torchvision}
)
"""What can be converted, and what reads it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conversion:
    """What was written.

    Attributes:
        target: the file.
        metadata: what the file says about itself.
        layers: how many layers it holds.
        parameters: how many numbers it holds.
    """

    target: Path
    metadata: Metadata
    layers: int
    parameters: int

    def __str__(self) -> str:
        """A line for the terminal."""
        about = self.metadata
        return (
            f"{self.target}: {about.architecture}, {about.num_classes} classes, {self.layers}"
            f" layers, {self.parameters:,} parameters, from {about.source}"
        )


def convert(kind: str, source: Path, target: Path) -> Conversion:
    """Reads a file of weights and writes it as the variables of `Classifier(trunk)`.

    Args:
        kind: a key of `KINDS`.
        source: the file to read; never executed, never unpickled.
        target: the `.safetensors` to write, whole or not at all.

    Returns:
        What was written.

    Raises:
        ValueError: an unknown kind, or a file that is not of that kind or not complete.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}; found {kind!r}. Choose one.")
    imported = KINDS[kind](source)
    last = imported.trunk.classifier.layer
    num_classes = int(imported.blobs[last][1].size)
    net = Classifier(trunk=imported.trunk, num_classes=num_classes)
    # 224 is the crop of ImageNet's classifiers; parameters do not depend on it.
    images = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    shapes = jax.eval_shape(net.init, jax.random.key(0), images)
    variables = load_blobs(shapes, imported.blobs)
    metadata = Metadata(
        architecture=type(imported.trunk).__name__,
        num_classes=num_classes,
        preprocessing=imported.preprocessing,
        source=imported.source,
        source_sha256=sha256(source),
    )
    save_weights(target, variables, metadata)
    return Conversion(
        target=Path(target),
        metadata=metadata,
        layers=len(imported.blobs),
        parameters=sum(array.size for array in jax.tree.leaves(variables)),
    )
