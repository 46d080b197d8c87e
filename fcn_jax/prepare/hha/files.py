"""Depth PNGs to HHA PNGs, many at a time."""

from __future__ import annotations

import dataclasses
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt16
from PIL import Image, PngImagePlugin

from fcn_jax.atomic import write_atomically
from fcn_jax.data.readers import DataError
from fcn_jax.prepare.hha.encoding import Camera, hha

_KEY = "fcn_jax hha"  # the text chunk that says what a file was made from
_VERSION = 1  # counts changes of the encoding
# What Pillow raises on files that are cut off or are not images at all.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


class Failure(NamedTuple):
    """A path that gave no HHA, and why."""

    path: Path
    reason: str


@dataclasses.dataclass(frozen=True)
class Written:
    """What `write_hha` did.

    Attributes:
        made: files written.
        kept: files that were there, whole and made from the same.
        failures: what gave none, with the reason.
    """

    made: list[Path]
    kept: list[Path]
    failures: list[Failure]


def read_depth(path: Path | str) -> UInt16[np.ndarray, "h w"]:
    """Reads a 16-bit depth PNG as stored: whole units, 0 where depth is missing.

    Raises:
        DataError: if the file is missing, damaged, or no 16-bit gray image.
    """
    try:
        with Image.open(path) as image:
            if image.mode not in ("I", "I;16", "I;16B"):
                raise DataError(
                    f"{path}: expected depth as a 16-bit gray PNG, found Pillow mode "
                    f"{image.mode!r}. 8 bits are too few for depth; take the original file."
                )
            values = np.asarray(image)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file. Is the data set complete?") from None
    except DataError:
        raise
    except _BROKEN as error:
        raise DataError(
            f"{path}: cannot be read as an image ({error}). The file may be cut off or damaged; "
            "copy or download it again."
        ) from error
    if values.min() < 0 or values.max() > 65535:
        raise DataError(f"{path}: expected 16-bit depth, found {values.min()} to {values.max()}.")
    return values.astype(np.uint16)


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

    Every file says in its text chunk what it was made from: the depth file's checksum and the
    arguments below. A whole file made from the same is kept, and one made from something else, or
    cut off, is made anew; one that does not say so is somebody else's, and a failure unless
    `overwrite`.

    Args:
        paths: 16-bit depth PNGs, and folders, whose PNGs are taken in the order of their names.
        out: folder for the results; made if missing.
        camera: the depth's camera; None is NYUDv2's, by the size of the image.
        unit: metres in one step of the stored depth.
        raw: folder with the depth as the sensor gave it, under the same names, where `paths` hold
            filled depth: what is 0 there has no part in the normals (see `hha`).
        overwrite: make every file, whatever is there.
        workers: processes. More than 1 are started afresh, so a script needs its
            `if __name__ == "__main__":`.
        progress: show a bar in a terminal.

    Returns:
        What was made, kept and failed; a failure does not stop the rest.

    Raises:
        ValueError: if there is nothing to encode, two files would give the same name, a result
            would replace a depth file, or unit or workers are not positive.
    """
    if not unit > 0 or workers < 1:
        raise ValueError(f"unit and workers must be positive; found {unit} and {workers}")
    files, failures = _expand([Path(path) for path in paths])
    jobs = _jobs(files, Path(out), _Settings(camera, unit, Path(raw) if raw else None, overwrite))
    if not jobs and not failures:
        raise ValueError("name at least one depth PNG, or a folder of them")
    made, kept = [], []
    for job, result in zip(jobs, _results(jobs, workers, progress), strict=True):
        if isinstance(result, str):
            failures.append(Failure(job.source, result))
        else:
            (made if result else kept).append(job.target)
    return Written(made, kept, failures)


class _Settings(NamedTuple):
    camera: Camera | None
    unit: float
    raw: Path | None
    overwrite: bool


class _Job(NamedTuple):
    source: Path
    target: Path
    settings: _Settings


def _expand(paths: list[Path]) -> tuple[list[Path], list[Failure]]:
    """Files to read, folders replaced by the PNGs in them, each file once."""
    files, failures = {}, []
    for path in paths:
        inside = [path]
        if path.is_dir():  # a name with a dot in front is a file that is being written
            inside = sorted(p for p in path.glob("*.png") if not p.name.startswith("."))
            if not inside:
                failures.append(Failure(path, "no PNG in it; name the folder that holds the depth"))
        for file in inside:
            files.setdefault(file.resolve(), file)
    return list(files.values()), failures


def _jobs(files: list[Path], out: Path, settings: _Settings) -> list[_Job]:
    """What is written where, every target another and none of them a file to read."""
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
    return [_Job(file, target, settings) for target, file in targets.items()]


def _results(jobs: list[_Job], workers: int, progress: bool) -> Iterator[bool | str]:
    """`_encode` of every job, in order."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    from rich.progress import track

    def shown(results: Iterable[bool | str]) -> Iterable[bool | str]:
        return track(results, "HHA", total=len(jobs)) if progress else results

    if min(workers, len(jobs)) <= 1:
        yield from shown(map(_encode, jobs))
        return
    # Not forked: JAX has threads by the time this is called, and they do not survive a fork.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=spawn) as pool:
        yield from shown(pool.map(_encode, jobs))


def _encode(job: _Job) -> bool | str:
    """Whether one file was written (True) or kept (False), or why neither."""
    camera, unit, raw, overwrite = job.settings
    try:
        depth = read_depth(job.source)
        measured = None if raw is None else _measured(raw / job.source.name, depth.shape)
        mark = f"{_VERSION} {zlib.crc32(depth.tobytes()):08x} {camera} {unit}"
        if measured is not None:
            mark += f" {zlib.crc32(measured.tobytes()):08x}"
        found = _found(job.target)
        if found == mark and not overwrite:
            return False
        if found == "" and not overwrite:
            return (
                f"{job.target} is there and was not made by this program; choose another folder "
                "for --out, or give --overwrite"
            )
        encoded = hha(depth * np.float64(unit), camera, measured=measured)
    except ValueError as error:
        return str(error)
    text = PngImagePlugin.PngInfo()
    text.add_text(_KEY, mark)
    image = Image.fromarray(encoded)
    write_atomically(job.target, lambda part: image.save(part, "PNG", pnginfo=text))
    return True


def _measured(path: Path, shape: tuple[int, ...]) -> Bool[np.ndarray, "h w"]:
    values = read_depth(path)
    if values.shape != shape:
        raise DataError(f"{path}: expected the depth's size {shape}, found {values.shape}.")
    return values > 0


def _found(path: Path) -> str | None:
    """What a file says that it was made from, "" where it says nothing; None: missing, cut off."""
    try:
        with Image.open(path) as image:
            image.load()  # all of it, so that a file that is cut off shows
            return str(image.info.get(_KEY, ""))
    except _BROKEN:
        return None
