"""Reads `.caffemodel` files without Caffe: the arrays of each layer, by its name.

Both containers are read: `layers` of Caffe's first year (`V1LayerParameter`, blobs of four axes,
as in the VGG release of 2014) and `layer` of all later versions.

Source: BVLC/caffe src/caffe/proto/caffe.proto (field numbers), src/caffe/blob.cpp (FromProto).
"""

from math import prod
from pathlib import Path

import numpy as np

from fcn_jax.atomic import AnyPath
from fcn_jax.weights.foreign.wire import Value, fields, varints
from fcn_jax.weights.layouts import Blobs
from fcn_jax.weights.memory_map import map_file, reading

# Field of NetParameter: fields of the name and the blobs in each layer's message.
CONTAINERS = {2: (4, 6), 100: (1, 7)}
OLDEST = 1  # V1LayerParameter.layer, before V1 (2013)
NUM, CHANNELS, HEIGHT, WIDTH, DATA, SHAPE, DOUBLE_DATA = 1, 2, 3, 4, 5, 7, 8
MAX_AXES = 32  # Source: kMaxBlobAxes of blob.hpp


def read_caffemodel(path: AnyPath) -> Blobs:
    """Arrays by layer, `{"conv1_1": [kernel, bias]}`, layers without arrays left out.

    The file is mapped, not read: an array takes memory when its numbers are used, and the file
    must not change until then.

    Args:
        path: a binary NetParameter; a text file (`.prototxt`) holds no arrays.

    Returns:
        Read-only float32 arrays in Caffe's layout, in the order of the file, as
        `fcn_jax.weights.surgery.load_blobs` takes them. Old files have four axes everywhere.

    Raises:
        ValueError: there is no such file, it is damaged or of another kind, or two layers have
            one name.
    """
    path = Path(path)
    blobs: Blobs = {}
    remedy = "Download or copy it again, and compare its checksum with the published one."
    with reading(path, "a .caffemodel", remedy):
        for number, value in fields(memoryview(map_file(path))):
            if number not in CONTAINERS:
                continue
            name, arrays = _read_layer(_message(value), number)
            if arrays and name in blobs:
                raise ValueError(f"two layers are called {name}")
            if arrays:
                blobs[name] = arrays
    if not blobs:
        raise ValueError(
            f"{path} holds no layer with arrays. Pass the .caffemodel: a .prototxt is the net"
            " without its weights, and a .solverstate the momentum."
        )
    return blobs


def _read_layer(message: memoryview, container: int) -> tuple[str, list[np.ndarray]]:
    """Name and arrays of one layer."""
    name_field, blob_field = CONTAINERS[container]
    name, blobs = "", []
    for number, value in fields(message):
        if number == name_field:
            name = str(_message(value), "utf-8")
        elif number == blob_field:
            blobs.append(_message(value))
        elif number == OLDEST and container == 2:
            raise ValueError(
                "layers of 2013's format; Caffe's upgrade_net_proto_binary converts it"
            )
    arrays = []
    for i, blob in enumerate(blobs):
        try:
            arrays.append(_read_blob(blob))
        except ValueError as error:
            raise ValueError(f"blob {i} of layer {name!r}: {error}") from error
    return name, arrays


def _read_blob(message: memoryview) -> np.ndarray:
    """One blob, float32; a view of the file if the file holds float32."""
    numbers: dict[int, list[np.ndarray]] = {DATA: [], DOUBLE_DATA: []}
    axes: list[int] = []
    old_axes: dict[int, int] = {}
    for number, value in fields(message):
        if number in numbers:
            numbers[number].append(_floats(value, "<f4" if number == DATA else "<f8"))
        elif number == SHAPE:
            axes = _read_shape(_message(value))
        elif NUM <= number <= WIDTH:
            if not isinstance(value, int):
                raise ValueError("the length of an axis is not an integer")
            old_axes[number] = value
    if old_axes:  # Like Caffe, prefer the old axes if the file has both.
        axes = [old_axes.get(number, 0) for number in (NUM, CHANNELS, HEIGHT, WIDTH)]
    parts = numbers[DOUBLE_DATA] or numbers[DATA]
    found = sum(part.size for part in parts)
    if len(axes) > MAX_AXES or not found or prod(axes) != found:
        raise ValueError(f"{len(axes)} axes {axes[:4]}, and {found} numbers")
    array = parts[0] if len(parts) == 1 else np.concatenate(parts)
    # A double may be NaN or too large for float32; who uses the array refuses what is not finite.
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(array.reshape(axes), np.float32)


def _read_shape(message: memoryview) -> list[int]:
    """The axes of a BlobShape, packed or one by one."""
    if len(message) > 12 * MAX_AXES:  # each takes a tag and ten bytes at most
        raise ValueError(f"a shape of {len(message)} bytes")
    axes: list[int] = []
    for number, value in fields(message):
        if number == 1:
            axes += [value] if isinstance(value, int) else varints(_message(value))
    return axes


def _floats(value: Value, dtype: str) -> np.ndarray:
    """An array from a packed field, or from consecutive unpacked fields."""
    if isinstance(value, memoryview):
        return np.frombuffer(value, dtype)
    if isinstance(value, np.ndarray) and value.dtype == dtype:
        return value
    raise ValueError("numbers of another type than blobs have")


def _message(value: Value) -> memoryview:
    if not isinstance(value, memoryview):
        raise ValueError("a number where a name, a layer or an array should be")
    return value
