"""How a data set on the web is described: its files, checksums, folders and terms."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Remote:
    """A file on the web.

    Attributes:
      name: The name under which it is saved.
      urls: Its addresses, in the order in which they are tried.
      bytes: Its size; an upper bound if no size is published.
      checksum: `sha256:…` or `md5:…` as published; `None` if none is published.
    """

    name: str
    urls: tuple[str, ...]
    bytes: int
    checksum: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Folder:
    """A folder made from one archive and some lists.

    Attributes:
      places: Paths below the data folder where the readers look. The first is where the folder is
        installed.
      archive: The archive that contains the folder, at any depth.
      unpacked: Upper bound on the bytes in the archive, unpacked.
      members: Upper bound on the number of files and folders in the archive.
      holds: Patterns below the folder, each with the smallest number of files in a complete copy.
        The first pattern identifies the folder inside the archive.
      lists: Files that are added, each with its path below the folder.
    """

    places: tuple[str, ...]
    archive: Remote
    unpacked: int
    members: int
    holds: tuple[tuple[str, int], ...]
    lists: tuple[tuple[str, Remote], ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSet:
    """A data set.

    Attributes:
      name: Its name on the command line.
      folders: Its folders.
      terms: Its terms of use, in one line.
    """

    name: str
    folders: tuple[Folder, ...]
    terms: str
