"""Opens files of weights: mapped into memory, and with one error for a damaged file."""

import contextlib
import mmap
from collections.abc import Iterator
from pathlib import Path

from fcn_jax import damage


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
    """`damage.reading` for a file that must exist."""
    check_exists(path)
    with damage.reading(path, kind, remedy):
        yield
