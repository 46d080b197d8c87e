"""Writing files so that a reader never sees half of one."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

AnyPath = str | os.PathLike[str]
"""What every public function takes as a path."""


def write_atomically(path: Path | str, write: Callable[[Path], object]) -> Path:
    """Write a file completely or not at all.

    Args:
        path: the file; missing folders are made.
        write: writes a temporary file, whose path it gets (see `draft`).

    Returns:
        The file's path.
    """
    path = Path(path)
    with draft(path) as part, naming(path, part):
        write(part)
    return path


@contextlib.contextmanager
def draft(path: Path | str) -> Iterator[Path]:
    """A file that gets its name when the context ends, or never if an error ends it.

    Args:
        path: the file; missing folders are made.

    Yields:
        A temporary file to write: in the same folder, with the same suffix.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield part
        with naming(path, part):
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def naming(path: Path, part: Path | None = None) -> Iterator[None]:
    """Give errors in writing a file its name: those of a full disk have none, others `part`'s."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename in (None, str(part)):
            error.filename, error.filename2 = str(path), None
        raise
