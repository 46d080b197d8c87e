"""Opens files for the readers: mapped into memory, and with one error for a damaged file."""

import contextlib
import mmap
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from zipfile import BadZipFile

from safetensors import SafetensorError

AnyPath = str | os.PathLike[str]
"""What every public reader and writer takes as a path."""

DAMAGE = (OSError, EOFError, ValueError, RuntimeError, BadZipFile, zlib.error, SafetensorError)
"""What the readers, and the libraries that they call, raise on a damaged file."""


class MemoryMap(mmap.mmap):
    """A mapped file that `zipfile` can read.

    From an ordinary file, `zipfile` reads as many bytes as a damaged directory claims to have, and
    allocates memory for them before it finds that the file is shorter.
    """

    def seekable(self) -> bool:
        """Python before 3.13 lacks it."""
        return True


def map_file(path: Path) -> MemoryMap:
    """Maps a file. The file must not change while anything read from it is in use.

    Raises:
        OSError: there is no such file.
        ValueError: the file is empty.
    """
    with open(path, "rb") as file:
        return MemoryMap(file.fileno(), 0, access=mmap.ACCESS_READ)


def check_exists(path: Path) -> None:
    """Raises ValueError if there is no such file; a reader would call it damaged."""
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")


@contextlib.contextmanager
def reading(path: Path, kind: str, remedy: str) -> Iterator[None]:
    """Turns what a reader raises on a damaged file into one ValueError that names the file.

    Args:
        path: the file, which must exist.
        kind: what it should be, such as ".npz of plain arrays".
        remedy: what the user can do, a sentence.
    """
    check_exists(path)
    try:
        yield
    except DAMAGE as error:
        raise ValueError(f"{path} is not a complete {kind} ({error}). {remedy}") from error
