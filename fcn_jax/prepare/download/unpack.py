"""Unpacking tar, tar.gz and zip archives without trusting them.

Names stay inside the folder; links, devices and pipes, names that are the same on some disks,
encryption, and archives that hold more than expected are refused. Permissions, owners and dates
are not taken over.
"""

from __future__ import annotations

import gzip
import io
import re
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

from fcn_jax.data.readers import DataError

_CHUNK = 1 << 20
_BOMB = "it unpacks to far more than expected"
# What the standard library raises on archives that are cut off, damaged, or encrypted.
_BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
)
_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
}


class _Member(NamedTuple):
    """`odd` says what it is, if neither a file nor a folder."""

    name: str
    folder: bool
    size: int
    odd: str | None
    open: Callable[[], IO[bytes]]


def unpack(
    archive: Path,
    folder: Path,
    *,
    at_most: int,
    members: int,
    advance: Callable[[int], object] = lambda count: None,
) -> None:
    """Unpacks an archive into an empty folder.

    Args:
      archive: A tar, tar.gz or zip file, told by its content.
      folder: Where to; empty.
      at_most: Bytes that the archive may hold, unpacked.
      members: Files and folders that it may hold.
      advance: Told of the bytes just written.

    Raises:
      DataError: The archive is damaged or not to be trusted; names the member. What was unpacked
        by then stays.
    """
    seen: dict[str, str] = {}
    left = at_most
    try:
        for number, member in enumerate(_members(archive, at_most + 4096 * members), 1):
            left -= member.size
            if number > members or left < 0:
                raise DataError(
                    f"{archive}: holds more than the expected {members} files or {at_most} bytes; "
                    "not unpacked any further. Delete it and fetch it again."
                )
            parts = _safe(archive, member)
            _claim(archive, member, parts, seen)
            target = folder.joinpath(*parts)
            (target if member.folder else target.parent).mkdir(parents=True, exist_ok=True)
            if not member.folder:
                _write(member, target, advance)
    except _BROKEN as error:
        raise DataError(
            f"{archive}: cannot be unpacked ({error}). It is damaged or cut off, or no archive of "
            "a kind that is known here; delete it and fetch it again."
        ) from error


def _write(member: _Member, target: Path, advance: Callable[[int], object]) -> None:
    written = 0
    with member.open() as source, target.open("xb") as file:
        while chunk := source.read(_CHUNK):
            file.write(chunk)
            written += len(chunk)
            advance(len(chunk))
    if written != member.size:
        raise EOFError(f"{member.name!r} has {written} bytes, expected {member.size}")


def _safe(archive: Path, member: _Member) -> list[str]:
    """The parts of a member's path."""
    name = member.name.replace("\\", "/")  # as some programs write zip files
    parts = [part for part in name.split("/") if part not in ("", ".")]
    problem = None
    if member.odd:
        problem = f"is {member.odd}"
    elif name.startswith("/") or re.match("[A-Za-z]:", name):
        problem = "is an absolute path"
    elif ".." in parts:
        problem = "leads out of the folder"
    elif not name.isprintable() or not (parts or member.folder):
        problem = "is no name for a file"
    if problem:
        raise DataError(
            f"{archive}: the member {member.name!r} {problem}; expected files and folders below "
            "one folder. Do not use this archive: delete it and fetch it again."
        )
    return parts


def _claim(archive: Path, member: _Member, parts: list[str], seen: dict[str, str]) -> None:
    """Notes a path and the folders above it, refusing what some disks cannot tell apart."""
    for depth in range(1, len(parts) + 1):
        path = "/".join(parts[:depth])
        is_folder = member.folder or depth < len(parts)
        spelled = f"{path}/" if is_folder else path
        key = unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
        known = seen.get(key)
        if known is not None and (known != spelled or not is_folder):
            raise DataError(
                f"{archive}: the members {known!r} and {spelled!r} have one name, on some disks at "
                "least; expected each name once. Delete it and fetch it again."
            )
        seen[key] = spelled


def _members(archive: Path, at_most: int) -> Iterator[_Member]:
    with archive.open("rb") as file:
        start = file.read(4)
        file.seek(0)
        if start == b"PK\x03\x04":
            yield from _zip_members(file)
        elif start[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=file) as unzipped:
                bounded = _Bounded(unzipped, at_most)
                yield from _tar_members(bounded)
                while bounded.read(_CHUNK):  # to the end, where gzip's checksum is
                    pass
        else:
            yield from _tar_members(_Bounded(file, at_most))


def _zip_members(file: IO[bytes]) -> Iterator[_Member]:
    with zipfile.ZipFile(file) as opened:
        for info in opened.infolist():
            odd = _KINDS.get(stat.S_IFMT(info.external_attr >> 16))
            odd = "encrypted" if info.flag_bits & 1 else odd
            yield _Member(
                info.filename,
                info.is_dir(),
                info.file_size,
                odd,
                lambda info=info: opened.open(info),
            )


def _tar_members(file: _Bounded) -> Iterator[_Member]:
    with tarfile.open(fileobj=file, mode="r:") as opened:
        for info in opened:
            odd = None
            if info.islnk() or info.issym():
                odd = f"a link to {info.linkname!r}"
            elif not (info.isreg() or info.isdir()):
                odd = "a device or a pipe"
            yield _Member(
                info.name,
                info.isdir(),
                info.size if info.isreg() else 0,
                odd,
                lambda info=info: opened.extractfile(info),  # type: ignore[return-value]
            )


class _Bounded(io.BufferedIOBase):
    """A file of which only so much is read: a few bytes can unpack to any number of them."""

    def __init__(self, file: io.BufferedIOBase, at_most: int):
        self._file, self._at_most = file, at_most

    def read(self, size: int | None = -1, /) -> bytes:
        # tarfile reads extended headers in one piece, however long they say they are.
        if size is None or not 0 <= size <= _CHUNK << 4:
            raise tarfile.ReadError(_BOMB)
        data = self._file.read(size)
        self._check(self._file.tell())
        return data

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self._check(offset)
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def _check(self, position: int) -> None:
        if position > self._at_most:
            raise tarfile.ReadError(_BOMB)
