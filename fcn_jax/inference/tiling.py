"""Labels for images larger than memory: tiles whose stitched scores are the whole image's."""

import functools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import Float32, UInt8

from fcn_jax.devices.compiling import jit
from fcn_jax.inference.large_files.strips import read_strips, rolling, write_strips
from fcn_jax.inference.predictor import Predictor, Preprocess, labels_of
from fcn_jax.inference.spans import Span, reach, shapes, spans
from fcn_jax.report.palette import voc_palette

# Canvases are multiples of this many pixels (see `Predictor`).
_MULTIPLE = 64
# "auto" measures a tile of the first size and takes none beyond the second, where less than a
# third of what FCN-8s on VGG16 computes is context that is cut away again.
_TRIED, _LARGEST = 1024, 4096
# Share of the free memory that one tile of "auto" may take.
_SHARE = 0.5


class TiledPredictor:
    """Predicts the label of one image of any size, in the memory of a tile.

    Tiles overlap by the net's receptive field and begin at multiples of its stride, so the scores
    are those of `Predictor` on the whole image, to rounding. All tiles share one canvas, and the
    net is told the true size of those that are cut off by the image's border.

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
        """Traces the net for its receptive field; nothing is compiled yet.

        Args:
            net: `net.apply(variables, images, sizes=sizes)` gives scores (b, h, w, k), zero outside
                the sizes. Its layers are `fcn_jax.nn.layers`, or move a map's grid as those do.
            variables: the network's variables.
            preprocess: makes the network's input from uint8 images and sizes, on the device.
            tile: rows and columns of a tile, rounded down to a multiple of 64 and of the net's
                stride. The larger, the less is computed twice. "auto" takes the largest of
                at most 4,096 that half of the device's free memory holds when the first image
                comes, and compiles the net one more time to find out.

        Raises:
            ValueError: if the tile is too small for the net's receptive field, or the net cannot be
                tiled (see `reach`).
        """
        self.reach = reach(net, variables, preprocess)
        self._multiple = math.lcm(_MULTIPLE, self.reach.stride)
        enough = 2 * self.reach.margin + self.reach.stride
        self._least = -(-enough // self._multiple) * self._multiple
        if tile != "auto":
            if tile < self._least:
                raise ValueError(
                    f"a score of this net depends on {self.reach.margin} pixels to each side and "
                    f"its stride is {self.reach.stride}: expected tiles of at least {self._least} "
                    f"pixels, found {tile}. Give a larger tile."
                )
            self.tile = tile // self._multiple * self._multiple
        self._predictor = Predictor(net, variables, preprocess, multiple=self._multiple)
        abstract = jax.eval_shape(lambda v: v, variables)  # so that no second copy is kept
        self._memory = functools.partial(tile_memory, net, abstract, preprocess)

    @functools.cached_property
    def tile(self) -> int:
        """Rows and columns of a tile; "auto" measures here, and raises ValueError if none fits."""
        least = self._least
        tried = max(_TRIED, least)
        taken, free = self._memory(tried), free_memory()
        # The ring does not grow with the tile, so a larger one takes less than in proportion.
        tile = min(tried * math.sqrt(_SHARE * free / taken), _LARGEST)
        if tile < least:
            raise ValueError(
                f"tile='auto': a tile of this net has at least {least} pixels to a side and takes "
                f"about {taken * (least / tried) ** 2 / 1e6:,.0f} MB, found {free / 1e6:,.0f} MB "
                f"free, of which a tile may take {_SHARE:.0%}. Free some, or give tile={least}."
            )
        return int(tile) // self._multiple * self._multiple

    def __call__(self, image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w"]:
        """As `Predictor`; `image` may be a `numpy.memmap`, of which only tiles are read."""
        return self._stitched(image, self._predictor)

    def scores(self, image: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w k"]:
        """As `Predictor`; the result is of the image's size and has to fit into memory."""
        return self._stitched(image, self._predictor.scores)

    def predict_file(
        self,
        path: Path | str,
        out: Path | str,
        *,
        palette: UInt8[np.ndarray, "256 3"] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Path:
        """Predicts the label of an image file and writes it, strip by strip.

        In memory are a tile, and as many rows of the image as a tile has.

        Args:
            path: an image file; PNG and TIFF may be of any size (see `strips.read_strips`).
            out: the file to write, a palette PNG whose values are the classes.
            palette: colours by label, uint8 (256, 3) RGB; None is VOC's.
            progress: called after each strip with the number of rows that are done and of all.

        Returns:
            `out`.

        Raises:
            ValueError: if `out` is the image itself or no `.png`, or the image is too large for its
                format, or damaged.
        """
        if Path(out).resolve() == Path(path).resolve():
            raise ValueError(f"{out}: expected another file than the image, which it would replace")
        size, blocks = read_strips(path)

        def strips() -> Iterator[np.ndarray]:
            for span, strip in self._strips(rolling(blocks), size, self._predictor):
                yield strip
                if progress is not None:
                    progress(span.last, size[0])

        palette = voc_palette() if palette is None else palette
        return write_strips(out, size, strips(), palette)

    def _stitched(self, image: np.ndarray, predict: Callable[[np.ndarray], Any]) -> Any:
        if not isinstance(image, np.ndarray) or image.ndim != 3:
            raise ValueError(
                "TiledPredictor: expected an RGB image, a uint8 array (h, w, 3); found "
                f"{getattr(image, 'shape', type(image).__name__)}."
            )
        size, result = image.shape[:2], None
        for span, strip in self._strips(lambda start, stop: image[start:stop], size, predict):
            if result is None:
                result = np.empty((*size, *strip.shape[2:]), strip.dtype)
            result[span.first : span.last] = strip
        return result

    def _strips(
        self,
        rows: Callable[[int, int], np.ndarray],
        size: tuple[int, int],
        predict: Callable[[np.ndarray], Any],
    ) -> Iterator[tuple[Span, np.ndarray]]:
        """What `predict` makes of `rows(start, stop)`: strips of kept rows, from the top down."""
        height, width = size
        across = spans(width, self.tile, self.reach)
        for down in spans(height, self.tile, self.reach):
            shown, strip = rows(down.start, down.stop), None
            kept = slice(down.first - down.start, down.last - down.start)
            for span in across:
                tile = predict(shown[:, span.start : span.stop])
                if strip is None:
                    strip = np.empty((down.last - down.first, width, *tile.shape[2:]), tile.dtype)
                strip[:, span.first : span.last] = tile[
                    kept, span.first - span.start : span.last - span.start
                ]
            assert strip is not None
            yield down, strip


def tile_memory(net: nn.Module, variables: Any, preprocess: Preprocess, tile: int) -> int:
    """Bytes that predicting a square tile takes, the variables aside; compiles and runs nothing."""
    label = functools.partial(labels_of, net, preprocess)
    need = jit(label).lower(variables, *shapes(tile, tile)).compile().memory_analysis()
    return need.temp_size_in_bytes + need.output_size_in_bytes + 3 * tile**2


def free_memory() -> int:
    """Bytes free on the device, or, where that is the CPU, on the host within its limits.

    Raises:
        ValueError: if the system does not tell.

    Source: Linux, proc(5), MemAvailable; Control Group v2, memory.max and memory.current.
    """
    stats = jax.devices()[0].memory_stats()
    if stats:
        return stats["bytes_limit"] - stats["bytes_in_use"]
    meminfo, group = Path("/proc/meminfo"), Path("/sys/fs/cgroup")
    if not meminfo.exists():
        raise ValueError("tile='auto': the free memory is not known here. Give tile in pixels.")
    lines = dict(line.split(":") for line in meminfo.read_text().splitlines())
    free = int(lines["MemAvailable"].split()[0]) * 1024
    if (group / "memory.max").exists() and (limit := (group / "memory.max").read_text()) != "max\n":
        free = min(free, int(limit) - int((group / "memory.current").read_text()))
    return free
