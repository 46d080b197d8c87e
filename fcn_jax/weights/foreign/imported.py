"""Other people's weights on their way into a net."""

import dataclasses
import re
import zipfile
import zlib
from collections.abc import Callable
from math import prod
from pathlib import Path

import flax.linen as nn
import numpy as np

from fcn_jax.nets.fcn import Classifier
from fcn_jax.nets.trunks import Ending
from fcn_jax.preprocessing import Inputs
from fcn_jax.weights.mapped import archive_of, check_there, mapped

Blobs = dict[str, list[np.ndarray]]
Arrays = dict[str, np.ndarray]

DEFLATE = 1032
"""No compressed entry of an archive grows by more. Source: zlib's technical details."""
NPY = re.compile(
    rb"\x93NUMPY(?:\x01\x00..|[\x02\x03]\x00....)"  # version, length of what follows
    rb"\{'descr': '(?P<dtype>[<>|](?:f[248]|[iu][1248]|b1|U\d{1,6}))',"
    rb" 'fortran_order': (?P<by_columns>True|False),"
    rb" 'shape': \((?P<shape>[\d, ]{,200})\), \} *\n",
    re.DOTALL,
)
"""The beginning of an array on disk. Source: numpy.lib.format; its own reader of this text raises
other errors than ValueError where it is damaged."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Imported:
    """A net's weights in Caffe's layout, our names and our input convention.

    Attributes:
        net: the net that they are for.
        blobs: kernel and bias of each layer, as `surgery.load_blobs` takes them.
        preprocessing: what its first layer expects.
        source: where the weights are from, in words.
        notes: what else the file held and why that was left out, a line each.
    """

    net: nn.Module
    blobs: Blobs
    preprocessing: Inputs
    source: str
    notes: tuple[str, ...] = ()


def classifier(trunk: nn.Module, blobs: Blobs) -> Classifier:
    """The classifier of a trunk, with as many classes as its last layer has blobs for."""
    ending = getattr(trunk, "classifier", Ending())
    return Classifier(trunk=trunk, num_classes=outputs(blobs[ending.layer]))


def no_net(net: nn.Module | None, path: Path) -> None:
    """Raises ValueError where a net was named for a file that says itself which it is for."""
    if net is not None:
        raise ValueError(
            f"{path} holds a classifier, and says itself which; leave the net out. An FCN takes its"
            " trunk from the converted file: --init, or `FromWeights` in a recipe."
        )


def outputs(blobs: list[np.ndarray]) -> int:
    """Channels that a layer gives, from its bias.

    Raises:
        ValueError: it has none.
    """
    if len(blobs) != 2:
        raise ValueError(f"expected a kernel and a bias, found {[np.shape(b) for b in blobs]}")
    return int(np.size(blobs[1]))


def read_npz(path: Path) -> Arrays:
    """All arrays of an `.npz` of plain arrays.

    Raises:
        ValueError: the file is missing, damaged, of another kind, or holds Python objects.
    """
    check_there(path)
    try:
        content = mapped(path)
        with archive_of(content) as archive:
            return {
                info.filename.removesuffix(".npy"): _read_array(archive, info, len(content))
                for info in archive.infolist()
            }
    except (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{path} is no complete .npz of plain arrays ({error}). Export it again."
        ) from error


def _read_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, size: int) -> np.ndarray:
    """One array; refused before memory is taken where the file cannot hold as much as it says."""
    plain = info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # as numpy writes
    if not plain or info.file_size > DEFLATE * size:
        raise ValueError(f"{info.filename[:100]}: {info.file_size} bytes in {size}")
    content = archive.read(info)
    head = NPY.match(content)
    if not head:
        raise ValueError(
            f"{info.filename[:100]} is no plain array of numbers or text; with Python objects"
            " (allow_pickle) it is never read"
        )
    dtype = np.dtype(head["dtype"].decode())
    shape = tuple(map(int, re.findall(rb"\d+", head["shape"])))
    length = len(content) - head.end()
    if prod(shape) * dtype.itemsize != length or max(shape, default=0) > length:
        raise ValueError(f"{info.filename[:100]}: {shape} {dtype} in {length} bytes")
    flat = np.frombuffer(content, dtype, offset=head.end())
    return flat.reshape(shape, order="F" if head["by_columns"] == b"True" else "C")


def take(arrays: Arrays, name: str, path: Path) -> np.ndarray:
    """One array by name, or a ValueError that says what the file has instead.

    What is taken is gone from `arrays`: what is left in the end belongs to another net.
    """
    if name not in arrays:
        raise ValueError(
            f"{path} lacks {name}; what is left of it is {', '.join(sorted(arrays)) or 'nothing'}."
            " Check that it is of the kind that was named."
        )
    return arrays.pop(name)


def check_empty(arrays: Arrays, path: Path) -> None:
    """Raises ValueError where a file held more than was taken."""
    if arrays:
        raise ValueError(
            f"{path} also has {', '.join(sorted(arrays))}, which this net lacks. Check that it"
            " is of the kind that was named."
        )


def layers_of(arrays: Arrays, names: dict[str, tuple[str, str]], path: Path) -> Blobs:
    """Blobs by our names; `names` says what kernel and bias of each layer are called."""
    return {
        layer: [take(arrays, kernel, path), take(arrays, bias, path)]
        for layer, (kernel, bias) in names.items()
    }


def check_finite(blobs: Blobs, path: Path) -> None:
    """Raises ValueError where an array holds NaN or infinity."""
    bad = [layer for layer, arrays in blobs.items() if not all(map(_finite, arrays))]
    if bad:
        raise ValueError(
            f"{path} holds numbers that are not finite in {', '.join(bad)}. Some published files"
            " hold features only, without a classifier (VGG16 IMAGENET1K_FEATURES of torchvision"
            " is one); choose one with all layers."
        )


def _finite(array: np.ndarray) -> bool:
    return bool(np.isfinite(array).all())


Reader = Callable[[Path, nn.Module | None], Imported]
"""Reads a file for a net, or for the classifier that the file itself speaks of."""
