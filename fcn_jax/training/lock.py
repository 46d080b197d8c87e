"""One run at a time in a folder.

A run locks its folder with `flock`, which ends with its process, however that ends. `running.json`
says who has the folder. Some file systems lock nothing, or only among the processes of one machine
(buckets, some network disks). So the holder also renews `running.json` every `BEAT` seconds. Where
the lock says nothing, a holder whose file stays the same for `EXPIRY` seconds counts as dead.
"""

import contextlib
import fcntl
import json
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fcn_jax.atomic import write_atomically

BEAT = 15.0
EXPIRY = 60.0


class FolderInUseError(ValueError):
    """Another run has the folder."""


class Lock:
    """A folder that this process holds; made by `hold`."""

    def __init__(self, folder: Path):
        self._folder, self._file = folder, folder / "running.json"
        self._me: dict[str, Any] = {
            "host": platform.node(),
            "pid": os.getpid(),
            "since": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
            "machine": _machine(),
            "token": os.urandom(8).hex(),
            "beats": 0,
        }

    def check(self) -> None:
        """Call it before writing to the folder.

        Raises:
            FolderInUseError: another run has taken the folder over, because this one had shown no
                sign of life for `EXPIRY` seconds.
        """
        found = _read(self._file)
        if found and found.get("token") != self._me["token"]:
            raise FolderInUseError(
                f"{self._folder} was taken over by {_who(found)}, because this process had shown "
                f"no sign of life for {EXPIRY:.0f} seconds; it stops here and writes nothing more"
            )

    def take(self, *, locked: bool, say: Callable[[str], None]) -> None:
        """Take the folder from a holder that is dead; raise FolderInUseError if it is alive."""
        found = _read(self._file)
        if found and not (locked and found.get("machine") == self._me["machine"]):
            say(f"{self._folder}: {_who(found)} had it; waiting {EXPIRY:.0f} s for a sign of life")
            end = time.monotonic() + EXPIRY
            while (now := _read(self._file)) and time.monotonic() < end:
                if now != found:
                    raise _in_use(self._folder, now)
                time.sleep(BEAT / 10)
        self._renew()

    def keep(self, ended: threading.Event) -> None:
        """Renew `running.json` until the run has ended."""
        while not ended.wait(BEAT):
            with contextlib.suppress(OSError, FolderInUseError):  # the run meets these itself
                self.check()
                self._renew()

    def give_back(self) -> None:
        """Remove `running.json`, unless another run has taken the folder over."""
        with contextlib.suppress(FolderInUseError):
            self.check()
            self._file.unlink(missing_ok=True)

    def _renew(self) -> None:
        self._me["beats"] += 1
        write_atomically(self._file, lambda part: part.write_text(json.dumps(self._me) + "\n"))


@contextlib.contextmanager
def hold(folder: Path, say: Callable[[str], None] = print) -> Iterator[Lock]:
    """Hold a folder; it is made if it is missing.

    Args:
        folder: a run's folder.
        say: prints a line, where it takes time to see whether another holder is alive.

    Raises:
        FolderInUseError: another run has it; the message says which.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock, ended = Lock(folder), threading.Event()
    opened = os.open(folder, os.O_RDONLY)
    try:
        lock.take(locked=_flock(folder, opened), say=say)
        keeper = threading.Thread(target=lock.keep, args=(ended,), daemon=True)
        keeper.start()
        try:
            yield lock
        finally:
            ended.set()
            keeper.join()
            lock.give_back()
    finally:
        os.close(opened)  # which unlocks it


def _flock(folder: Path, opened: int) -> bool:
    """Lock an open folder; False where the file system has no locks."""
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _in_use(folder, _read(folder / "running.json")) from None
    except OSError:
        return False
    return True


def _in_use(folder: Path, found: dict[str, Any]) -> FolderInUseError:
    return FolderInUseError(
        f"{folder} is in use by {_who(found)}. Wait until that run has ended, or give another "
        "--workdir"
    )


def _who(found: dict[str, Any]) -> str:
    unknown = "another process"
    if not found:
        return unknown
    return f"process {found.get('pid')} on {found.get('host')} since {found.get('since')}"


def _read(file: Path) -> dict[str, Any]:
    """The content of `running.json`; empty if it is missing or holds something else."""
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _machine() -> str:
    """The same in all processes and containers of a machine that share its kernel's locks."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return platform.node()
