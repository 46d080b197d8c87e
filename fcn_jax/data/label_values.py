"""From the values or colours that label files store to classes: one rule for every data set."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
from jaxtyping import Integer, UInt8

from fcn_jax.data.errors import DataError, few
from fcn_jax.labels import IGNORE

Key = int | str | tuple[int, int, int]
"""What a label map names: a stored value, a name (of a category), or a colour (r, g, b)."""
OTHERS = "*"
"""The key of a label map that stands for everything that it does not name."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelValues:
    """Which class each stored value is; 255 = ignored.

    The first rule that fits decides:

    1. A value in `ignore` is ignored.
    2. With a mapping: the class that it gives the value; 255 is ignored unless the mapping names
       it; any other value is an error.
    3. With `reduce_zero`: 0 is ignored, 255 stays ignored, and k becomes k - 1.
    4. The value is the class, 0 to 254, and 255 is ignored.

    Attributes:
      ignore: Stored values that are ignored.
      reduce_zero: Whether classes are stored from 1 on, and 0 is no class.
      mapping: Pairs of a key (see `Key`) and its class, 0 to 254, or 255 = ignored. All keys are of
        one kind; the key "*" stands for all that the others do not name.

    Raises:
      DataError: The fields contradict each other, or a number is out of range.
    """

    ignore: tuple[int, ...] = ()
    reduce_zero: bool = False
    mapping: tuple[tuple[Any, int], ...] = ()

    def __post_init__(self) -> None:
        pairs = [(tuple(k) if isinstance(k, list) else k, c) for k, c in self.mapping]
        object.__setattr__(self, "ignore", tuple(self.ignore))  # JSON gives lists
        object.__setattr__(self, "mapping", tuple(pairs))
        keys = [key for key, _ in pairs if key != OTHERS]
        if wrong := [c for _, c in pairs if not 0 <= c <= IGNORE]:
            raise DataError(f"label map: expected classes 0 to 254, or 255 = ignored; got {wrong}.")
        if len({type(key) for key in keys}) > 1:
            raise DataError(
                f"label map: names {keys[0]!r} and {_other_kind(keys)!r}. Use values, colours or "
                "names, but one kind of them."
            )
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise DataError(f"label map: names {few(map(_text, dict.fromkeys(twice)))} twice.")
        if self.reduce_zero and self.mapping:
            raise DataError(
                "--reduce-zero-label with --label-map: the map gives every value its class, so "
                "leave --reduce-zero-label out."
            )
        if self.ignore and (self.by_colour or self.by_name):
            raise DataError(
                f"--ignore names values, and the label map names {_text(keys[0])}: give what is "
                "ignored the class 255 in the map."
            )

    @property
    def by_colour(self) -> bool:
        """Whether classes are found by colours, not by values."""
        return any(isinstance(key, tuple) for key, _ in self.mapping)

    @property
    def by_name(self) -> bool:
        """Whether classes are found by names, as in COCO and labelme."""
        return any(isinstance(key, str) and key != OTHERS for key, _ in self.mapping)

    @property
    def num_classes(self) -> int:
        """How many classes the mapping has: the largest one and 1; 0 without a mapping."""
        return max((c + 1 for _, c in self.mapping if c != IGNORE), default=0)

    def classes(self, stored: np.ndarray, where: object) -> UInt8[np.ndarray, "h w"]:
        """The class of every pixel.

        Args:
          stored: Whole numbers, rows, columns; or uint8 rows, columns, RGB.
          where: The file, for messages.

        Returns:
          uint8 rows, columns: the class, 255 = ignored.

        Raises:
          DataError: A value has no class; or there are colours where values are expected.
        """
        values = self._comparable(stored, where)
        if self == AS_STORED and values.dtype == np.uint8:
            return values
        if values.dtype in (np.uint8, np.uint16):
            codes = self._codes(np.arange(np.iinfo(values.dtype).max + 1))[values]
        else:
            codes = self._codes(values)
        if codes.min(initial=0) < 0:
            raise DataError(self._unknown(values[codes < 0], where))
        return codes.astype(np.uint8)

    def class_of(self, name: str, where: object) -> int:
        """The class of a category's name, 255 = ignored, in a mapping of names.

        Raises:
          DataError: The mapping does not name it.
        """
        named = dict(self.mapping)
        if (found := named.get(name, named.get(OTHERS))) is None:
            raise DataError(
                f"{where}: found the label {name!r}, and the label map names {few(named, 30)}. Add "
                "it to --class-names or --label-map; there, 255 ignores it."
            )
        return found

    def _comparable(self, stored: np.ndarray, where: object) -> np.ndarray:
        """The stored values as numbers (h, w); a colour is one number."""
        if self.by_name:
            raise DataError(
                f"{where}: holds values, and the label map names {few(k for k, _ in self.mapping)}."
                " Name the values: value,class,name."
            )
        if stored.ndim == 2 and not self.by_colour:
            return stored
        if self.by_colour:
            if stored.ndim == 2:  # a gray level is a colour too
                if stored.dtype != np.uint8:
                    raise DataError(f"{where}: the label map names colours, found {stored.dtype}.")
                stored = np.repeat(stored[..., None], 3, axis=-1)
            return _packed(stored)
        found = few((_text(_colour(v)) for v in np.unique(_packed(stored))[:31].tolist()), 30)
        raise DataError(
            f"{where}: holds colours, not values: {found}. Give each its class: --label-map FILE, "
            "a CSV of r,g,b,class,name."
        )

    @functools.cached_property
    def _table(self) -> tuple[np.ndarray, np.ndarray, int]:
        """Keys as sorted numbers, the class of each, and that of all others; -1 = an error."""
        found: dict[Any, int] = {}
        if not self.mapping:
            found = {value: value - self.reduce_zero for value in range(IGNORE)}
            found |= {0: IGNORE} if self.reduce_zero else {}
        if not self.by_colour:
            found[IGNORE] = IGNORE
        for key, number in self.mapping:
            found[_pack(key) if isinstance(key, tuple) else key] = number
        others = found.pop(OTHERS, -1)
        found |= dict.fromkeys(self.ignore, IGNORE)
        keys = sorted(found)
        return np.array(keys, np.int64), np.array([found[k] for k in keys], np.int16), others

    def _codes(self, values: Integer[np.ndarray, ...]) -> np.ndarray:
        """The class of each value, int16; -1 where it has none."""
        keys, classes, others = self._table
        at = np.minimum(np.searchsorted(keys, values), len(keys) - 1)
        return np.where(keys[at] == values, classes[at], np.int16(others))

    def _unknown(self, values: np.ndarray, where: object) -> str:
        """The message about values without a class."""
        found = np.unique(values).tolist()
        if not self.mapping:
            return (
                f"{where}: expected values 0 to 254, or 255 = ignored; found {few(found)}. Give "
                "each value its class with --label-map FILE (a CSV of value,class,name), or ignore "
                f"them: --ignore {' '.join(map(str, found[:10]))}"
            )
        if self.by_colour:
            found = [_text(_colour(value)) for value in found]
        known = few((_text(key) for key, _ in self.mapping), 40)
        remedy = "" if self.by_colour else f", or --ignore {' '.join(map(str, found[:10]))}"
        return (
            f"{where}: found {few(found)}, which the label map does not name; it names {known}. "
            f"Add each with its class, or with 255 to ignore it, to --label-map{remedy}."
        )


AS_STORED = LabelValues()
"""Stored values are the classes."""


def _other_kind(keys: list[Any]) -> Any:
    return next(key for key in keys if type(key) is not type(keys[0]))


def _pack(colour: Any) -> int:
    red, green, blue = colour
    return red << 16 | green << 8 | blue


def _packed(colours: UInt8[np.ndarray, "h w 3"]) -> np.ndarray:
    """Each colour as one number: int32 (h, w)."""
    red, green, blue = (colours[..., band].astype(np.int32) for band in range(3))
    return red << 16 | green << 8 | blue


def _colour(number: int) -> tuple[int, int, int]:
    return number >> 16, number >> 8 & 255, number & 255


def _text(key: Any) -> str:
    """A key as it stands in a label map: `7`, `128,64,128`."""
    return f"({','.join(map(str, key))})" if isinstance(key, tuple) else str(key)
