"""One value, or several by name: what an example and a batch hold.

Where a data set has one input, an image is an array; where it has several, a dict of arrays by
name. The same holds for labels, their files and their classes. Code for both loops over
`zip_named`, which gives a value without a name the name "", and ends with `as_plain`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fcn_jax.data.readers import DataError

Images = np.ndarray | dict[str, np.ndarray]
"""Rows, columns, channels: uint8 RGB in 0..255, or what the data set says of each name."""
Labels = np.ndarray | dict[str, Any]
"""uint8 rows, columns: the class index, 255 = ignored; or another `fcn_jax.labels.LabelKind`."""


def zip_named(*values: Any) -> list[tuple[Any, ...]]:
    """Pairs one or more values by name.

    Args:
      values: Each is a value without a name, or a dict of values by name; all have the same names.

    Returns:
      For every name, in the order of the first dict: the name ("" for a value without a name) and
      what each of `values` has under it.

    Raises:
      DataError: The names differ.
    """
    dicts = [value if isinstance(value, dict) else {"": value} for value in values]
    if any(set(other) != set(dicts[0]) for other in dicts):
        raise DataError(
            f"expected the same names everywhere, found {', '.join(str(tuple(d)) for d in dicts)} "
            "('' is a value without a name). Give every example the same inputs and labels."
        )
    return [(name, *(d[name] for d in dicts)) for name in dicts[0]]


def as_plain(values: dict[str, Any]) -> Any:
    """The value without a name (under ""); where all have names, `values` itself."""
    return values[""] if "" in values else values


def plain_if_one(values: dict[str, Any]) -> Any:
    """The only value of a dict of one; a larger dict itself."""
    return values if len(values) > 1 else primary(values)


def primary(value: Any) -> Any:
    """The first value of a dict; any other value itself."""
    return next(iter(value.values())) if isinstance(value, dict) else value


def check_names(owner: str, field: str, names: str | Sequence[str], known: Sequence[str]) -> None:
    """Refuses a choice of names that is empty, unknown or repeated.

    Raises:
      DataError: Says what the field may hold.
    """
    chosen = (names,) if isinstance(names, str) else tuple(names)
    sound = isinstance(names, str | tuple) and chosen  # a list does not hash
    if not sound or len(set(chosen)) != len(chosen) or not set(chosen) <= set(known):
        raise DataError(
            f"{owner}: expected {field} to be a tuple of one or more of {', '.join(known)}, each "
            f"at most once; got {names!r}."
        )
