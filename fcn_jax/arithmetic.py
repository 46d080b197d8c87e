"""Whole numbers, as sizes and tiles need them."""

from typing import Any


def ceil_div(a: Any, b: Any) -> Any:
    """`a / b` rounded up; ints or int arrays, `b` above 0."""
    return -(-a // b)


def round_up(a: Any, multiple: Any) -> Any:
    """The smallest multiple that is at least `a`; ints or int arrays, `multiple` above 0."""
    return ceil_div(a, multiple) * multiple
