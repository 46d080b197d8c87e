"""Tensors of PyTorch's files: what such a file says of them, and the arrays they are."""

import dataclasses
from collections.abc import Callable
from math import prod
from typing import Any

import jax.numpy as jnp
import numpy as np

MOST_AXES = 32

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


@dataclasses.dataclass(frozen=True)
class Storage:
    """Where a tensor's numbers lie: a storage of the file, by its key there.

    Attributes:
        key: its name in the file.
        dtype: numpy's name of the type.
        count: how many numbers it has.
    """

    key: str
    dtype: str
    count: int


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A view of a storage, as the pickle says it, unchecked; all lengths in numbers."""

    storage: Any
    offset: Any
    shape: Any
    strides: Any


def array_of(tensor: Any, numbers_of: Callable[[Storage], np.ndarray]) -> np.ndarray:
    """The array of a tensor, a view of its storage.

    Args:
        tensor: from the pickle, with whatever it says.
        numbers_of: the numbers of a storage, one axis.

    Raises:
        ValueError: it reaches outside its storage, or uses numbers of it twice: an array could
            then be far larger than its file.
    """
    storage, offset = tensor.storage, tensor.offset
    if type(storage) is not Storage:
        raise ValueError("a tensor without a storage")
    shape, strides = _lengths(tensor.shape), _lengths(tensor.strides)
    if len(shape) != len(strides) or 0 in shape or type(offset) is not int or offset < 0:
        raise ValueError(
            f"a tensor of {len(shape)} axes and {len(strides)} strides, {prod(shape)} numbers"
        )
    reach = 1
    for stride, length in sorted(zip(strides, shape, strict=True)):
        if length > 1 and stride < reach:
            raise ValueError(f"a tensor that overlaps itself (a stride of {stride})")
        reach += (length - 1) * stride
    if offset + reach > storage.count:
        raise ValueError(
            f"a tensor up to number {offset + reach} of a storage that has {storage.count}"
        )
    numbers = numbers_of(storage)
    steps = tuple(stride * numbers.itemsize for stride in strides)
    # numpy holds the bounds against the memory once more.
    return np.ndarray(shape, numbers.dtype, numbers, offset * numbers.itemsize, steps)


def dtype_of(storage: Storage) -> np.dtype:
    """The numpy type of a storage's numbers."""
    return np.dtype(jnp.bfloat16 if storage.dtype == "bfloat16" else storage.dtype)


def _lengths(values: Any) -> tuple[int, ...]:
    """Lengths of axes, or steps between their elements."""
    right = type(values) is tuple and len(values) <= MOST_AXES
    if not right or not all(type(n) is int and n >= 0 for n in values):
        raise ValueError("a tensor whose shape or strides are no counts")
    return values
