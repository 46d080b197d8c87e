"""Plots of a run as SVG for a page: they take the page's font and colours, light or dark."""

import io
import re
import warnings
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int64
from markupsafe import Markup, escape

# Colours that stand for those of the page's style.
_INK, _FAINT, _LINE = "#010000", "#020000", "#030000"
_CSS = {_INK: "var(--ink)", _FAINT: "var(--faint)", _LINE: "var(--line)"}
_SERIES = tuple(f"#0400{i:02x}" for i in range(6))
_CSS |= {colour: f"var(--s{i})" for i, colour in enumerate(_SERIES)}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "fcn_jax",
    "text.parse_math": False,
    "font.size": 9,
    "text.color": _INK,
    "axes.labelcolor": _FAINT,
    "axes.edgecolor": _LINE,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _LINE,
    "grid.linewidth": 0.6,
    "xtick.color": _LINE,
    "ytick.color": _LINE,
    "xtick.labelcolor": _FAINT,
    "ytick.labelcolor": _FAINT,
    "legend.frameon": False,
}
_DASHES = ("-", "--", ":", "-.")
MOST_CLASSES = 60
"""Of more classes, the confusion matrix shows those with the most pixels."""


class Line(NamedTuple):
    """A line of a plot.

    Attributes:
        name: for the legend; "" is not in it.
        x, y: its points.
        ends: where known, lower and upper ends of the interval of each point; NaN is none.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    ends: Float[np.ndarray, "n 2"] | None = None


def line_plot(title: str, lines: Sequence[Line], **limits: Any) -> Markup:
    """Lines over steps.

    Args:
        title: what is plotted, with its unit.
        lines: in the order of their colours.
        limits: such as `bottom=0` for the y axis.
    """

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        for i, line in enumerate(lines):
            colour, dash = _SERIES[i % 6], _DASHES[i // 6 % 4]
            mark = "o" if len(line.x) < 30 else None
            axes.plot(line.x, line.y, dash, color=colour, marker=mark, ms=3.5, lw=1.6)
            if line.ends is not None:
                known = ~np.isnan(line.ends).any(axis=1)
                x, ends = np.asarray(line.x)[known], line.ends[known]
                axes.vlines(x, ends[:, 0], ends[:, 1], color=colour, lw=5, alpha=0.35)
            if line.name:
                axes.plot([], [], dash, color=colour, label=line.name)
        axes.set_title(title)
        axes.set_xlabel("step")
        axes.set_ylim(**limits)
        axes.xaxis.get_major_locator().set_params(integer=True)
        if any(line.name for line in lines):
            figure.legend(loc="outside lower center", fontsize=8, ncols=2)

    return _svg(title, (4.9, 2.9), draw)


def reliability_plot(sums: Float64[np.ndarray, "b 3"]) -> Markup:
    """How often predictions of some confidence are right, beside a line where both are equal.

    Args:
        sums: as for `fcn_jax.report.tables.reliability_table`.
    """
    title = "right pixels of each confidence, per cent"

    def draw(figure: Any) -> None:
        upper, lower = figure.subplots(2, sharex=True, height_ratios=(3, 1))
        edges, pixels = np.linspace(0, 100, len(sums) + 1), sums[:, 0]
        right = 100 * np.divide(sums[:, 2], pixels, out=np.zeros(len(sums)), where=pixels > 0)
        bars = {"width": edges[1], "align": "edge", "edgecolor": _LINE, "linewidth": 0.5}
        upper.bar(edges[:-1], right, color=_SERIES[0], **bars)
        upper.plot([0, 100], [0, 100], "--", color=_INK, lw=1, label="as sure as right")
        upper.set_title(title)
        upper.legend(fontsize=8)
        lower.bar(edges[:-1], 100 * pixels / max(pixels.sum(), 1), color=_FAINT, **bars)
        lower.set_xlabel("confidence, per cent; below: share of the pixels")

    return _svg(title, (4.9, 3.0), draw)


def confusion_plot(matrix: Int64[np.ndarray, "k k"], names: Sequence[str]) -> Markup:
    """What the pixels of each class were predicted as.

    Args:
        matrix: pixels; rows are the truth, columns predictions. Classes that are in neither are
            left out.
        names: of the classes.
    """
    pixels = matrix.sum(axis=1)
    shown = np.flatnonzero(matrix.sum(axis=0) + pixels)
    shown = np.sort(shown[np.argsort(-pixels[shown], kind="stable")][:MOST_CLASSES])
    share = (100 * matrix / np.maximum(pixels[:, None], 1))[np.ix_(shown, shown)]
    texts, k = [_short(str(names[i])) for i in shown], len(shown)

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        axes.grid(False)
        drawn = axes.imshow(share, cmap="cividis", vmin=0, vmax=100, interpolation="nearest")
        turned = {"rotation": 90} if k > 6 else {"rotation": 30, "ha": "right"}
        axes.set_xticks(range(k), texts, **turned)
        axes.set_yticks(range(k), texts)
        axes.tick_params(length=0, labelsize=9 if k <= 25 else 6)
        axes.set(xlabel="predicted", ylabel="truth")
        axes.spines[:].set_visible(False)
        for (i, j), value in np.ndenumerate(share) if k <= 12 else ():
            text, ink = f"{value:.0f}" if value >= 0.5 else "", "#fff" if value < 55 else "#111"
            axes.text(j, i, text, ha="center", va="center", color=ink)
        bar = figure.colorbar(drawn, shrink=0.7, pad=0.02)
        bar.set_label("per cent of the true class")
        bar.outline.set_visible(False)

    side = np.interp(k, (2, 8, 25, 60), (3.2, 4.2, 6.5, 8))
    return _svg("confusion matrix", (side + 1.2, side + 0.6), draw)


def _svg(title: str, size: tuple[float, float], draw: Callable[[Any], None]) -> Markup:
    """What is drawn on a figure of some inches, as an element of a page."""
    import matplotlib
    from matplotlib.figure import Figure

    text = io.StringIO()
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the page has other fonts
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    return _for_page(text.getvalue(), title)


def _for_page(svg: str, title: str) -> Markup:
    """An SVG file as an element of a page: with the page's style, and names of its own."""
    width, height = re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)[0]
    svg = svg[svg.index(">", svg.index("<svg")) + 1 :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    own = f"p{zlib.crc32(svg.encode()):x}-"
    svg = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{own}", svg)
    for colour, css in _CSS.items():
        svg = svg.replace(colour, css)
    return Markup(
        f'<svg role="img" aria-label="{escape(title)}" viewBox="0 0 {width} {height}" '
        f'style="width: {float(width) * 4 / 3:.0f}px" xmlns="http://www.w3.org/2000/svg" '
        f'xmlns:xlink="http://www.w3.org/1999/xlink">{svg}'
    )


def _short(name: str) -> str:
    return name if len(name) <= 18 else name[:17] + "…"
