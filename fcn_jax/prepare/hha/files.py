"""Encodes folders of depth PNGs as HHA PNGs."""

from __future__ import annotations

import dataclasses
import functools
import multiprocessing
import os
import signal
import struct
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool
from PIL import Image, PngImagePlugin
from rich.progress import Progress

from fcn_jax.atomic import write_atomically
from fcn_jax.data.readers import DataError, read_depth
from fcn_jax.prepare.hha.encoding import Camera, hha

_KEY = "fcn_jax hha"  # the text chunk with the origin of a file
_VERSION = 1  # of the encoding
# What Pillow raises on files that are cut off or are not images at all.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


class Failure(NamedTuple):
    """A path without a result, and the reason."""

    path: Path
    reason: str


@dataclasses.dataclass(frozen=True)
class Written:
    """What `write_hha` did.

    Attributes:
        made: files written.
        kept: files that were already there, complete and of the same origin.
        failures: paths without a result.
    """

    made: list[Path]
    kept: list[Path]
    failures: list[Failure]


def write_hha(
    paths: Iterable[Path | str],
    out: Path | str,
    *,
    camera: Camera | None = None,
    unit: float = 0.001,
    raw: Path | str | None = None,
    overwrite: bool = False,
    workers: int = 1,
    progress: bool = False,
) -> Written:
    """Encodes depth PNGs as HHA, each to `out/NAME.png` (RGB: disparity, height, angle).

    The text chunk of every result holds its origin: the depth's checksum, the camera and the unit.
    A complete file of the same origin is kept; one that is cut off or of another origin is made
    again. A file without an origin was made by another program: it is left alone and reported as a
    failure, unless `overwrite` is set.

    Args:
        paths: 16-bit depth PNGs, and folders of them (in the order of their names).
        out: folder for the results; made if missing.
        camera: of the depth; None selects NYUDv2's by the size of the image.
        unit: metres in one step of the stored depth.
        raw: if `paths` hold filled depth, the folder of the sensor's own depth under the same
            names; pixels that are 0 there are left out of the normals (see `hha`).
        overwrite: make every file, even where one is kept otherwise.
        workers: processes. More than 1 import the calling script again, so that it needs
            `if __name__ == "__main__":`.
        progress: show a bar in a terminal.

    Returns:
        What was made, kept and failed; the other files are made even if one fails.

    Raises:
        ValueError: there is nothing to encode, two results would have the same name, a result
            would replace a depth file, or `unit` or `workers` is not positive.
    """
    if not unit > 0 or workers < 1:
        raise ValueError(f"unit and workers must be positive; found {unit} and {workers}")
    files, failures = _expand([Path(path).expanduser() for path in paths])
    jobs = _jobs(files, Path(out).expanduser())
    if not jobs and not failures:
        raise ValueError("name at least one depth PNG, or a folder of them")
    encode = functools.partial(
        _encode,
        camera=camera,
        unit=unit,
        raw=Path(raw).expanduser() if raw else None,
        overwrite=overwrite,
    )
    made, kept = [], []
    for job, result in zip(jobs, _results(encode, jobs, workers, progress), strict=True):
        if isinstance(result, str):
            failures.append(Failure(job.source, result))
        else:
            (made if result else kept).append(job.target)
    return Written(made, kept, failures)


def _expand(paths: list[Path]) -> tuple[list[Path], list[Failure]]:
    """Replaces folders by the PNGs in them and drops files that are named twice."""
    files, failures = {}, []
    for path in paths:
        inside = [path]
        if path.is_dir():  # a file whose name starts with a dot is still being written
            inside = sorted(p for p in path.glob("*.png") if not p.name.startswith("."))
            if not inside:
                failures.append(Failure(path, "no PNG in it; name the folder that holds the depth"))
        for file in inside:
            files.setdefault(file.resolve(), file)
    return list(files.values()), failures


class _Job(NamedTuple):
    source: Path
    target: Path


def _jobs(files: list[Path], out: Path) -> list[_Job]:
    """One job per file; ValueError if two have one target or a target is a depth file."""
    targets: dict[Path, Path] = {}
    sources = {file.resolve() for file in files}
    for file in files:
        target = out / f"{file.stem}.png"
        other = targets.setdefault(target, file)
        if other != file:
            raise ValueError(
                f"{other} and {file} would both become {target}; give each its own --out folder"
            )
        if target.resolve() in sources:
            raise ValueError(
                f"{target}: the HHA would replace the depth. Choose another folder for --out."
            )
    return [_Job(file, target) for target, file in targets.items()]


def _results(
    encode: Callable[[_Job], bool | str], jobs: list[_Job], workers: int, progress: bool
) -> Iterator[bool | str]:
    """The result of every job, in order."""

    def with_bar(results: Iterable[bool | str]) -> Iterator[bool | str]:
        with Progress(disable=not progress) as bar:
            bar.console.show_cursor()  # Ctrl-C ends the process at once
            yield from bar.track(results, total=len(jobs), description="HHA")

    workers = min(workers, len(jobs))
    if workers <= 1:
        yield from with_bar(map(encode, jobs))
        return
    # Not forked: the caller may have JAX's threads, which do not survive a fork.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_end_with_parent) as pool:
        yield from with_bar(pool.map(encode, jobs))


def _end_with_parent() -> None:
    """In a worker: leave Ctrl-C to the parent, and end when it has ended, in whatever way."""
    parent = multiprocessing.parent_process()
    assert parent
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _encode(
    job: _Job, *, camera: Camera | None, unit: float, raw: Path | None, overwrite: bool
) -> bool | str:
    """True if the target was written, False if it was kept, or the reason for a failure."""
    try:
        depth = read_depth(job.source)[..., 0]
        measured = None if raw is None else _measured(raw / job.source.name, depth.shape)
        origin = f"{_VERSION} {zlib.crc32(depth.tobytes()):08x} {camera} {unit}"
        if measured is not None:
            origin += f" {zlib.crc32(measured.tobytes()):08x}"
        found = _origin_of(job.target)
        if found == origin and not overwrite:
            return False
        if found == "" and not overwrite:
            return f"{job.target} was made by another program; change --out or give --overwrite"
        encoded = hha(depth * np.float64(unit), camera, measured=measured)
    except ValueError as error:
        return str(error)
    text = PngImagePlugin.PngInfo()
    text.add_text(_KEY, origin)
    image = Image.fromarray(encoded)
    write_atomically(job.target, lambda part: image.save(part, "PNG", pnginfo=text))
    return True


def _measured(path: Path, shape: tuple[int, ...]) -> Bool[np.ndarray, "h w"]:
    """Where the raw depth is not missing."""
    values = read_depth(path)[..., 0]
    if values.shape != shape:
        raise DataError(f"{path}: expected the depth's size {shape}, found {values.shape}.")
    return values > 0


def _origin_of(path: Path) -> str | None:
    """A file's origin; "" if it does not say, None if it is missing or damaged."""
    try:
        with Image.open(path) as image:
            image.load()  # fails where the file is cut off
            return str(image.info.get(_KEY, ""))
    except _BROKEN:
        return None
