"""Files as memory: nothing is read before it is used, and no length in a file is believed."""

import mmap
import zipfile
from pathlib import Path
from typing import IO, cast


class Mapped(mmap.mmap):
    """A mapped file that `zipfile` takes.

    Of an ordinary file it would read as many bytes as a damaged directory says that it has, and
    memory for them is taken before the file turns out to be shorter.
    """

    def seekable(self) -> bool:
        """Python before 3.13 lacks it."""
        return True


def mapped(path: Path) -> Mapped:
    """Maps a file, which must stay as it is as long as anything of it is used.

    Raises:
        OSError: there is no such file.
        ValueError: it is empty.
    """
    with open(path, "rb") as file:
        return Mapped(file.fileno(), 0, access=mmap.ACCESS_READ)


def check_there(path: Path) -> None:
    """Raises ValueError where there is no such file, before its readers call it damaged."""
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")


def archive_of(file: Mapped) -> zipfile.ZipFile:
    """The zip archive that a mapped file is.

    Raises:
        zipfile.BadZipFile: it is none.
    """
    return zipfile.ZipFile(cast(IO[bytes], file))
