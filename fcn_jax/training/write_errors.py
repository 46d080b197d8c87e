"""One error where Orbax cannot write, in place of the tracebacks of its threads."""

import contextlib
import logging
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def write_errors_of_orbax(folder: Path) -> Iterator[None]:
    """Raise the system's error with the name of a folder, if Orbax cannot write there.

    TensorStore raises errors of its own, with the number of the system's in the text. Other threads
    log theirs, or find that their event loop is closed. Such tracebacks are not shown; after an
    error that stays so, since threads may still be at work.

    Raises:
        OSError: the disk is full, for example.
    """
    logs, hook = [logging.getLogger(name) for name in ("absl", "asyncio")], sys.unraisablehook

    def shown(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            hook(unraisable)

    sys.unraisablehook = shown
    for log in logs:
        log.addFilter(_is_no_error)
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        if (number := _system_number(error)) is None:
            raise
        for unfinished in folder.glob("*.orbax-checkpoint-tmp*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        raise OSError(number, os.strerror(number), str(folder)) from None
    sys.unraisablehook = hook
    for log in logs:
        log.removeFilter(_is_no_error)


def _is_no_error(record: logging.LogRecord) -> bool:
    return record.levelno < logging.ERROR


def _system_number(error: BaseException) -> int | None:
    """The number of the system's error; None for errors of other kinds."""
    if isinstance(error, OSError):
        return error.errno
    found = re.search(r"os_error_code='(\d+)'", str(error))
    return int(found[1]) if found else None
