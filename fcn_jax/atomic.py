"""Writing files so that a reader never sees half of one."""

import os
from collections.abc import Callable
from pathlib import Path


def write_atomically(path: Path | str, write: Callable[[Path], object]) -> Path:
    """Write a file completely or not at all.

    Args:
        path: the file; missing folders are made.
        write: writes a temporary file, whose path it gets: in the same folder, with the same
            suffix. That file is then renamed.

    Returns:
        The file's path.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        write(part)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path
