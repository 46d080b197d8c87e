"""A local server that can misbehave as real ones do, and archives of every kind."""

import contextlib
import dataclasses
import gzip
import hashlib
import http.server
import io
import re
import tarfile
import threading
import zipfile

import numpy as np
from rich.console import Console

from fcn_jax.prepare.download.report import Report
from fcn_jax.prepare.download.spec import Remote

CONTENT = np.random.default_rng(0).bytes(300_000)

SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


@dataclasses.dataclass
class Served:
    """A file on the server, and how the server misbehaves.

    Attributes:
      cuts: Bytes after which the connection is closed, one entry per request.
      statuses: Statuses of the first answers, before the right one.
      location: Where the request is redirected to, or "".
      ranges: Whether parts are served.
      length: Whether the length is sent.
    """

    content: bytes = CONTENT
    tag: str = '"one"'
    cuts: list = dataclasses.field(default_factory=list)
    statuses: list = dataclasses.field(default_factory=list)
    location: str = ""
    ranges: bool = True
    length: bool = True


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):  # noqa: N802
        server = self.server
        server.requests.append((self.path, self.headers.get("Range")))
        served = server.files.get(self.path)
        if served is None or served.statuses or served.location:
            status = 404 if served is None else 302 if served.location else served.statuses.pop(0)
            self.send_response(status)
            if served is not None and served.location:
                self.send_header("Location", served.location)
            self.send_header("Content-Length", "0")
            return self.end_headers()
        start, total = 0, len(served.content)
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if wanted and served.ranges and self.headers.get("If-Range") == served.tag:
            start = int(wanted[1])
        if start >= total and start:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{total}")
            return self.end_headers()
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        if served.length:
            self.send_header("Content-Length", str(total - start))
        if served.tag:
            self.send_header("ETag" if '"' in served.tag else "Last-Modified", served.tag)
        self.end_headers()
        body = served.content[start:]
        self.wfile.write(body[: served.cuts.pop(0)] if served.cuts else body)


@contextlib.contextmanager
def serving():
    """A running server, with its `files` by path and a list of the `requests` so far."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.files, server.requests = {}, []
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def quiet():
    """A report whose `text()` is what it printed."""
    report = Report(Console(file=io.StringIO(), width=80))
    report.text = report._console.file.getvalue
    return report


def remote(server, *paths, checksum=SHA256, size=400_000):
    paths = paths or ("/a.tar",)
    return Remote(
        name="a.tar", urls=tuple(server.url + p for p in paths), bytes=size, checksum=checksum
    )


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def tar_of(*members, compress=True):
    """A tar of (name, content) or of `TarInfo`s with their content."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for info, content in members:
            if isinstance(info, str):
                info = tarfile.TarInfo(info)
            if info.type in (tarfile.REGTYPE, tarfile.AREGTYPE):
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return gzip.compress(stream.getvalue(), 1) if compress else stream.getvalue()


def zip_of(*members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for info, content in members:
            archive.writestr(info, content)
    return stream.getvalue()


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def zip_link(name, target):
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, 0o120777 << 16
    return info, target


def tree(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }
