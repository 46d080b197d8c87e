"""The page: gradio around the viewer, and its server. Only here gradio is imported, when called."""

import importlib.util
import os
import socket
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from fcn_jax.app.panes import Pane, ShownNet
from fcn_jax.app.photographs import Limits
from fcn_jax.app.pictures import Picture, at_pixel, label_file, look
from fcn_jax.report.pictures import write_label_png

KEPT_SECONDS = 3600
"""How long files and what is kept for a user stay after their last use."""

MOST_WAITING = 32
"""How many photographs may wait for the nets; further ones get a message."""

MOST_KEPT = 32
"""Of how many users the last photograph is kept; of more, the oldest is dropped."""

GONE = "This photograph is no longer kept. Drop it again."

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
    import uvicorn

    with listening(host, port) as listener, tempfile.TemporaryDirectory(prefix="fcn_jax_") as own:
        app = make_app(nets, limits, Path(own))
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
        say(f"page: {address(listener)} (Ctrl-C ends it)")
        uvicorn.Server(config).run(sockets=[listener])


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
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "GRADIO_TEMP_DIR": str(folder),
    }
    import gradio as gr
    from fastapi import FastAPI

    app = FastAPI(openapi_url=None)
    app.middleware("http")(_own_host_only)
    return gr.mount_gradio_app(
        app,
        _blocks(gr, nets, limits, folder),
        path="",
        max_file_size=round(limits.megabytes * 1e6),
        theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
        css=_asset("page.css"),
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        show_error=False,
    )


async def _own_host_only(request: Any, call_next: Callable[[Any], Any]) -> Any:
    """Tells the browser to ask nothing of any other host, whatever gradio's files say."""
    response = await call_next(request)
    response.headers["Content-Security-Policy"] = _POLICY
    return response


def _blocks(gr: Any, nets: Sequence[ShownNet], limits: Limits, folder: Path) -> Any:
    """What is on the page, and what happens when it is used."""
    panes = [pane for net in nets for pane in net.panes]

    def label(sent: tuple[Path, str] | None) -> list[Any]:
        """A photograph was sent, or taken away."""
        hidden = [gr.DownloadButton(visible=False) for _ in panes]
        if sent is None:
            return [None, gr.HTML(value=None, answer=None), *hidden]
        try:
            kept, drawing, labels = look(nets, *sent, limits)
        except (ValueError, OSError) as error:
            return [None, gr.HTML(value={"message": str(error)}, answer=None), *hidden]
        files = [
            write_label(folder, sent[1], pane, found, alone=len(panes) == 1)
            for pane, found in zip(panes, labels, strict=True)
        ]
        buttons = [gr.DownloadButton(value=str(file), visible=True) for file in files]
        return [kept, gr.HTML(value=drawing, answer=None), *buttons]

    def point(kept: Picture | None, event: gr.EventData) -> Any:
        """A user pointed at a pixel."""
        row, column = (int(event._data[name]) for name in ("row", "column"))
        if kept is None:
            return gr.HTML(value={"message": GONE}, answer=None)
        return gr.HTML(answer=at_pixel(kept, panes, row, column))

    titles = ", ".join(dict.fromkeys(pane.title for pane in panes))
    with gr.Blocks(
        title=f"{titles} · fcn_jax", analytics_enabled=False, delete_cache=(60, KEPT_SECONDS)
    ) as blocks:
        kept = gr.State(None, time_to_live=KEPT_SECONDS)
        with gr.Row(elem_classes="page"):
            with gr.Column(scale=1, min_width=260):
                photograph = gr.Image(
                    label="Photograph",
                    type="filepath",
                    height=260,
                    buttons=[],
                    webcam_options=gr.WebcamOptions(mirror=False),
                )
                photograph.preprocess = _file  # gradio's own would decode it, by another rule
                buttons = [
                    gr.DownloadButton(
                        "Download label" + f": {pane.title}" * (len(panes) > 1),
                        visible=False,
                        size="md",
                    )
                    for pane in panes
                ]
            with gr.Column(scale=3, min_width=300):
                viewer = gr.HTML(
                    html_template='<div class="viewer"></div>',
                    css_template=_asset("viewer.css"),
                    js_on_load=_asset("viewer.js"),
                    apply_default_css=False,
                    answer=None,
                    nets=[{"title": pane.title, "names": pane.names} for pane in panes],
                )
        photograph.change(
            label,
            photograph,
            [kept, viewer, *buttons],
            concurrency_limit=1,
            api_visibility="private",
            show_progress_on=viewer,
        )
        viewer.click(
            point, kept, viewer, queue=False, show_progress="hidden", api_visibility="private"
        )
    blocks.state_session_capacity = MOST_KEPT
    return blocks.queue(max_size=MOST_WAITING, api_open=False)


def _file(payload: Any) -> tuple[Path, str] | None:
    """The file that a user sent, which gradio has checked to be one, and the user's name of it."""
    if payload is None or payload.path is None:
        return None
    return Path(payload.path), Path(payload.orig_name or payload.path).name


def write_label(
    folder: Path, name: str, pane: Pane, label: UInt8[np.ndarray, "h w"], *, alone: bool
) -> Path:
    """Writes a label as `predict` does, into a new folder.

    Args:
        folder: where the new folder is made.
        name: of the photograph.
        pane: whose label it is.
        label: the class of every pixel.
        alone: whether the page has no other pane.
    """
    file = Path(tempfile.mkdtemp(dir=folder)) / label_file(name, pane, alone=alone)
    return write_label_png(file, label, pane.palette)


def _asset(name: str) -> str:
    return Path(__file__).with_name(name).read_text("utf-8")
