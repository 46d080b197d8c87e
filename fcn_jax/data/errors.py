"""The error of a data set, and how its messages name things."""

import os
from collections.abc import Iterable
from pathlib import Path


class DataError(ValueError):
    """A data set is missing, incomplete or not as expected; the message names the file."""


def few(items: Iterable[object], most: int = 10) -> str:
    """The first few of `items`, separated by commas, for a message; "..." for the others."""
    texts = [str(item) for item in items]
    return ", ".join(texts[:most]) + (", ..." if texts[most:] else "")


def legible(name: Path | str) -> str:
    r"""A file's name that can be printed: bytes that are not UTF-8 become `\xe9`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
