"""The figures of these pages, drawn from the nets themselves: nothing here knows a crop offset."""

import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from IPython.display import SVG
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fcn_jax.data.batching import collate
from fcn_jax.data.canvases import choose_canvases
from fcn_jax.data.scenes import Scenes
from fcn_jax.nets.inputs import placeholder
from fcn_jax.nn.feature_map import FeatureMap, Grid
from fcn_jax.nn.layers import Conv, Crop, MaxPool
from fcn_jax.pages.pictures import PALETTE

BLUE, ORANGE, GREEN, GRAY = "#0072b2", "#d55e00", "#009e73", "#9a9a9a"
WIDTH = 7.6  # inches


class Cut(NamedTuple):
    """A crop that a net makes: its name, how many cells it cuts, the grids before and after."""

    name: str
    cells: int
    before: Grid
    after: Grid


def figure(rows: int, height: float, columns: int = 1) -> tuple[Figure, Any]:
    """A figure of so many drawings, `height` inches each, and the drawings in a grid."""
    drawn = Figure(figsize=(WIDTH, rows * height), layout="constrained")
    return drawn, drawn.subplots(rows, columns, squeeze=False)


def svg(drawn: Figure) -> SVG:
    """The figure as a picture of a page."""
    file = io.BytesIO()
    drawn.savefig(file, format="svg", metadata={"Date": None})
    return SVG(file.getvalue().decode())


def calls(net: nn.Module, height: int, width: int) -> list[tuple[Any, Any, FeatureMap]]:
    """Of every layer of a net: the layer, its first argument and its result; only traced."""
    found = []

    def record(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        result = call(*args, **kwargs)
        if context.method_name == "__call__" and isinstance(result, FeatureMap):
            found.append((context.module, args[0], result))
        return result

    with nn.intercept_methods(record):
        images = placeholder(net, (1, height, width))
        jax.eval_shape(lambda images: net.init(jax.random.key(0), images), images)
    return found


def formula(grid: Grid) -> str:
    """A grid as `explain` writes it: the pixel under the centre of cell i."""
    return f"{float(grid.stride):g}i{float(grid.offset):+g}"


class Two(nn.Module):
    """Two convolutions, each with a pool after it."""

    padding: int = 1

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool) -> dict[str, FeatureMap]:
        """The maps."""
        maps = {}
        for name in ("1", "2"):
            x = maps[f"conv{name}"] = Conv(1, 3, padding=self.padding, name=f"conv{name}")(x)
            x = maps[f"pool{name}"] = MaxPool(2, 2, name=f"pool{name}")(x)
        return maps


def small_net(padding: int, pixels: int = 16) -> SVG:
    """The cells of four maps over a row of pixels, and what one cell sees."""

    def maps(values: Any) -> Any:
        image = FeatureMap(values)
        found, _ = Two(padding).init_with_output(jax.random.key(0), image, train=False)
        return [image, *found.values()]  # JAX would sort a dictionary by its names

    found = jax.eval_shape(maps, jax.ShapeDtypeStruct((1, pixels, pixels, 1), jnp.float32))
    drawn, ((axes,),) = figure(1, 2.4)
    for row, x in enumerate(found):
        places = [float(x.grid.offset + x.grid.stride * i) for i in range(x.shape[1])]
        axes.plot(places, [-row] * len(places), "s" if row == 0 else "o", color=BLUE, ms=6)
        axes.text(pixels + 0.4, -row, f"{x.name}   {formula(x.grid)}", va="center")
        middle, half = places[len(places) // 2], float(x.grid.field) / 2
        axes.plot([middle - half, middle + half], [-row - 0.35] * 2, color=ORANGE, lw=2)
        axes.plot([middle], [-row], "s" if row == 0 else "o", color=ORANGE, ms=6)
    axes.set(xlim=(-3, pixels + 5), ylim=(-len(found) + 0.3, 0.5), yticks=[])
    axes.set_xticks(range(0, pixels, 2))
    axes.set_xlabel("pixel of the image; orange: one cell, and below it what the cell sees")
    axes.spines[["left", "right", "top"]].set_visible(False)
    return svg(drawn)


def cuts(net: nn.Module, size: int = 500) -> list[Cut]:
    """The crops of a net on an image of that size."""
    found = calls(net, size, size)
    return [
        Cut(layer.name, layer.start, x.grid, y.grid)
        for layer, x, y in found
        if isinstance(layer, Crop) and layer.start
    ]


def crops(drawings: Sequence[tuple[str, str, Cut]]) -> SVG:
    """For each crop: the cells before it, those that are cut, and the cells that they meet.

    Args:
        drawings: the name of the map that is cut, of the map that it meets, and the crop.
    """
    drawn, axes = figure(len(drawings), 1.25)
    most = max(cut.cells for *_, cut in drawings)
    alike = len({cut.before.stride for *_, cut in drawings}) == 1
    for (axis,), (name, other, cut) in zip(axes, drawings, strict=True):
        stride, start = float(cut.before.stride), float(cut.before.offset)
        end = float(cut.after.offset)
        many = cut.cells > 12
        shown = np.arange(cut.cells + max(3, cut.cells // 4))
        places = start + stride * shown
        size = 3 if many else 6
        kept = places[cut.cells :]
        axis.plot(places[: cut.cells], [1] * cut.cells, "x", color=ORANGE, ms=size + 1)
        axis.plot(kept, [1] * len(kept), "o", color=BLUE, ms=size)
        axis.plot(kept, [0] * len(kept), "s" if stride == 1 else "o", color=GREEN, ms=size)
        axis.axvline(end, color=GRAY, lw=0.8, ls=":", zorder=0)
        axis.text(
            (start + end - stride) / 2,
            1.45,
            f"{cut.cells} cells are cut: ({end:g} − ({start:g})) / {stride:g}".replace("-", "−"),
            color=ORANGE,
            ha="center",
        )
        axis.set_yticks([1, 0], [f"{name}  {formula(cut.before)}", other])
        limits = (-most - 1, most / 3) if alike else (start - stride, places[-1] + stride)
        axis.set(ylim=(-0.6, 2.0), xlim=limits)
        axis.spines[["left", "right", "top"]].set_visible(False)
        axis.tick_params(left=False)
    axes[-1][0].set_xlabel("pixel of the image, in which pixel 0 is the first")
    return svg(drawn)


def borders(net: nn.Module, height: int, width: int, layers: Sequence[str]) -> SVG:
    """Of some layers: the whole map, and the rectangle of cells that the image can change."""
    found = {layer.name: y for layer, _, y in calls(net, height, width) if layer.name in layers}
    drawn, axes = figure(1, 2.3, len(layers))
    for axis, name in zip(axes[0], layers, strict=True):
        x = found[name]
        (h, w), (rows, columns) = x.shape, x.values.shape[1:3]
        top, left = x.border.start if x.border else (0, 0)
        axis.add_patch(Rectangle((0, 0), w, h, color="#d8d8d8"))
        axis.add_patch(Rectangle((left, top), columns, rows, color=BLUE))
        image = x.grid.index_of(Grid())  # of pixel 0
        shape = (width / float(x.grid.stride), height / float(x.grid.stride))
        axis.add_patch(Rectangle((float(image),) * 2, *shape, fill=False, ec="white", ls="--"))
        axis.set(xlim=(0, w), ylim=(h, 0), aspect="equal", xticks=[], yticks=[])
        axis.set_title(f"{name}\n{h} x {w}", fontsize=10)
        axis.set_xlabel(f"{100 * rows * columns / (h * w):.0f} % computed")
    return svg(drawn)


def on_a_canvas(count: int = 3, seed: int = 5) -> SVG:
    """Images of different sizes on one canvas, and the rows and columns that are told apart."""
    scenes = Scenes(length=count, seed=seed, smallest=(36, 60), largest=(72, 110))
    batch = collate([scenes[i] for i in range(count)], scenes.largest)
    drawn, axes = figure(1, 2.1, count)
    for axis, image, (h, w) in zip(axes[0], batch["image"], batch["size"], strict=True):
        axis.imshow(image)
        axis.add_patch(Rectangle((-0.5, -0.5), w, h, fill=False, ec=ORANGE, lw=2))
        axis.set_title(f"size = ({h}, {w})", fontsize=10)
        axis.set(xticks=[], yticks=[])
    drawn.supxlabel(f"canvas of {image.shape[0]} x {image.shape[1]} pixels", fontsize=10)
    return svg(drawn)


def few_canvases(sizes: Sequence[tuple[int, int]], batch_size: int) -> SVG:
    """The sizes of a set's images, and the canvases that are compiled for."""
    drawn, ((axes,),) = figure(1, 3.2)
    for number, (h, w) in enumerate(choose_canvases(sizes, batch_size)):
        axes.add_patch(Rectangle((0, 0), w, h, fill=False, ec=PALETTE[number + 4] / 255, lw=2))
        axes.text(w, h, f"{h} x {w} ", ha="right", va="bottom", fontsize=9)
    heights, widths = np.array(sizes).T
    axes.plot(widths, heights, ".", color=GRAY, ms=4, zorder=0)
    axes.set(xlim=(0, widths.max() * 1.05), ylim=(0, heights.max() * 1.1))
    axes.set(xlabel="columns", ylabel="rows")
    axes.spines[["right", "top"]].set_visible(False)
    return svg(drawn)
