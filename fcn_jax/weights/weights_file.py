"""Weights on disk: `.safetensors`, arrays by path and a few lines about where they are from.

Never pickle: reading a weights file runs no code.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from flax import traverse_util

from fcn_jax.atomic import write_atomically
from fcn_jax.preprocessing import ByInput, Inputs, LogDepth, from_description
from fcn_jax.weights.mapped import check_there

FORMAT = "fcn_jax weights 1"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metadata:
    """What a weights file says about itself.

    Attributes:
        architecture: the net, such as "VGG16" for this classifier, or "FCN".
        num_classes: channels of its last layer, by name where it has several.
        preprocessing: what its first layer expects.
        source: where the weights are from, in words.
        source_sha256: checksum of the file they were read from, or "".
        net: the whole net as text, or "" for a classifier.
    """

    architecture: str
    num_classes: int | dict[str, int]
    preprocessing: Inputs
    source: str
    source_sha256: str = ""
    net: str = ""


def save_weights(path: Path, variables: Mapping[str, Any], metadata: Metadata) -> None:
    """Writes variables to `path`, which holds either all of them or what it held before.

    Args:
        path: a name ending in `.safetensors`.
        variables: `{"params": {...}}`, with other collections if the net has any.
        metadata: what to say about them.

    Raises:
        ValueError: the name ends differently, or there are no arrays.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"weights are written as .safetensors; found {path}. Choose another name.")
    flat = traverse_util.flatten_dict(variables, sep="/")
    if not flat:
        raise ValueError(f"there are no arrays to write to {path}. Pass the net's variables.")
    # safetensors writes memory as it lies, whatever the strides.
    arrays = {name: np.ascontiguousarray(value, np.float32) for name, value in flat.items()}
    # One entry only: safetensors keeps no order of entries, and equal weights are equal files.
    about = {"format": FORMAT, **dataclasses.asdict(metadata)}
    about["preprocessing"] = describe_preprocessing(metadata.preprocessing)
    if not metadata.net:
        del about["net"]
    write_atomically(path, lambda part: write_safetensors(part, arrays, json.dumps(about)))


def write_safetensors(path: Path, arrays: dict[str, np.ndarray], text: str) -> None:
    """Writes contiguous arrays, without another copy of them, and a text under `fcn_jax`."""
    path.touch()
    mode = path.stat().st_mode
    safetensors.numpy.save_file(arrays, path, {"fcn_jax": text})
    path.chmod(mode)  # safetensors lets their owner alone read its files


def load_weights(path: Path, *, architecture: str | None = None) -> tuple[dict[str, Any], Metadata]:
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
        raise ValueError(
            f"there is no weights file {path}. weights/README.md says how to make each."
        )
    flat, text = read_safetensors(path)
    fields = json_object(text)
    found = fields.pop("format", None)
    if found != FORMAT:
        raise ValueError(
            f"{path} was not written by fcn_jax: expected format {FORMAT!r}, found {found!r}."
            " Convert it with `python -m fcn_jax convert`."
        )
    try:
        preprocessing = read_preprocessing(fields.pop("preprocessing"))
        metadata = Metadata(preprocessing=preprocessing, **fields)
        variables = traverse_util.unflatten_dict(flat, sep="/")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path}: what it says about itself is damaged ({error!r}).") from error
    if architecture not in (None, metadata.architecture):
        raise ValueError(
            f"{path} holds weights of {metadata.architecture}; expected {architecture}."
            " Choose the file that belongs to the trunk."
        )
    return variables, metadata


def read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], str]:
    """All arrays of a `.safetensors` file, and the text under `fcn_jax`, or "".

    Raises:
        ValueError: the file is missing, damaged or of another kind.
    """
    check_there(path)
    try:
        with safetensors.safe_open(path, framework="np") as file:
            text = (file.metadata() or {}).get("fcn_jax", "")
            return {name: file.get_tensor(name) for name in file.keys()}, text  # noqa: SIM118
    except (OSError, safetensors.SafetensorError) as error:
        raise ValueError(
            f"{path} is no complete .safetensors file ({error}). Make or copy it again."
        ) from error


def json_object(text: str) -> dict[str, Any]:
    """A JSON object; an empty one where the text is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def describe_preprocessing(value: Inputs) -> dict[str, Any]:
    """A preprocessing as JSON; without a class where it is that of one image in colours."""
    if isinstance(value, ByInput):
        inputs = {
            name: {"class": type(of).__name__, **describe_preprocessing(of)}
            for name, of in value.inputs.items()
        }
        return {"class": "ByInput", "inputs": inputs}
    kind = {"class": "LogDepth"} if isinstance(value, LogDepth) else {}
    return kind | dataclasses.asdict(value)


def read_preprocessing(described: Mapping[str, Any]) -> Inputs:
    """What `describe_preprocessing` wrote."""
    return from_description({"class": "Preprocessing", **described})


def sha256(path: Path) -> str:
    """Checksum of a file, as `sha256sum` prints it."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
