"""What every reader of foreign weights returns, and the checks that the readers share."""

import dataclasses
from pathlib import Path
from typing import Any

import flax.linen as nn
import numpy as np

from fcn_jax.nets.fcn import Classifier
from fcn_jax.nets.trunks import Ending
from fcn_jax.preprocessing import AnyPreprocessing
from fcn_jax.weights.layouts import Arrays, Blobs


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Imported:
    """A net's weights in Caffe's layout, with our names and our input convention.

    Attributes:
        net: the net that they are for.
        blobs: kernel and bias of each layer, as `surgery.load_blobs` takes them.
        preprocessing: what the net's first layer expects.
        source: where the weights are from, for people.
        variables: the net's variables, from formats that have more than kernels and biases; `blobs`
            is empty then.
        notes: what else the file held and why that was left out, a line each.
        class_names: a name for each class, where the publisher gives them.
        remarks: what a user should know, such as the licence, a line each.
    """

    net: nn.Module
    blobs: Blobs
    preprocessing: AnyPreprocessing
    source: str
    variables: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def classifier(trunk: nn.Module, blobs: Blobs) -> Classifier:
    """The classifier of a trunk, with as many classes as the blobs of its last layer."""
    ending = getattr(trunk, "classifier", Ending())
    return Classifier(trunk=trunk, num_classes=outputs(blobs[ending.layer]))


def check_no_net(net: nn.Module | None, path: Path) -> None:
    """Raises ValueError if a net was named for a file that says itself which net it holds."""
    if net is not None:
        raise ValueError(
            f"{path} holds a classifier and says which; leave the net out. An FCN takes its trunk"
            " from the converted file: --init, or `FromWeights` in a recipe."
        )


def outputs(blobs: list[np.ndarray]) -> int:
    """Output channels of a layer, from its bias.

    Raises:
        ValueError: it has no bias.
    """
    if len(blobs) != 2:
        raise ValueError(f"expected a kernel and a bias, found {[np.shape(b) for b in blobs]}")
    return int(np.size(blobs[1]))


def take(arrays: Arrays, name: str, path: Path) -> np.ndarray:
    """Removes an array and returns it, so that `arrays` ends with those that no layer uses.

    Raises:
        ValueError: there is no such array; the message says what the file has instead.
    """
    if name not in arrays:
        raise ValueError(
            f"{path} lacks {name}; what is left of it is {', '.join(sorted(arrays)) or 'nothing'}."
            " Check that it is of the kind that was named."
        )
    return arrays.pop(name)


def take_layers(arrays: Arrays, names: dict[str, str], parts: tuple[str, str], path: Path) -> Blobs:
    """Takes kernel and bias of each layer; `names` are the file's by ours, `parts` its endings."""
    return {
        layer: [take(arrays, name + part, path) for part in parts] for layer, name in names.items()
    }


def pair_up(arrays: Arrays, parts: tuple[str, str], path: Path) -> Blobs:
    """Blobs by layer, from arrays such as `fire2.squeeze1x1.weight`.

    Args:
        arrays: all arrays of the file.
        parts: endings of a kernel's name and a bias's, with separator: `(".weight", ".bias")`.
        path: the file.

    Raises:
        ValueError: an array has another name, or is a bias without a kernel.
    """
    blobs: Blobs = {}
    for name in sorted(arrays, reverse=True):  # "w" before "b"
        part = next((part for part in parts if name.endswith(part)), "")
        layer = name.removesuffix(part).replace(parts[0][0], "/")
        if not part or (part == parts[1] and layer not in blobs):
            raise ValueError(
                f"{path} has {name}; expected LAYER{parts[0]} and LAYER{parts[1]}, in Caffe's"
                " layout. Choose a file of the kind that was named."
            )
        blobs.setdefault(layer, []).append(arrays[name])
    return blobs


def check_empty(arrays: Arrays, path: Path) -> None:
    """Raises ValueError if a file held more arrays than were taken."""
    if arrays:
        raise ValueError(
            f"{path} also has {', '.join(sorted(arrays))}, which this net lacks. Check that it"
            " is of the kind that was named."
        )


def check_finite(blobs: Blobs, path: Path) -> None:
    """Raises ValueError if an array holds NaN, infinity or text."""

    def finite(array: np.ndarray) -> bool:
        return array.dtype.kind != "U" and bool(np.isfinite(array).all())

    if bad := [layer for layer, arrays in blobs.items() if not all(map(finite, arrays))]:
        raise ValueError(
            f"{path} holds values that are not finite numbers in {', '.join(bad)}. Choose one with"
            " all layers: VGG16 IMAGENET1K_FEATURES of torchvision, for example, has no classifier."
        )
