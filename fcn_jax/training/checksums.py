"""Checksums of arrays, by which a changed bit in a checkpoint is noticed."""

import zlib
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

Names = tuple[str, ...]


def by_names(tree: Any) -> dict[Names, Any]:
    """The leaves of a tree by the names on the way to them: `("opt_state", "0", "count")`."""
    return {
        tuple(jax.tree_util.keystr((key,), simple=True) for key in path): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def checksum(array: Any) -> int:
    """CRC-32 of an array's dtype, shape and bytes in row-major order.

    It does not depend on how the array is divided among devices. Of an array that is divided among
    several processes, all of them must ask.
    """
    if isinstance(array, jax.Array) and not (
        array.is_fully_addressable or array.is_fully_replicated
    ):
        array = multihost_utils.process_allgather(array, tiled=True)
    whole = np.asarray(array, order="C")
    kind = f"{whole.dtype} {whole.shape}".encode()
    return zlib.crc32(whole.reshape(-1).view(np.uint8).data, zlib.crc32(kind))
