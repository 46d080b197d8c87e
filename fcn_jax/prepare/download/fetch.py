"""One file over HTTP: resumed, retried, and verified before it gets its name.

While it is fetched it is called `NAME.part`, and `NAME.part.tag` holds what the server calls this
version of the file (an ETag or a date), without which a part is not gone on with.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from fcn_jax.atomic import write_atomically
from fcn_jax.data.readers import DataError
from fcn_jax.prepare.download.report import Report
from fcn_jax.prepare.download.spec import Remote

TRIES = 4
"""Attempts in a row that may fail without a byte gained; pauses of 1, 2 and 4 s between them."""
_TIMEOUT = 60.0  # seconds of silence
_CHUNK = 1 << 20
_BUSY = (408, 425, 429, 500, 502, 503, 504)  # statuses that pass

_Response = http.client.HTTPResponse | urllib.error.HTTPError


class CannotFetchError(DataError):
    """A file cannot be had from any of its addresses."""


class _Passing(Exception):
    """May work when tried again."""


class _Failed(Exception):
    """Will not be had from this address."""


def fetch(
    remote: Remote,
    folder: Path,
    report: Report,
    *,
    pause: Callable[[float], object] = time.sleep,
) -> Path:
    """Fetches a file, going on with what an earlier attempt left.

    A file that is already there, put there by hand perhaps, is verified and taken. Where no
    checksum is published, the SHA-256 of the first download is kept in `NAME.sha256` and printed,
    and later downloads are held against it.

    Args:
      remote: What to fetch.
      folder: An existing folder.
      report: Told of progress and of attempts that fail.
      pause: Waits that many seconds.

    Returns:
      The verified file, `folder / remote.name`.

    Raises:
      CannotFetchError: It cannot be had from any address; says what to fetch by hand and where to
        put it.
      DataError: A file that is there is not the right one.
    """
    path = folder / remote.name
    if path.exists():
        if wrong := _wrong(path, remote, report):
            raise DataError(f"{path}: {wrong}. Delete it and run the same command again.")
        return path
    part, failures = path.with_name(f"{path.name}.part"), []
    for url in remote.urls:
        try:
            _complete(url, part, remote.bytes, report, pause)
            if wrong := _wrong(part, remote, report):
                _forget(part)
                raise _Failed(wrong)
        except _Failed as failure:
            failures.append(f"  {url}: {failure}")
            continue
        os.replace(part, path)
        _forget(part)
        return path
    raise CannotFetchError(
        f"{remote.name} could not be fetched.\n" + "\n".join(failures) + "\nThe same command goes "
        f"on where it stopped. Or fetch the file by hand, save it as {path}"
        + (f" ({remote.checksum})" if remote.checksum else "")
        + ", and run the same command again."
    )


def _wrong(file: Path, remote: Remote, report: Report) -> str | None:
    """What is wrong with a file, if anything; keeps the SHA-256 where there is nothing to go by."""
    record = file.with_name(f"{remote.name}.sha256")
    expected, source = remote.checksum, "as published"
    if expected is None and record.exists():
        expected = f"sha256:{record.read_text().split()[0]}"
        source = f"kept in {record} from an earlier download (delete that if it was damaged)"
    algorithm = expected.partition(":")[0] if expected else "sha256"
    with file.open("rb") as stream:
        found = f"{algorithm}:{hashlib.file_digest(stream, algorithm).hexdigest()}"
    if expected is None:
        digest = found.partition(":")[2]
        write_atomically(record, lambda to: to.write_text(f"{digest}  {remote.name}\n"))
        report.say(
            f"{remote.name}: {found}. No checksum is published, so there is nothing to compare "
            f"this with; kept in {record}."
        )
    elif found != expected:
        size = file.stat().st_size
        return f"not the right file: expected {expected} {source}, found {found} ({size} bytes)"
    return None


def _complete(
    url: str, part: Path, limit: int, report: Report, pause: Callable[[float], object]
) -> None:
    """Receives until the part is the whole file."""
    left, reached = TRIES, _size(part)
    while True:
        try:
            return _receive(url, part, limit, report)
        except _Passing as error:
            left = left - 1 if _size(part) <= reached else TRIES
            reached = max(reached, _size(part))
            if left == 0:
                raise _Failed(f"{error} ({TRIES} attempts)") from None
            report.say(f"{url}: {error}; trying again")
            pause(2.0 ** max(TRIES - left - 1, 0))


def _receive(url: str, part: Path, limit: int, report: Report) -> None:
    """One attempt; what arrives stays in the part."""
    tag_file = _tag_file(part)
    tag = tag_file.read_text() if tag_file.exists() else ""
    have = _size(part) if tag else 0
    headers = {"User-Agent": "Mozilla/5.0 (compatible; fcn_jax)"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": tag}
    with _open(urllib.request.Request(url, headers=headers)) as response:
        start, total = _extent(response)
        if response.status == 416 and total == have:
            return  # the part was whole
        if start not in (0, have):
            _forget(part)
            raise _Passing(f"the server did not go on at byte {have}")
        if total is not None and total > limit:
            raise _Failed(f"{total} bytes, expected at most {limit}; another file by now?")
        if start == 0:  # nothing to go on with, or the server does not, or the file has changed
            _forget(part)
        with part.open("ab") as file, report.progress(part.stem, total, start) as advance:
            if start == 0:
                tag_file.write_text(_tag(response))
            got = start
            for chunk in _chunks(response):
                got += len(chunk)
                if got > limit:
                    break
                file.write(chunk)
                advance(len(chunk))
            os.fsync(file.fileno())
    if got > limit:
        _forget(part)
        raise _Failed(f"more than the expected {limit} bytes; another file by now?")
    if total is not None and got != total:
        raise _Passing(f"the connection closed after {got} of {total} bytes")


def _open(request: urllib.request.Request) -> _Response:
    try:
        return urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and request.has_header("Range"):
            return error  # an answer like others
        error.close()
        kind = _Passing if error.code in _BUSY else _Failed
        raise kind(f"{error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException) as error:
        raise _Passing(f"no answer ({getattr(error, 'reason', error)})") from None


def _chunks(response: _Response) -> Iterator[bytes]:
    """The body; network errors become `_Passing`, so that those of the disk stay what they are."""
    while True:
        try:
            chunk = response.read(_CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise _Passing(f"the connection broke ({error})") from None
        if not chunk:
            return
        yield chunk


def _extent(response: _Response) -> tuple[int, int | None]:
    """The first byte that the answer holds, and the size of the whole file where it is told."""
    if response.status not in (206, 416):
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdigit() else None
    text = response.headers.get("Content-Range", "")
    found = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", text)
    if not found:
        return -1, None
    start, total = found.groups()
    return int(start or -1), int(total) if total.isdigit() else None


def _tag(response: _Response) -> str:
    """What `If-Range` takes: a strong ETag, or a date."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified", "")


def _tag_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.tag")


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _forget(part: Path) -> None:
    _tag_file(part).unlink(missing_ok=True)
    part.unlink(missing_ok=True)
