"""Reads a tensor of a PyTorch file: checks what the file says of it, and returns its array."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

MAX_AXES = 32

TYPES = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
"""Numpy's type of each storage."""


@dataclasses.dataclass(frozen=True)
class Storage:
    """Where the numbers of a tensor lie.

    Attributes:
        key: the storage's name in the file.
        type_name: numpy's name of the type.
        count: how many numbers it has.
    """

    key: str
    type_name: str
    count: int

    @property
    def dtype(self) -> np.dtype:
        """Numpy's type of its numbers."""
        return np.dtype(jnp.bfloat16 if self.type_name == "bfloat16" else self.type_name)


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A view of a storage as the pickle describes it, not yet checked; lengths in numbers."""

    storage: Any
    offset: Any
    shape: Any
    strides: Any


def array_of(tensor: Tensor, bytes_of: Callable[[Storage], memoryview]) -> np.ndarray:
    """The array of a tensor, a view of its storage.

    Args:
        tensor: from the pickle; its fields may hold anything.
        bytes_of: gives the bytes of a storage.

    Raises:
        ValueError: the tensor reaches outside its storage, or uses a number twice, which would let
            an array be far larger than its file.
    """
    storage, offset = tensor.storage, tensor.offset
    if type(storage) is not Storage:
        raise ValueError("a tensor without a storage")
    shape, strides = _checked_lengths(tensor.shape), _checked_lengths(tensor.strides)
    if len(shape) != len(strides) or 0 in shape or type(offset) is not int or offset < 0:
        raise ValueError(f"a tensor of shape {shape[:4]}, strides {strides[:4]}, offset {offset}")
    reach = 1
    for stride, length in sorted(zip(strides, shape, strict=True)):
        if length > 1 and stride < reach:
            raise ValueError(f"a tensor that overlaps itself (a stride of {stride})")
        reach += (length - 1) * stride
    if offset + reach > storage.count:
        raise ValueError(f"a tensor up to number {offset + reach} of a storage of {storage.count}")
    data, dtype = bytes_of(storage), storage.dtype
    if len(data) != storage.count * dtype.itemsize:
        expected = f"{storage.count} numbers of {dtype}"
        raise ValueError(f"storage {storage.key[:100]} has {len(data)} bytes, not {expected}")
    steps = tuple(stride * dtype.itemsize for stride in strides)
    # numpy checks the bounds against the buffer once more.
    return np.ndarray(shape, dtype, data, offset * dtype.itemsize, steps)


def _checked_lengths(values: Any) -> tuple[int, ...]:
    """Lengths of axes, or steps between their elements."""
    valid = type(values) is tuple and len(values) <= MAX_AXES
    if not valid or not all(type(n) is int and n >= 0 for n in values):
        raise ValueError("a tensor whose shape or strides are not counts")
    return values
