"""One array, or several by name: what an example and a batch hold.

Where a set has one input, an image is an array; where it has several, a dict of arrays by name.
Labels alike. The same code serves both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from fcn_jax.data.readers import DataError

Inputs = np.ndarray | dict[str, np.ndarray]
"""Rows, columns, channels: uint8 RGB in 0..255, or what the set says of each name."""
Labels = UInt8[np.ndarray, "_ _"] | dict[str, UInt8[np.ndarray, "_ _"]]
"""uint8 rows, columns: the class index, 255 = ignored."""


def each(function: Callable[..., Any], first: Any, *others: Any) -> Any:
    """Calls `function(name, value, ...)` for every name, or once where there is one value.

    Args:
      function: What is done; it gets the name, "" for a value that has none, and the value of
        `first` and of each of `others` that go together.
      first: A value, or a dict of values by name.
      others: As `first`, with the same names.

    Returns:
      What `function` gave: by itself, or in a dict in the order of `first` where that is one.

    Raises:
      DataError: The names differ.
    """
    names = [tuple(value) if isinstance(value, dict) else () for value in (first, *others)]
    if any(set(other) != set(names[0]) for other in names):
        raise DataError(
            f"expected the same names everywhere, found {', '.join(map(str, names))} (() is one "
            "value without a name). Give every example the same inputs and labels."
        )
    if not isinstance(first, dict):
        return function("", first, *others)
    return {n: function(n, first[n], *(other[n] for other in others)) for n in first}


def by_name(names: str | Sequence[str], function: Callable[[str], Any]) -> Any:
    """`function(name)` for the only name; for several, a dict of them in their order."""
    values = {name: function(name) for name in ((names,) if isinstance(names, str) else names)}
    return values if len(values) > 1 else next(iter(values.values()))


def primary(value: Any) -> Any:
    """The first value of a dict; a value that is no dict itself."""
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
