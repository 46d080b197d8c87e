"""Converts a file of foreign weights to one of ours: `python -m fcn_jax convert`."""

import dataclasses
import enum
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
from flax import traverse_util

from fcn_jax.atomic import AnyPath
from fcn_jax.nets.fcn import Classifier
from fcn_jax.nets.inputs import placeholder
from fcn_jax.preprocessing import AnyPreprocessing
from fcn_jax.weights import surgery
from fcn_jax.weights.foreign.caffe import read_caffe, read_caffe_npz
from fcn_jax.weights.foreign.efficientnet_lite import read_efficientnet_lite
from fcn_jax.weights.foreign.imported import Imported
from fcn_jax.weights.foreign.pytorch_fcn import read_pytorch_fcn
from fcn_jax.weights.foreign.torch_nets import read_smp, read_timm
from fcn_jax.weights.foreign.torchvision import read_torchvision
from fcn_jax.weights.memory_map import check_exists
from fcn_jax.weights.weights_file import Metadata, save_weights, sha256

KINDS: Mapping[str, Callable[[Path, nn.Module | None], Imported]] = {
    "caffe": read_caffe,
    "caffe_npz": read_caffe_npz,
    "efficientnet_lite": read_efficientnet_lite,
    "pytorch_fcn": read_pytorch_fcn,
    "smp": read_smp,
    "timm": read_timm,
    "torchvision": read_torchvision,
}
"""What can be converted, and what reads it: for a net, or for None the classifier in the file."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conversion:
    """What was written.

    Attributes:
        target: the file.
        metadata: what the file says about itself.
        layers: how many layers it holds.
        parameters: how many numbers it holds.
        notes: what of the source was left out and why, a line each.
        remarks: what a user should know, such as the licence, a line each.
    """

    target: Path
    metadata: Metadata
    layers: int
    parameters: int
    notes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Lines for the terminal."""
        about = self.metadata
        first = (
            f"{self.target}: {about.architecture}, {about.num_classes} classes, {self.layers}"
            f" layers, {self.parameters:,} parameters, from {about.source}"
        )
        left_out = (f"  left out: {note}" for note in self.notes)
        return "\n".join([first, *left_out, *(f"  {remark}" for remark in self.remarks)])


def convert(
    kind: str,
    source: AnyPath,
    target: AnyPath,
    net: nn.Module | None = None,
    preprocessing: AnyPreprocessing | None = None,
    class_names: Any = (),
) -> Conversion:
    """Reads a file of weights and writes it as the variables of a net.

    Args:
        kind: a key of `KINDS`.
        source: the file to read; it is never executed or unpickled.
        target: the `.safetensors` to write, completely or not at all.
        net: the FCN that the file is for; None for a classifier, which the file names itself.
        preprocessing: what the net's first layer expects; None if the kind or the file knows it
            (for Caffe's FCNs, VOC's mean).
        class_names: a name for each class, by output's name if the net has several; empty if they
            are not known.

    Returns:
        What was written, and what was left out.

    Raises:
        ValueError: an unknown kind, or a file that is not of that kind, not complete, not for that
            net, or not the one that the hash in its name belongs to; the message names the file.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}; found {kind!r}. Choose one.")
    source, target = Path(source), Path(target)
    check_exists(source)
    digest = sha256(source)
    check_hash_in_name(source, digest)
    try:
        imported = KINDS[kind](source, net)
        variables = imported.variables
        if variables is None:
            # 224 is the crop of ImageNet's classifiers; parameters do not depend on it.
            images = placeholder(imported.net, (1, 224, 224))
            shapes = jax.eval_shape(imported.net.init, jax.random.key(0), images)
            variables = surgery.load_blobs(shapes, imported.blobs)
    except ValueError as error:
        if str(source) in str(error):
            raise
        raise ValueError(f"{source}: {error}") from error
    metadata = _metadata(imported, digest, preprocessing, class_names)
    layers = {surgery.layer_name(path) for path in traverse_util.flatten_dict(variables)}
    constants = [f"{b}: bilinear, a constant here" for b in imported.blobs if b not in layers]
    save_weights(target, variables, metadata)
    return Conversion(
        target=target,
        metadata=metadata,
        layers=len(layers),
        parameters=sum(array.size for array in jax.tree.leaves(variables)),
        notes=(*imported.notes, *constants),
        remarks=imported.remarks,
    )


def check_hash_in_name(path: Path, digest: str) -> None:
    """Raises ValueError if a name such as `vgg16-397923af.pth` has the hash of another file.

    8 or more hexadecimal digits after the last dash are the start of the file's SHA-256, `digest`.

    Source: pytorch/pytorch torch/hub.py (`check_hash` of `load_state_dict_from_url`).
    """
    named = re.search(r"-([0-9a-f]{8,64})$", path.stem)
    if named and not digest.startswith(named[1]):
        raise ValueError(
            f"{path}: expected a sha256 that begins with {named[1]}, as in the file's name; found"
            f" {digest[: len(named[1])]}. Download the file again, or rename it if it was changed"
            " on purpose or if these digits are not a hash."
        )


def _metadata(
    imported: Imported, digest: str, preprocessing: AnyPreprocessing | None, class_names: Any
) -> Metadata:
    """What the file will say about itself."""
    net: Any = imported.net
    is_classifier = isinstance(net, Classifier)
    classes = net.num_classes
    return Metadata(
        architecture=type(net.trunk if is_classifier else net).__name__,
        num_classes=dict(classes) if isinstance(classes, Mapping) else classes,
        preprocessing=preprocessing or imported.preprocessing,
        source=imported.source,
        source_sha256=digest,
        net="" if is_classifier and imported.variables is None else _as_text(net),
        class_names=class_names or imported.class_names,
    )


def _as_text(value: Any) -> str:
    """A module as one line, without the fields that have their default."""
    if isinstance(value, nn.Module):
        fields = [f for f in dataclasses.fields(value) if f.name not in ("parent", "name")]
        texts = [
            f"{f.name}={_as_text(getattr(value, f.name))}"
            for f in fields
            if getattr(value, f.name) != f.default
        ]
        return f"{type(value).__name__}({', '.join(texts)})"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k!r}: {_as_text(v)}" for k, v in value.items()) + "}"
    if isinstance(value, enum.Enum):
        return repr(value.name)
    return value.__name__ if isinstance(value, type) else repr(value)
