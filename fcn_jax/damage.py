"""Reading files that may be damaged: one error that names the file, and little memory."""

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def reading(
    where: Path | str, kind: str, remedy: str, error: type[ValueError] = ValueError
) -> Iterator[None]:
    """Turns what is raised while a file is read into one error that names the file.

    Any exception counts: on damaged bytes, Pillow alone raises SyntaxError, KeyError, IndexError,
    TypeError, AssertionError, struct.error, OverflowError, MemoryError and more. So keep the block
    short.

    Args:
        where: the file, for the message.
        kind: what it should be, such as "an image".
        remedy: what the user can do, a sentence.
        error: the kind of error to raise.

    Raises:
        ValueError: the file cannot be read. An `error` that already names the file stays.
        FileNotFoundError: there is no such file.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as found:
        if isinstance(found, error) and str(where) in str(found):
            raise
        raise error(f"{where}: cannot be read as {kind} ({reason(found)}). {remedy}") from found


class BoundedFile(io.BufferedReader):
    """An open file that takes no memory for bytes that are not there.

    Decoders ask for as many bytes as a damaged header says, and Python allocates them first.
    """

    def __init__(self, path: Path | str):
        super().__init__(io.FileIO(path))

    def read(self, size: int | None = -1, /) -> bytes:
        """At most `size` bytes; all that are left if it is None or negative."""
        if size is not None and size > 1 << 16:
            size = min(size, max(os.fstat(self.fileno()).st_size - self.tell(), 0))
        return super().read(size)


def reason(error: Exception) -> str:
    """An error's text, and its class where the text alone says little."""
    text = str(error).rstrip(".")
    if isinstance(error, OSError | ValueError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
