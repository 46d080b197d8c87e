"""Checks of options that several commands have."""

import re
from pathlib import Path


def parse_size(text: str) -> tuple[int, int]:
    """Rows and columns from `375x500`.

    Raises:
        ValueError: the text is something else, or a number is 0.
    """
    parsed = re.fullmatch(r"0*([1-9]\d*)x0*([1-9]\d*)", text)
    if not parsed:
        raise ValueError(f"--size must be ROWSxCOLUMNS above 0, such as 375x500; found {text!r}")
    return int(parsed[1]), int(parsed[2])


def check_target(source: Path, target: Path) -> None:
    """Raises ValueError if the result would replace the file that it is made from."""
    if source.resolve() == target.resolve():
        raise ValueError(f"{target}: expected another file than the source, which it would replace")
