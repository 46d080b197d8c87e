"""What is known of a data set on the web."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Remote:
    """A file on the web.

    Attributes:
      name: What it is called here.
      urls: Its addresses, best first.
      bytes: Its size, or, where none is published, a bound well above what it can be.
      checksum: `sha256:…` or `md5:…` as published; `None` where nothing is published.
    """

    name: str
    urls: tuple[str, ...]
    bytes: int
    checksum: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Folder:
    """What one archive and some lists become.

    Attributes:
      places: The folder, below the data folder; after the first, others that the readers take.
      archive: Holds the folder, at whatever depth.
      unpacked: Bytes that the archive holds at most.
      members: Files and folders that the archive holds at most.
      holds: Patterns below the folder, each with the number of files that a complete one has at
        least. The first tells the folder from others in the archive.
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
    """A data set by its name on the command line.

    Attributes:
      name: The name.
      folders: What it consists of.
      terms: On what terms it may be used, in a line.
    """

    name: str
    folders: tuple[Folder, ...]
    terms: str
