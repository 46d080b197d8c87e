"""From a file of other people's weights to one of ours: `python -m fcn_jax convert`."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import jax

from fcn_jax.nets.fcn import Classifier
from fcn_jax.nets.inputs import placeholder
from fcn_jax.preprocessing import Inputs
from fcn_jax.weights import surgery
from fcn_jax.weights.foreign.caffe import read_caffe
from fcn_jax.weights.foreign.caffe_npz import read_caffe_npz
from fcn_jax.weights.foreign.export import arrays_by_layer
from fcn_jax.weights.foreign.imported import Imported, Reader
from fcn_jax.weights.foreign.pytorch_fcn import read_pytorch_fcn
from fcn_jax.weights.foreign.torchvision import read_torchvision
from fcn_jax.weights.weights_file import Metadata, save_weights, sha256

KINDS: Mapping[str, Reader] = MappingProxyType(
    {
        "caffe": read_caffe,
        "caffe_npz": read_caffe_npz,
        "pytorch_fcn": read_pytorch_fcn,
        "torchvision": read_torchvision,
    }
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
        notes: what of the source was left out and why, a line each.
    """

    target: Path
    metadata: Metadata
    layers: int
    parameters: int
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Lines for the terminal."""
        about = self.metadata
        first = (
            f"{self.target}: {about.architecture}, {about.num_classes} classes, {self.layers}"
            f" layers, {self.parameters:,} parameters, from {about.source}"
        )
        return "\n".join([first, *(f"  left out: {note}" for note in self.notes)])


def convert(
    kind: str,
    source: Path,
    target: Path,
    net: nn.Module | None = None,
    preprocessing: Inputs | None = None,
) -> Conversion:
    """Reads a file of weights and writes it as the variables of a net.

    Args:
        kind: a key of `KINDS`.
        source: the file to read; never executed, never unpickled.
        target: the `.safetensors` to write, whole or not at all.
        net: the FCN that the file is for; None for a classifier, which the file itself tells.
        preprocessing: what the net's first layer expects; None where the kind or the file knows
            it (for Caffe's FCNs, VOC's mean).

    Returns:
        What was written, and what was left out.

    Raises:
        ValueError: an unknown kind, or a file that is not of that kind, not complete, or not for
            that net; the file is named.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}; found {kind!r}. Choose one.")
    source = Path(source)
    try:
        imported = KINDS[kind](source, net)
        # 224 is the crop of ImageNet's classifiers; parameters do not depend on it.
        images = placeholder(imported.net, (1, 224, 224))
        shapes = jax.eval_shape(imported.net.init, jax.random.key(0), images)
        variables = surgery.load_blobs(shapes, imported.blobs)
    except ValueError as error:
        if str(source) in str(error):
            raise
        raise ValueError(f"{source}: {error}") from error
    metadata = _about(imported, source, preprocessing)
    layers = arrays_by_layer(variables)
    notes = [f"{b}: bilinear, a constant here" for b in imported.blobs if b not in layers]
    save_weights(target, variables, metadata)
    return Conversion(
        target=Path(target),
        metadata=metadata,
        layers=len(layers),
        parameters=sum(array.size for array in jax.tree.leaves(variables)),
        notes=imported.notes + tuple(notes),
    )


def _about(imported: Imported, source: Path, preprocessing: Inputs | None) -> Metadata:
    """What the file will say about itself."""
    net: Any = imported.net
    whole = not isinstance(net, Classifier)
    classes = net.num_classes
    return Metadata(
        architecture=type(net if whole else net.trunk).__name__,
        num_classes=dict(classes) if isinstance(classes, Mapping) else classes,
        preprocessing=preprocessing or imported.preprocessing,
        source=imported.source,
        source_sha256=sha256(source),
        net=_text(net) if whole else "",
    )


def _text(value: Any) -> str:
    """A module as one line, the fields that are not their defaults."""
    if isinstance(value, nn.Module):
        fields = [f for f in dataclasses.fields(value) if f.name not in ("parent", "name")]
        texts = [
            f"{f.name}={_text(getattr(value, f.name))}"
            for f in fields
            if getattr(value, f.name) != f.default
        ]
        return f"{type(value).__name__}({', '.join(texts)})"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k!r}: {_text(v)}" for k, v in value.items()) + "}"
    return value.__name__ if isinstance(value, type) else repr(value)
