"""Installs a data set: downloads it, unpacks it in a temporary folder, checks it, and moves it."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.filesize import decimal

from fcn_jax.atomic import write_atomically
from fcn_jax.data.readers import DataError
from fcn_jax.prepare.download.fetch import CannotFetchError, fetch
from fcn_jax.prepare.download.report import Report
from fcn_jax.prepare.download.spec import DataSet, Folder
from fcn_jax.prepare.download.unpack import unpack


def install(
    data_set: DataSet,
    data: Path | str,
    *,
    report: Report | None = None,
    pause: Callable[[float], object] = time.sleep,
) -> None:
    """Downloads a data set and lays it out as the readers of `fcn_jax.data` expect.

    Complete folders are left alone. Archives stay in `data / "downloads"` and may be deleted
    afterwards. A second process waits until the first is done.

    Args:
      data_set: What to install.
      data: The data folder; made if missing.
      report: Prints what is done.
      pause: Waits for a number of seconds, before another attempt.

    Raises:
      DataError: A file cannot be fetched or is not the right one, an archive is not safe, a folder
        is there but incomplete, or the disk is full or read-only; says what to do.
    """
    report = report or Report()
    data = Path(data).expanduser()
    to_install = []
    for folder in data_set.folders:
        if place := _installed(folder, data):
            report.say(f"{place}: complete, left alone")
        else:
            to_install.append(folder)
    if not to_install:
        return
    report.say(f"{data_set.name}, terms of use: {data_set.terms}")
    downloads = data / "downloads"
    try:
        downloads.mkdir(parents=True, exist_ok=True)
        with _one_process(downloads, report):
            for folder in to_install:
                _install(folder, data, downloads, report, pause)
    except CannotFetchError as error:
        files = [file for f in to_install for file in (*dict(f.lists).values(), f.archive)]
        missing = [file for file in files if not (downloads / file.name).exists()]
        lines = [f"  {downloads / file.name} from {file.urls[0]}" for file in missing]
        error.add_note("\n".join([f"{data_set.name} still needs", *lines]))
        raise
    except OSError as error:
        raise DataError(
            f"{data}: cannot be written to ({error}). Free some space, or name another folder with "
            "--data; then run the same command again to resume."
        ) from error


def _install(
    folder: Folder, data: Path, downloads: Path, report: Report, pause: Callable[[float], object]
) -> None:
    target = data / folder.places[0]
    lists = {}
    for path, remote in folder.lists:
        if not (target / path).exists():
            lists[path] = fetch(remote, downloads, report, pause=pause)
    if target.exists():  # perhaps another process made it while this one waited
        _add_lists(lists, target)
        _check(folder, target, f"Move {target} away, or complete it, and run the command again")
        report.say(f"{target}: complete")
        return
    _check_free_space(folder, downloads)
    name = folder.archive.name
    archive = fetch(folder.archive, downloads, report, pause=pause)
    with _temporary_folder(downloads / f".{name}.unpacking") as temporary:
        report.say(f"unpacking {archive}")
        with report.progress(f"{name}, unpacked", None) as advance:
            unpack(
                archive, temporary, at_most=folder.unpacked, members=folder.members, advance=advance
            )
        found = _find(folder, temporary, archive)
        _add_lists(lists, found)
        _check(folder, found, f"{archive} is the wrong archive: delete it and try again")
        os.sync()  # the contents must be on the disk before the folder gets its name
        target.parent.mkdir(parents=True, exist_ok=True)
        os.rename(found, target)
    size = decimal(archive.stat().st_size)
    report.say(f"{target}: complete. {archive} ({size}) may be deleted.")


def _installed(folder: Folder, data: Path) -> Path | None:
    """The first place that holds a complete copy of the folder."""
    return next((data / p for p in folder.places if not _missing(folder, data / p)), None)


def _missing(folder: Folder, at: Path) -> list[str]:
    """What the copy of a folder at this path lacks, for a message."""
    counts = ((pattern, sum(1 for _ in at.glob(pattern)), n) for pattern, n in folder.holds)
    missing = [f"{pattern}: {found} of {n}" for pattern, found, n in counts if found < n]
    return missing + [path for path, _ in folder.lists if not (at / path).exists()]


def _check(folder: Folder, at: Path, remedy: str) -> None:
    if missing := _missing(folder, at):
        raise DataError(f"{at}: is incomplete ({'; '.join(missing)}). {remedy}.")


def _find(folder: Folder, unpacked: Path, archive: Path) -> Path:
    """The folder among the unpacked files; its depth differs between archives."""
    pattern = folder.holds[0][0]
    for path, _, _ in os.walk(unpacked):
        if next(Path(path).glob(pattern), None):
            return Path(path)
    raise DataError(
        f"{archive}: expected a folder with {pattern}, found none. Has the archive changed? "
        "Compare it with docs/data.md, delete it and try again."
    )


def _add_lists(lists: dict[str, Path], to: Path) -> None:
    """Copies lists to their places; they replace the archive's own."""
    for path, source in lists.items():
        write_atomically(to / path, lambda part, source=source: shutil.copyfile(source, part))


def _check_free_space(folder: Folder, downloads: Path) -> None:
    """Raises DataError where the archive and its content may not fit on the disk."""
    archive, needed = folder.archive, folder.unpacked
    if not (downloads / archive.name).exists():
        part = downloads / f"{archive.name}.part"
        needed += max(archive.bytes - (part.stat().st_size if part.exists() else 0), 0)
    free = shutil.disk_usage(downloads).free
    if free < needed:
        raise DataError(
            f"{downloads}: {decimal(free)} are free; {archive.name} needs up to {decimal(needed)}, "
            "packed and unpacked. Free some space, or name another folder with --data."
        )


@contextlib.contextmanager
def _temporary_folder(folder: Path) -> Iterator[Path]:
    """An empty folder, deleted afterwards; one that a killed process left is deleted first."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _one_process(folder: Path, report: Report) -> Iterator[None]:
    """Waits until no other process downloads into this folder; the lock ends with the process."""
    import fcntl

    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report.say(f"another process downloads into {folder}; waiting until it is done")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
