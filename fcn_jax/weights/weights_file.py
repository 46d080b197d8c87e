"""Reads and writes our weights files: `.safetensors`, arrays by path, and metadata as JSON.

Never pickle: reading a weights file runs no code.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from flax import traverse_util

from fcn_jax.atomic import AnyPath, write_atomically
from fcn_jax.preprocessing import AnyPreprocessing, ByInput, LogDepth, from_description
from fcn_jax.weights.layouts import Arrays
from fcn_jax.weights.memory_map import reading

FORMAT = "fcn_jax weights 1"
TYPES = frozenset("BOOL U8 I8 U16 I16 U32 I32 U64 I64 F16 BF16 F32 F64".split())
"""The types of numbers that numpy has too, as safetensors calls them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metadata:
    """What a weights file says about itself.

    Attributes:
        architecture: the net, such as "VGG16" for this classifier, or "FCN".
        num_classes: channels of its last layer, by name if it has several.
        preprocessing: what its first layer expects.
        source: where the weights are from, for people.
        source_sha256: checksum of the file they were read from, or "".
        net: the whole net as text, or "" for a classifier.
        class_names: a name for each class, by output's name if it has several; empty if unknown.
    """

    architecture: str
    num_classes: int | dict[str, int]
    preprocessing: AnyPreprocessing
    source: str
    source_sha256: str = ""
    net: str = ""
    class_names: Any = ()


def save_weights(path: AnyPath, variables: Mapping[str, Any], metadata: Metadata) -> None:
    """Writes variables to a file, completely or not at all.

    Args:
        path: a name ending in `.safetensors`.
        variables: `{"params": {...}}`, with other collections if the net has any.
        metadata: what the file says about them.

    Raises:
        ValueError: the name ends differently, or there are no arrays.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"weights are written as .safetensors; found {path}. Choose another name.")
    flat = traverse_util.flatten_dict(variables, sep="/")
    if not flat:
        raise ValueError(f"there are no arrays to write to {path}. Pass the net's variables.")
    # safetensors writes the memory of an array and ignores its strides.
    arrays = {name: np.ascontiguousarray(value, np.float32) for name, value in flat.items()}
    # One entry only: safetensors keeps no order of entries, and equal weights are equal files.
    fields = {"format": FORMAT, **dataclasses.asdict(metadata)}
    fields["preprocessing"] = describe_preprocessing(metadata.preprocessing)
    for optional in ("net", "class_names"):
        if not fields[optional]:
            del fields[optional]
    write_atomically(path, lambda part: write_safetensors(part, arrays, json.dumps(fields)))


def write_safetensors(path: AnyPath, arrays: Arrays, text: str) -> None:
    """Writes contiguous arrays without copying them, and a text under `fcn_jax`."""
    path = Path(path)
    path.touch()
    mode = path.stat().st_mode
    safetensors.numpy.save_file(arrays, path, {"fcn_jax": text})
    path.chmod(mode)  # safetensors lets only the owner read its files


def load_weights(
    path: AnyPath, *, architecture: str | None = None
) -> tuple[dict[str, Any], Metadata]:
    """Reads what `save_weights` wrote.

    Args:
        path: the file.
        architecture: what it must be for, or None for anything.

    Returns:
        Variables, `{"params": {"trunk": {"conv1_1": {"kernel": ...}}}}`, float32 numpy arrays, as
        `surgery.transplant` takes them; and the metadata.

    Raises:
        ValueError: there is no such file, it is damaged or of another kind, or it is for another
            architecture.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no weights file {path}. weights/README.md says how to make it.")
    flat, text = read_safetensors(path)
    fields = json_object(text)
    found = fields.pop("format", None)
    if found != FORMAT:
        raise ValueError(
            f"{path} was not written by fcn_jax: expected format {FORMAT!r}, found {found!r}."
            " Convert it with `python -m fcn_jax convert`."
        )
    with reading(path, "weights of fcn_jax", "Make or copy it again."):
        _check_arrays(flat)
        preprocessing = read_preprocessing(fields.pop("preprocessing"))
        names = fields.pop("class_names", ())
        names = {k: tuple(v) for k, v in names.items()} if isinstance(names, dict) else tuple(names)
        metadata = Metadata(preprocessing=preprocessing, class_names=names, **fields)
        variables = traverse_util.unflatten_dict(flat, sep="/")
    if architecture not in (None, metadata.architecture):
        raise ValueError(
            f"{path} holds weights of {metadata.architecture}; expected {architecture}."
            " Choose the file that belongs to the trunk."
        )
    return variables, metadata


def read_safetensors(path: AnyPath) -> tuple[Arrays, str]:
    """All arrays of a `.safetensors` file, and the text under `fcn_jax`, or "".

    Raises:
        ValueError: the file is missing, damaged or of another kind.
    """
    with reading(Path(path), "a .safetensors file", "Make or copy it again."):
        with safetensors.safe_open(path, framework="np") as file:
            text, names = (file.metadata() or {}).get("fcn_jax", ""), list(file.keys())
            for name in names:
                if (found := file.get_slice(name).get_dtype()) not in TYPES:
                    raise ValueError(f"{name} has numbers of the type {found}, which is not read")
            return {name: file.get_tensor(name) for name in names}, text


def _check_arrays(flat: Arrays) -> None:
    """Raises ValueError for arrays that no net has: of clashing names, or not finite numbers."""
    for name, array in flat.items():
        above = name.split("/")[:-1]
        if clash := {"/".join(above[: n + 1]) for n in range(len(above))} & flat.keys():
            raise ValueError(f"{clash.pop()} is an array, and {name} lies below it")
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise ValueError(f"{name} holds numbers of the type {array.dtype}, not float32")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds values that are not finite numbers")


def json_object(text: str) -> dict[str, Any]:
    """The JSON object that a text holds; an empty one if the text is anything else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def describe_preprocessing(value: AnyPreprocessing) -> dict[str, Any]:
    """A preprocessing as JSON, without its class if it is a `Preprocessing`."""
    if isinstance(value, ByInput):
        inputs = {
            name: {"class": type(part).__name__, **describe_preprocessing(part)}
            for name, part in value.inputs.items()
        }
        return {"class": "ByInput", "inputs": inputs}
    kind = {"class": "LogDepth"} if isinstance(value, LogDepth) else {}
    return kind | dataclasses.asdict(value)


def read_preprocessing(described: Mapping[str, Any]) -> AnyPreprocessing:
    """What `describe_preprocessing` wrote."""
    return from_description({"class": "Preprocessing", **described})


def sha256(path: AnyPath) -> str:
    """Checksum of a file, as `sha256sum` prints it."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
