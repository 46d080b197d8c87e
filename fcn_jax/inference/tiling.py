"""Labels for images larger than memory, tile by tile, with the scores of the whole image."""

import functools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import Float32, UInt8

from fcn_jax.arithmetic import round_up
from fcn_jax.devices.compiling import jit
from fcn_jax.inference.large_files.strips import Rows, read_strips, row_window, write_strips
from fcn_jax.inference.predictor import Predictor, Preprocess, check_rgb, predict_labels
from fcn_jax.inference.tile_spans import abstract_image, net_geometry, tile_spans
from fcn_jax.report.palette import voc_palette

_MULTIPLE = 64  # sides of canvases are multiples of this many pixels (see `Predictor`)
# "auto" measures the memory of a tile of this size, in pixels, and takes no tile above the largest.
# There, less than a third of what FCN-8s on VGG16 computes is context that is thrown away.
_MEASURED_TILE, _LARGEST_TILE = 1024, 4096
_SHARE = 0.5  # of the free memory, what one tile of "auto" may take


class TiledPredictor:
    """Predicts the label of one image of any size, in the memory of a tile.

    Tiles overlap by the net's receptive field and start at multiples of its stride. So the scores
    are those of `Predictor` on the whole image, up to rounding. All tiles share one canvas; the net
    is told the true size of tiles that the image's border cuts off.

    Example:
        `TiledPredictor(net, variables, preprocess).predict_file("large.tif", "label.png")`
    """

    def __init__(
        self,
        net: nn.Module,
        variables: Any,
        preprocess: Preprocess,
        *,
        tile: int | Literal["auto"] = 1024,
    ):
        """Traces the net for its receptive field; compiles nothing yet.

        Args:
            net: as for `Predictor`, with one output. Its layers are those of `fcn_jax.nn.layers`,
                or layers of your own that return a `FeatureMap` with the right grid.
            variables: the net's variables.
            preprocess: makes the net's input from uint8 images and sizes, on the device.
            tile: rows and columns of a tile, rounded down to a multiple of 64 and of the net's
                stride. The larger, the less is computed twice. "auto" takes what half of the free
                memory holds at the first image, at most 4,096; this is one more compilation.

        Raises:
            ValueError: if the tile is too small, or the net cannot be tiled (see `net_geometry`).
        """
        self.geometry = net_geometry(net, variables, preprocess)
        margin, stride = self.geometry.margin, self.geometry.stride
        self._multiple = math.lcm(_MULTIPLE, stride)
        self._smallest_tile = round_up(2 * margin + stride, self._multiple)
        if tile != "auto":
            if tile < self._smallest_tile:
                raise ValueError(
                    f"a score of this net depends on {margin} pixels to each side and its stride "
                    f"is {stride}: expected tiles of at least {self._smallest_tile} pixels, found "
                    f"{tile}. Give a larger tile."
                )
            self.tile = tile // self._multiple * self._multiple
        self._predictor = Predictor(net, variables, preprocess, multiple=self._multiple)
        abstract = jax.eval_shape(lambda v: v, variables)  # so that no second copy is kept
        self._memory_of_tile = functools.partial(tile_memory, net, abstract, preprocess)

    @functools.cached_property
    def tile(self) -> int:
        """Rows and columns of a tile; "auto" measures here, and raises ValueError if none fits."""
        smallest = self._smallest_tile
        measured = max(_MEASURED_TILE, smallest)
        taken, free = self._memory_of_tile(measured), free_memory()
        # The net's ring of zeros does not grow with the tile: memory grows less than the pixels do.
        tile = min(measured * math.sqrt(_SHARE * free / taken), _LARGEST_TILE)
        if tile < smallest:
            needed = taken * (smallest / measured) ** 2 / _SHARE
            raise ValueError(
                f"tile='auto': a tile of this net has at least {smallest} pixels to a side: "
                f"expected about {needed / 1e6:,.0f} MB of free memory, of which it takes "
                f"{_SHARE:.0%}, found {free / 1e6:,.0f} MB. Free some, or give tile={smallest}."
            )
        return int(tile) // self._multiple * self._multiple

    def __call__(self, image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w"]:
        """As `Predictor`; of an `image` that is a `numpy.memmap`, only tiles are read at a time."""
        return self._predict_array(image, self._predictor)

    def scores(self, image: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w k"]:
        """As `Predictor.scores`; the result has the image's size and must fit into memory."""
        return self._predict_array(image, self._predictor.scores)

    def predict_file(
        self,
        path: Path | str,
        out: Path | str,
        *,
        palette: UInt8[np.ndarray, "256 3"] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Path:
        """Predicts the label of an image file and writes it, strip by strip.

        In memory are one tile, and as many rows of the image as a tile has.

        Args:
            path: an image file; PNG and TIFF may be of any size (see `read_strips`).
            out: the file to write, a palette PNG whose values are the classes.
            palette: colours by label, uint8 (256, 3) RGB; None is VOC's.
            progress: called after each strip with the numbers of rows done and of all rows.

        Returns:
            `out`.

        Raises:
            ValueError: if `out` is the image itself or does not end in `.png`, or the image is too
                large for its format, or damaged.
        """
        if Path(out).resolve() == Path(path).resolve():
            raise ValueError(f"{out}: expected another file than the image, which it would replace")
        size, image_strips = read_strips(path)

        def label_strips() -> Iterator[np.ndarray]:
            done = 0
            for strip in self._predict_strips(row_window(image_strips), size, self._predictor):
                yield strip
                done += len(strip)
                if progress is not None:
                    progress(done, size[0])

        palette = voc_palette() if palette is None else palette
        return write_strips(out, size, label_strips(), palette)

    def _predict_array(self, image: np.ndarray, predict: Callable[[np.ndarray], Any]) -> Any:
        check_rgb(image)
        size, result, done = image.shape[:2], None, 0
        for strip in self._predict_strips(lambda a, b: image[a:b], size, predict):
            if result is None:
                result = np.empty((*size, *strip.shape[2:]), strip.dtype)
            result[done : done + len(strip)] = strip
            done += len(strip)
        return result

    def _predict_strips(
        self, rows: Rows, size: tuple[int, int], predict: Callable[[np.ndarray], Any]
    ) -> Iterator[np.ndarray]:
        """What `predict` gives for the image, in strips of its whole width, from the top down."""
        height, width = size
        for down in tile_spans(height, self.tile, self.geometry):
            image, parts = rows(down.start, down.stop), []
            for across in tile_spans(width, self.tile, self.geometry):
                tile = predict(image[:, across.start : across.stop])
                parts.append(tile[down.kept, across.kept].copy())  # a view would keep all of it
            yield np.concatenate(parts, axis=1)


def tile_memory(net: nn.Module, variables: Any, preprocess: Preprocess, tile: int) -> int:
    """Bytes that predicting a square tile takes, without the variables; compiles, runs nothing."""
    label = functools.partial(predict_labels, net, preprocess)
    need = jit(label).lower(variables, *abstract_image(tile, tile)).compile().memory_analysis()
    return need.temp_size_in_bytes + need.output_size_in_bytes + 3 * tile**2


def free_memory() -> int:
    """Bytes free on the device; on a CPU, those of the host within its control group's limit.

    Raises:
        ValueError: if neither the device nor the system reports its memory.

    Source: Linux, proc(5), MemAvailable; Control Group v2, memory.max and memory.current.
    """
    stats = jax.devices()[0].memory_stats()
    if stats:
        return stats["bytes_limit"] - stats["bytes_in_use"]
    meminfo, group = Path("/proc/meminfo"), Path("/sys/fs/cgroup")
    if not meminfo.exists():
        raise ValueError(f"tile='auto': no {meminfo} says what is free. Give tile in pixels.")
    lines = dict(line.split(":") for line in meminfo.read_text().splitlines())
    free = int(lines["MemAvailable"].split()[0]) * 1024
    if (group / "memory.max").exists() and (limit := (group / "memory.max").read_text()) != "max\n":
        free = min(free, int(limit) - int((group / "memory.current").read_text()))
    return free
