"""A data set from the web to its place: fetched, unpacked aside, checked, and moved there last."""

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
from fcn_jax.prepare.download.spec import DataSet, Folder, Remote
from fcn_jax.prepare.download.unpack import unpack


def install(
    data_set: DataSet,
    data: Path | str,
    *,
    report: Report | None = None,
    pause: Callable[[float], object] = time.sleep,
) -> None:
    """Fetches a data set and lays it out as the readers of `fcn_jax.data` expect.

    What is complete is left alone. Archives are kept in `data / "downloads"`, where they may be
    deleted afterwards. Two processes take turns.

    Args:
      data_set: What to fetch.
      data: The data folder; made where it is missing.
      report: Told of everything.
      pause: Waits that many seconds, before another attempt.

    Raises:
      DataError: A file cannot be had or is not the right one, an archive is not to be trusted, a
        folder is there but incomplete, or the disk is full or refuses; says what to do.
    """
    report = report or Report()
    data = Path(data).expanduser()
    todo = []
    for folder in data_set.folders:
        if place := _present(folder, data):
            report.say(f"{place}: complete, left alone")
        else:
            todo.append(folder)
    if not todo:
        return
    report.say(f"{data_set.name}, terms of use: {data_set.terms}")
    downloads = data / "downloads"
    try:
        downloads.mkdir(parents=True, exist_ok=True)
        with _alone(downloads, report):
            for folder in todo:
                _install(folder, data, downloads, report, pause)
    except CannotFetchError as error:
        files = [file for folder in todo for file in (*dict(folder.lists).values(), folder.archive)]
        missing = [file for file in files if not (downloads / file.name).exists()]
        lines = [f"  {downloads / file.name} from {file.urls[0]}" for file in missing]
        error.add_note("\n".join([f"{data_set.name} still needs", *lines]))
        raise
    except OSError as error:
        raise DataError(
            f"{data}: cannot be written to ({error}). Make room, or name another folder with "
            "--data; the same command goes on where it stopped."
        ) from error


def _install(
    folder: Folder,
    data: Path,
    downloads: Path,
    report: Report,
    pause: Callable[[float], object],
) -> None:
    target = data / folder.places[0]
    lists = {}
    for path, remote in folder.lists:
        if not (target / path).exists():
            lists[path] = fetch(remote, downloads, report, pause=pause)
    if target.exists():  # perhaps made by another process, while this one waited
        _add(lists, target)
        _check(folder, target, f"Move {target} away, or complete it, and run the command again")
        report.say(f"{target}: complete")
        return
    archive = folder.archive
    _check_room(archive, folder.unpacked, downloads)
    path = fetch(archive, downloads, report, pause=pause)
    with _aside(downloads / f".{archive.name}.unpacking") as aside:
        report.say(f"unpacking {path}")
        with report.progress(f"{archive.name}, unpacked", None) as advance:
            unpack(path, aside, at_most=folder.unpacked, members=folder.members, advance=advance)
        found = _find(folder, aside, path)
        _add(lists, found)
        _check(folder, found, f"{path} is not the archive it should be: delete it and start again")
        os.sync()  # so that the name never comes before the contents
        target.parent.mkdir(parents=True, exist_ok=True)
        os.rename(found, target)
    size = decimal(path.stat().st_size)
    report.say(f"{target}: complete. {path} ({size}) may be deleted.")


def _present(folder: Folder, data: Path) -> Path | None:
    """The place where the folder already is, complete."""
    return next((data / p for p in folder.places if not _missing(folder, data / p)), None)


def _missing(folder: Folder, at: Path) -> list[str]:
    """What a folder lacks, in words."""
    counts = ((pattern, sum(1 for _ in at.glob(pattern)), n) for pattern, n in folder.holds)
    missing = [f"{pattern}: {found} of {n}" for pattern, found, n in counts if found < n]
    return missing + [path for path, _ in folder.lists if not (at / path).exists()]


def _check(folder: Folder, at: Path, what_to_do: str) -> None:
    if missing := _missing(folder, at):
        raise DataError(f"{at}: is incomplete ({'; '.join(missing)}). {what_to_do}.")


def _find(folder: Folder, aside: Path, archive: Path) -> Path:
    """The folder in what was unpacked: archives put it at different depths."""
    pattern = folder.holds[0][0]
    for path, _, _ in os.walk(aside):
        if next(Path(path).glob(pattern), None):
            return Path(path)
    raise DataError(
        f"{archive}: expected a folder with {pattern}, found none. Another archive by now? Compare "
        "it with docs/data.md, delete it and start again."
    )


def _add(lists: dict[str, Path], to: Path) -> None:
    """Copies lists to their places; an archive's own give way to those of the table."""
    for path, source in lists.items():
        write_atomically(to / path, lambda part, source=source: shutil.copyfile(source, part))


def _check_room(archive: Remote, unpacked: int, downloads: Path) -> None:
    """Refuses to start what would fill the disk."""
    needed = unpacked
    if not (downloads / archive.name).exists():
        part = downloads / f"{archive.name}.part"
        needed += max(archive.bytes - (part.stat().st_size if part.exists() else 0), 0)
    free = shutil.disk_usage(downloads).free
    if free < needed:
        raise DataError(
            f"{downloads}: {decimal(free)} are free; {archive.name} needs up to {decimal(needed)}, "
            "packed and unpacked. Make room, or name another folder with --data."
        )


@contextlib.contextmanager
def _aside(folder: Path) -> Iterator[Path]:
    """An empty folder that is gone afterwards; a killed process may have left its own."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _alone(folder: Path, report: Report) -> Iterator[None]:
    """Waits until no other process downloads into this folder; the lock ends with the process."""
    import fcntl

    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report.say(f"another download into {folder} is under way; waiting for its end")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
