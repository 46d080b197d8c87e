"""The page itself, made of gradio's parts and the viewer (`viewer.js`, `viewer.css`)."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from fcn_jax.app.panes import Pane, ShownNet
from fcn_jax.app.photographs import Limits
from fcn_jax.app.pictures import Picture, at_pixel, label_file, look
from fcn_jax.report.pictures import write_label_png

KEPT_SECONDS = 3600
"""How long files, and what is kept for a user, stay."""

MOST_KEPT = 32
"""Of how many users the last photograph is kept; of more, the oldest is dropped."""

MOST_WAITING = 32
"""How many photographs may wait for the nets; further ones get a message."""

GONE = "This photograph is no longer kept. Send it again."


def make_blocks(gr: Any, nets: Sequence[ShownNet], limits: Limits, folder: Path) -> Any:
    """What is on the page, and what happens when it is used.

    Args:
        gr: the module gradio.
        nets: what is shown, side by side.
        limits: how large a photograph may be.
        folder: for the labels that users download.
    """
    panes = [pane for net in nets for pane in net.panes]

    def send(sent: tuple[Path, str] | None) -> list[Any]:
        return _labelled(gr, nets, panes, limits, folder, sent)

    def point(kept: Picture | None, event: Any) -> Any:
        if kept is None:
            return gr.HTML(value={"message": GONE}, answer=None)
        row, column = (int(event._data[name]) for name in ("row", "column"))
        return gr.HTML(answer=at_pixel(kept, panes, row, column))

    point.__annotations__["event"] = gr.EventData  # so gradio knows what to pass
    title = f"{', '.join(pane.title for pane in panes)} · fcn_jax"
    cleaning = (60, KEPT_SECONDS)  # how often, and files of what age
    with gr.Blocks(
        title=title, fill_width=True, analytics_enabled=False, delete_cache=cleaning
    ) as blocks:
        kept = gr.State(None, time_to_live=KEPT_SECONDS)
        with gr.Row(elem_classes="page"):
            with gr.Column(scale=1, min_width=260):
                photograph, buttons = _sender(gr, panes)
            with gr.Column(scale=3, min_width=300):
                viewer = gr.HTML(
                    html_template='<div class="viewer"></div>',
                    css_template=_asset("viewer.css"),
                    js_on_load=_asset("viewer.js"),
                    apply_default_css=False,
                    answer=None,
                    nets=[{"title": pane.title, "names": pane.names} for pane in panes],
                )
        private: Any = {"api_visibility": "private"}
        outputs = [kept, viewer, *buttons]
        photograph.change(
            send, photograph, outputs, concurrency_limit=1, show_progress_on=viewer, **private
        )
        viewer.click(point, kept, viewer, queue=False, show_progress="hidden", **private)
    blocks.state_session_capacity = MOST_KEPT
    return blocks.queue(max_size=MOST_WAITING, api_open=False)


def style(gr: Any) -> dict[str, Any]:
    """How the page looks; fonts are the system's."""
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])
    return {"theme": theme, "css": ".page { gap: 24px; max-width: 1500px; margin: auto; }"}


def _sender(gr: Any, panes: Sequence[Pane]) -> tuple[Any, list[Any]]:
    """Where a photograph is sent, and the buttons for the labels."""
    photograph = gr.Image(
        label="Photograph",
        type="filepath",
        height=260,
        buttons=[],
        webcam_options=gr.WebcamOptions(mirror=False),
    )
    photograph.preprocess = _file  # gradio's own would decode it, by another rule
    texts = [f": {pane.title}" if len(panes) > 1 else "" for pane in panes]
    buttons = [gr.DownloadButton(f"Download label{t}", visible=False, size="md") for t in texts]
    return photograph, buttons


def _labelled(
    gr: Any,
    nets: Sequence[ShownNet],
    panes: Sequence[Pane],
    limits: Limits,
    folder: Path,
    sent: tuple[Path, str] | None,
) -> list[Any]:
    """What changes when a photograph is sent, or taken away: what is kept, viewer, buttons."""
    hidden = [gr.DownloadButton(visible=False) for _ in panes]
    if sent is None:
        return [None, gr.HTML(value=None, answer=None), *hidden]
    try:
        kept, drawing, labels = look(nets, *sent, limits)
    except (ValueError, OSError) as error:
        return [None, gr.HTML(value={"message": str(error)}, answer=None), *hidden]
    files = [
        write_label(folder, sent[1], pane, label, alone=len(panes) == 1)
        for pane, label in zip(panes, labels, strict=True)
    ]
    buttons = [gr.DownloadButton(value=str(file), visible=True) for file in files]
    return [kept, gr.HTML(value=drawing, answer=None), *buttons]


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
