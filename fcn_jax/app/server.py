"""The server of the page: where it listens, what it allows, how it ends."""

import importlib.util
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from fcn_jax.app.page import make_blocks, style
from fcn_jax.app.panes import ShownNet
from fcn_jax.app.photographs import MEGABYTE, Limits

_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'self'; "
    "object-src 'none'; base-uri 'self'; form-action 'self'"
)


def check_gradio() -> None:
    """Raises ValueError with the remedy where gradio is not installed."""
    if importlib.util.find_spec("gradio") is None:
        raise ValueError("the page needs gradio: pip install 'fcn-jax[app]'")


def serve_page(
    nets: Sequence[ShownNet], limits: Limits, host: str, port: int, say: Callable[[str], None]
) -> None:
    """Serves the page until the process is told to end.

    What users send lies in a folder of its own, which is removed at the end.

    Args:
        nets: what is shown, side by side.
        limits: how large a photograph may be.
        host: the address that is listened on.
        port: its port; 0 is any free one.
        say: called with the page's address.

    Raises:
        ValueError: the address cannot be listened on.
    """
    import uvicorn  # pyright: ignore[reportMissingImports]

    with listening(host, port) as listener, tempfile.TemporaryDirectory(prefix="fcn_jax_") as own:
        app = make_app(nets, limits, Path(own))
        # At the end of the server, uvicorn would print a traceback for each page that is open.
        config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1)
        say(f"page: {address(listener)} (Ctrl-C ends it)")
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _end)  # the server ends first, and calls it then
        uvicorn.Server(config).run(sockets=[listener])


def _end(number: int, _: Any) -> NoReturn:
    sys.exit(128 + number)


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        ValueError: the port is taken or not allowed, or the host is no address of this machine.
    """
    if not 0 <= port <= 65535:
        raise ValueError(f"--port: expected 0 to 65535, found {port}")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, *_, where = found[0]
        return socket.create_server(where[:2], family=family)
    except OSError as error:
        raise ValueError(
            f"{host}:{port} cannot be listened on: {error.strerror or error}; "
            "choose another --port (0 is any free one) or --host"
        ) from error


def address(listener: socket.socket) -> str:
    """Where the page is, for a browser."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def make_app(nets: Sequence[ShownNet], limits: Limits, folder: Path) -> Any:
    """The page as an ASGI application. Neither it nor the browser asks anything of another host.

    Args:
        nets: what is shown, side by side.
        limits: how large a photograph may be.
        folder: for the files that users send and get.
    """
    os.environ |= {
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_RUN_HISTORY": "False",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "GRADIO_TEMP_DIR": str(folder),
    }
    import gradio as gr  # pyright: ignore[reportMissingImports]
    from fastapi import FastAPI  # pyright: ignore[reportMissingImports]
    from fastapi.middleware import Middleware  # pyright: ignore[reportMissingImports]

    blocks = make_blocks(gr, nets, limits, folder)
    # Without these two, gradio takes any file that a request names for one that was sent.
    blocks.has_launched = blocks.is_running = True
    return gr.mount_gradio_app(
        FastAPI(openapi_url=None, middleware=[Middleware(_guarded)]),
        blocks,
        path="",
        max_file_size=round(limits.megabytes * MEGABYTE),
        footer_links=[],
        ssr_mode=False,
        show_error=False,
        **style(gr),
    )


def _guarded(app: Any) -> Any:
    """Tells the browser to ask nothing of any other host, whatever gradio's files say."""

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        async def send_with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                policy = (b"content-security-policy", _POLICY.encode())
                message["headers"] = [*message["headers"], policy]
                # Of a small file, gradio's progress is asked for when it is already there.
                if message["status"] == 404 and scope["path"].endswith("/upload_progress"):
                    message["status"] = 200
            await send(message)

        await app(scope, receive, send_with_policy)

    return guarded
