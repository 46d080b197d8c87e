"""Downloads one file over HTTP: resumed, retried, and verified before it gets its name.

Until it is complete the file is called `NAME.part`. `NAME.part.tag` holds what the server calls
this version of the file (an ETag or a date); a part without a tag is not resumed.
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
"""Attempts in a row that may fail without receiving a byte; pauses of 1, 2 and 4 s between them."""
_TIMEOUT = 60.0  # seconds without data
_CHUNK = 1 << 20
_TEMPORARY = (408, 425, 429, 500, 502, 503, 504)  # HTTP statuses after which we try again

_Response = http.client.HTTPResponse | urllib.error.HTTPError


class CannotFetchError(DataError):
    """None of a file's addresses gave the file."""


class _TemporaryError(Exception):
    """Another attempt may work."""


class _PermanentError(Exception):
    """This address does not give the file."""


def fetch(
    remote: Remote,
    folder: Path,
    report: Report,
    *,
    pause: Callable[[float], object] = time.sleep,
) -> Path:
    """Downloads a file, resuming an earlier attempt.

    A file that is already there, perhaps placed by hand, is verified and used. If no checksum is
    published, the SHA-256 of the first download is printed and kept in `NAME.sha256`, and later
    downloads are compared with it.

    Args:
      remote: What to download.
      folder: An existing folder.
      report: Prints progress and failed attempts.
      pause: Waits for a number of seconds.

    Returns:
      The verified file, `folder / remote.name`.

    Raises:
      CannotFetchError: No address gave the file; says what to fetch by hand and where to save it.
      DataError: The file that is already there is not the right one.
    """
    path = folder / remote.name
    if path.exists():
        if mismatch := _mismatch(path, remote, report):
            raise DataError(f"{path}: {mismatch}. Delete it and run the same command again.")
        return path
    part, failures = path.with_name(f"{path.name}.part"), []
    for url in remote.urls:
        try:
            _download(url, part, remote.bytes, report, pause)
            if mismatch := _mismatch(part, remote, report):
                _delete(part)
                raise _PermanentError(mismatch)
        except _PermanentError as failure:
            failures.append(f"  {url}: {failure}")
            continue
        os.replace(part, path)
        _delete(part)
        return path
    checksum = f" ({remote.checksum})" if remote.checksum else ""
    raise CannotFetchError(
        "\n".join([f"{remote.name} could not be fetched.", *failures])
        + "\nRun the same command again to resume. Or fetch the file by hand, save it as "
        f"{path}{checksum}, and run the same command again."
    )


def _mismatch(file: Path, remote: Remote, report: Report) -> str | None:
    """What is wrong with a file, or None; keeps its SHA-256 if there is nothing to compare with."""
    record = file.with_name(f"{remote.name}.sha256")
    expected, source = remote.checksum, "as published"
    if expected is None and record.exists():
        expected = f"sha256:{record.read_text().split()[0]}"
        source = f"kept in {record} from an earlier download (delete that if it was damaged)"
    algorithm = expected.partition(":")[0] if expected else "sha256"
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, algorithm).hexdigest()
    found = f"{algorithm}:{digest}"
    if expected is None:
        write_atomically(record, lambda to: to.write_text(f"{digest}  {remote.name}\n"))
        report.say(
            f"{remote.name}: {found}. No checksum is published, so there is nothing to compare "
            f"this with; kept in {record}."
        )
    elif found != expected:
        size = file.stat().st_size
        return f"not the right file: expected {expected} {source}, found {found} ({size} bytes)"
    return None


def _download(
    url: str, part: Path, limit: int, report: Report, pause: Callable[[float], object]
) -> None:
    """Makes attempts until the part is complete."""
    left, reached = TRIES, _size(part)
    while True:
        try:
            return _attempt(url, part, limit, report)
        except _TemporaryError as error:
            left = left - 1 if _size(part) <= reached else TRIES
            reached = max(reached, _size(part))
            if left == 0:
                raise _PermanentError(f"{error} ({TRIES} attempts)") from None
            report.say(f"{url}: {error}; trying again")
            pause(2.0 ** max(TRIES - left - 1, 0))


def _attempt(url: str, part: Path, limit: int, report: Report) -> None:
    """Makes one attempt; the bytes received stay in the part."""
    tag_file = _tag_file(part)
    tag = tag_file.read_text() if tag_file.exists() else ""
    have = _size(part) if tag else 0
    headers = {"User-Agent": "Mozilla/5.0 (compatible; fcn_jax)"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": tag}
    with _open(urllib.request.Request(url, headers=headers)) as response:
        start, total = _extent(response)
        if response.status == 416 and total == have:
            return  # the part was complete
        if start not in (0, have):
            _delete(part)
            raise _TemporaryError(f"the server did not resume at byte {have}")
        if total is not None and total > limit:
            raise _PermanentError(f"found {total} bytes, expected at most {limit}; a new file?")
        if start == 0:  # nothing to resume, or the server cannot, or the file has changed
            _delete(part)
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
        _delete(part)
        raise _PermanentError(f"found more than the expected {limit} bytes; a new file?")
    if total is not None and got != total:
        raise _TemporaryError(f"the connection closed after {got} of {total} bytes")


def _open(request: urllib.request.Request) -> _Response:
    try:
        return urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and request.has_header("Range"):
            return error  # its header has the file's size
        error.close()
        kind = _TemporaryError if error.code in _TEMPORARY else _PermanentError
        raise kind(f"{error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException) as error:
        raise _TemporaryError(f"no answer ({getattr(error, 'reason', error)})") from None


def _chunks(response: _Response) -> Iterator[bytes]:
    """The body; only errors of the network become `_TemporaryError`, those of the disk do not."""
    while True:
        try:
            chunk = response.read(_CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise _TemporaryError(f"the connection broke ({error})") from None
        if not chunk:
            return
        yield chunk


def _extent(response: _Response) -> tuple[int, int | None]:
    """The position of the answer's first byte, and the size of the whole file or None."""
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
    """What `If-Range` accepts: a strong ETag, or a date."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified", "")


def _tag_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.tag")


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _delete(part: Path) -> None:
    """Deletes the part and its tag."""
    _tag_file(part).unlink(missing_ok=True)
    part.unlink(missing_ok=True)
