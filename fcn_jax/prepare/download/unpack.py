"""Unpacks tar, tar.gz and zip archives without trusting them.

Every file ends up inside the folder. Links, devices, pipes, names that are the same on some file
systems, encryption, and archives that hold more than expected are refused. Permissions, owners and
dates are ignored.
"""

from __future__ import annotations

import gzip
import io
import re
import shutil
import stat
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, NamedTuple

from fcn_jax.damage import reading
from fcn_jax.data.readers import DataError

_CHUNK = 1 << 20
_BOMB = "it unpacks to far more than expected"
# What every file system holds: bytes of a name and of a path, and folders in folders.
_MOST_NAME, _MOST_PATH, _MOST_FOLDERS = 255, 1024, 64
_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
}


class _Member(NamedTuple):
    """One entry of an archive; `special` says what it is if it is neither a file nor a folder."""

    name: str
    folder: bool
    size: int
    special: str | None
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
      archive: A tar, tar.gz or zip file; its content decides which.
      folder: An empty folder to unpack into.
      at_most: Upper bound on the unpacked bytes.
      members: Upper bound on the number of files and folders.
      advance: Called with the number of bytes just written.

    Raises:
      DataError: The archive is damaged or not safe; names the member.
      OSError: The folder cannot be written to.
      In both cases the folder is empty again.
    """
    try:
        _unpack(archive, folder, at_most, members, advance)
    except BaseException:
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        raise


def _unpack(
    archive: Path, folder: Path, at_most: int, members: int, advance: Callable[[int], object]
) -> None:
    seen: dict[str, str] = {}
    left = at_most
    for number, member in enumerate(_members(archive, at_most + 4096 * members), 1):
        left -= member.size
        if number > members or left < 0:
            raise DataError(
                f"{archive}: holds more than the expected {members} files or {at_most} bytes; "
                f"unpacking stopped at the member {_short(member.name)}. Delete it and fetch it "
                "again."
            )
        parts = _safe_parts(archive, member)
        _check_unique(archive, member, parts, seen)
        target = folder.joinpath(*parts)
        (target if member.folder else target.parent).mkdir(parents=True, exist_ok=True)
        if not member.folder:
            with target.open("xb") as file:
                for chunk in _content(archive, member):
                    file.write(chunk)
                    advance(len(chunk))


def _reading(where: str, kind: str) -> AbstractContextManager[None]:
    """What is raised becomes a `DataError`. Nothing may be written inside: the disk has others."""
    return reading(where, kind, "Delete the archive and fetch it again.", DataError)


def _content(archive: Path, member: _Member) -> Iterator[bytes]:
    with _reading(f"{archive}: the member {_short(member.name)}", "a file"):
        left = member.size
        with member.open() as source:
            while chunk := source.read(_CHUNK):
                yield chunk
                left -= len(chunk)
        if left:
            raise EOFError(f"{member.size - left} bytes found, expected {member.size}")


def _short(name: str) -> str:
    """A member's name for a message."""
    return repr(name) if len(name) < 200 else f"{name[:100]!r}... ({len(name)} characters)"


def _safe_parts(archive: Path, member: _Member) -> list[str]:
    """The parts of a member's path; DataError if it is not safe."""
    name = member.name.replace("\\", "/")  # some programs write zip files this way
    parts = [part for part in name.split("/") if part not in ("", ".")]
    problem = None
    if member.special:
        problem = f"is {member.special}"
    elif name.startswith("/") or re.match("[A-Za-z]:", name):
        problem = "is an absolute path"
    elif ".." in parts:
        problem = "leads out of the folder"
    elif not name.isprintable() or not (parts or member.folder):
        problem = "is not a valid file name"
    elif max(map(_bytes, parts), default=0) > _MOST_NAME or _bytes(name) > _MOST_PATH:
        problem = f"has a name of more than {_MOST_NAME} bytes, or a path of more than {_MOST_PATH}"
    elif len(parts) > _MOST_FOLDERS:
        problem = f"lies in more than {_MOST_FOLDERS} folders"
    if problem:
        raise DataError(
            f"{archive}: the member {_short(member.name)} {problem}; expected files and folders "
            "below one folder. Do not use this archive: delete it and fetch it again."
        )
    return parts


def _bytes(name: str) -> int:
    return len(name.encode())


def _check_unique(archive: Path, member: _Member, parts: list[str], seen: dict[str, str]) -> None:
    """Adds a path and the folders above it to `seen`; DataError if two names may be the same."""
    for depth in range(1, len(parts) + 1):
        path = "/".join(parts[:depth])
        is_folder = member.folder or depth < len(parts)
        spelled = f"{path}/" if is_folder else path
        # Some file systems ignore case, or how accents are encoded.
        key = unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
        known = seen.get(key)
        if known is not None and (known != spelled or not is_folder):
            raise DataError(
                f"{archive}: the members {known!r} and {spelled!r} have the same name, at least on "
                "some file systems; expected each name once. Delete it and fetch it again."
            )
        seen[key] = spelled


def _members(archive: Path, at_most: int) -> Iterator[_Member]:
    with _reading(str(archive), "a tar, tar.gz or zip archive"), archive.open("rb") as file:
        start = file.read(4)
        file.seek(0)
        if start == b"PK\x03\x04":
            yield from _zip_members(file)
        elif start[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=file) as unzipped:
                bounded = _Bounded(unzipped, at_most)
                yield from _tar_members(bounded)
                while bounded.read(_CHUNK):  # gzip's checksum is at the end
                    pass
        else:
            yield from _tar_members(_Bounded(file, at_most))


def _zip_members(file: IO[bytes]) -> Iterator[_Member]:
    with zipfile.ZipFile(file) as opened:
        for info in opened.infolist():
            kind = _KINDS.get(stat.S_IFMT(info.external_attr >> 16))
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                kind = "compressed in a way that is not read"  # some take gigabytes to unpack
            yield _Member(
                name=info.filename,
                folder=info.is_dir(),
                size=info.file_size,
                special="encrypted" if info.flag_bits & 1 else kind,
                open=lambda info=info: opened.open(info),
            )


def _tar_members(file: _Bounded) -> Iterator[_Member]:
    with tarfile.open(fileobj=file, mode="r:") as opened:
        for info in opened:
            special = None
            if info.islnk() or info.issym():
                special = f"a link to {info.linkname!r}"
            elif not (info.isreg() or info.isdir()):
                special = "a device or a pipe"
            yield _Member(
                name=info.name,
                folder=info.isdir(),
                size=info.size if info.isreg() else 0,
                special=special,
                open=lambda info=info: opened.extractfile(info),  # type: ignore[return-value]
            )
    if any(file.last):  # tarfile takes a damaged header for the end
        raise tarfile.ReadError("a damaged header")


class _Bounded(io.BufferedIOBase):
    """A file that cannot be read beyond a position: a few bytes can unpack to any number."""

    def __init__(self, file: io.BufferedIOBase, at_most: int):
        self._file, self._at_most = file, at_most
        self.last = b""  # what was read last

    def read(self, size: int | None = -1, /) -> bytes:
        # tarfile reads an extended header at once, whatever length the header claims.
        if size is None or not 0 <= size <= _CHUNK << 4:
            raise tarfile.ReadError(_BOMB)
        self.last = self._file.read(size)
        self._check(self._file.tell())
        return self.last

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self._check(offset)
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def _check(self, position: int) -> None:
        if position > self._at_most:
            raise tarfile.ReadError(_BOMB)
