"""Labels for images larger than memory, tile by tile, with the scores of the whole image."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import flax.linen as nn
import jax
import numpy as np

from fcn_jax.arithmetic import round_up
from fcn_jax.data.images import AS_STORED, ImageOptions
from fcn_jax.inference.inputs import AnyPaths, InputFiles, Rows
from fcn_jax.inference.memory import SHARE, Memory, free_memory
from fcn_jax.inference.predictor import LARGEST_TILE, Image, Predictor, Preprocess, check_image
from fcn_jax.inference.result_files import ResultFiles, Style
from fcn_jax.inference.tile_spans import net_geometry, tile_spans

_MULTIPLE = 64  # sides of canvases are multiples of this many pixels (see `Predictor`)
_COPIES = 3  # of the rows that a tile lies on, while they move to the next row of tiles


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
            net: as for `Predictor`. Its layers are those of `fcn_jax.nn.layers`, or layers of your
                own that return a `FeatureMap` with the right grid.
            variables: the net's variables.
            preprocess: makes the net's input from uint8 images and sizes, on the device.
            tile: rows and columns of a tile, rounded down to a multiple of 64 and of the net's
                stride. The larger, the less is computed twice. "auto" takes what half of the free
                memory holds, at most 4,096; it compiles a few sizes to find it.

        Raises:
            ValueError: if the tile is too small, or the net cannot be tiled (see `net_geometry`).
        """
        self.geometry = net_geometry(net, variables, preprocess)
        margin, stride = self.geometry.margin, self.geometry.stride
        multiple = math.lcm(_MULTIPLE, stride)
        self._smallest = round_up(2 * margin + stride, multiple)
        self._auto = tile == "auto"
        wanted = max(LARGEST_TILE, self._smallest) if tile == "auto" else tile
        if wanted < self._smallest:
            raise ValueError(
                f"a score of this net depends on {margin} pixels to each side and its stride "
                f"is {stride}: expected tiles of at least {self._smallest} pixels, found "
                f"{wanted}. Give a larger tile."
            )
        self._tile = wanted // multiple * multiple
        self._predictor = Predictor(net, variables, preprocess, multiple=multiple)

    @property
    def tile(self) -> int:
        """Rows and columns of a tile, for an image that is no wider."""
        return self.tile_for((self._tile, self._tile))

    def tile_for(self, size: tuple[int, int], *, scores: bool = False) -> int:
        """Rows and columns of a tile of an image; "auto" looks whether its last one still fits.

        Args:
            size: rows and columns of the image.
            scores: whether for `scores`; otherwise for labels.

        Raises:
            ValueError: if the tile does not fit in the free memory; for "auto", the smallest one.
        """
        share = SHARE if self._auto else 1.0
        while True:
            need, free = self._memory(size, scores=scores), free_memory()
            part, multiple = need.part_of(free), self._predictor.multiple
            if part <= share:
                return self._tile
            if not self._auto or self._tile == self._smallest:
                other = f"tile={self._smallest}" if self._auto else 'tile="auto"'
                raise ValueError(
                    f"tiles of {self._tile} pixels: expected {need.against(free, share)}. A tile "
                    f"of this net has at least {self._smallest} pixels to a side: free some "
                    f"memory, or give {other}."
                )
            # The net's ring of zeros does not shrink with the tile, so the next one is smaller.
            smaller = int(self._tile * math.sqrt(share / part)) // multiple * multiple
            self._tile = max(min(smaller, self._tile - multiple), self._smallest)

    def _memory(self, size: tuple[int, int], *, scores: bool) -> Memory:
        """What a tile takes, with the rows of the image and of the result that it lies on."""
        tile = min(self._tile, round_up(max(size), self._predictor.multiple))
        need = self._predictor.memory((tile, tile), scores=scores)
        beside = max(size[1] - tile, 0) * tile + (_COPIES - 1) * tile * size[1]
        return need.plus(beside * self._predictor.bytes_of_pixel(scores=scores))

    def __call__(self, image: Image) -> Any:
        """As `Predictor`; of an `image` that is a `numpy.memmap`, only tiles are read at a time."""
        return self._predict_array(image, scores=False)

    def scores(self, image: Image) -> Any:
        """As `Predictor.scores`; the result has the image's size and must fit into memory."""
        return self._predict_array(image, scores=True)

    def predict_file(
        self,
        path: AnyPaths,
        out: Path | str,
        *,
        palette: Any = None,
        progress: Callable[[int, int], None] | None = None,
        style: Style | None = None,
        options: ImageOptions = AS_STORED,
    ) -> Path:
        """Predicts the label of an image file and writes it, strip by strip.

        In memory are one tile, and as many rows of the image as a tile has.

        Args:
            path: an image file; PNG and TIFF may be of any size (see `read_strips`). A dictionary
                of them if the net has several inputs.
            out: the file to write, a palette PNG whose values are the classes. If the net has
                several outputs, one for each, with `_NAME` before the `.png`.
            palette: colours by label, uint8 (256, 3) RGB; None is VOC's; by output's name.
            progress: called after each strip with the numbers of rows done and of all rows.
            style: what else is written (see `ResultFiles`); by default nothing.
            options: what the image file does not say of its pixels.

        Returns:
            `out`.

        Raises:
            ValueError: if `out` is the image itself or does not end in `.png`, or the image is too
                large for its format, or damaged.
        """
        style = style or Style(palette=palette, overlay=False)
        size, rows = InputFiles(self._predictor.inputs, options).open_rows(path)
        with ResultFiles(out, size, style, images=path) as files:
            done = 0
            for image, result in self.strips(rows, size, scores=style.scores):
                files.write(image, result)
                done += len(jax.tree.leaves(result)[0])
                if progress is not None:
                    progress(done, size[0])
        return Path(out)

    def strips(
        self, rows: Rows, size: tuple[int, int], *, scores: bool = False
    ) -> Iterator[tuple[Any, Any]]:
        """Strips of the image's whole width, from the top down: pixels, and labels or scores."""
        first, held, done = 0, None, 0

        def remembered(start: int, stop: int) -> Any:
            nonlocal first, held
            first, held = start, rows(start, stop)
            return held

        for result in self._predict_strips(remembered, size, scores):
            height = len(jax.tree.leaves(result)[0])
            kept = slice(done - first, done - first + height)
            yield jax.tree.map(lambda part: part[kept], held), result  # noqa: B023
            done += height

    def _predict_array(self, image: Any, *, scores: bool) -> Any:
        size, result, done = check_image(image, self._predictor.inputs), None, 0

        def rows(start: int, stop: int) -> Any:
            return jax.tree.map(lambda part: part[start:stop], image)

        for strip in self._predict_strips(rows, size, scores):
            if result is None:
                result = jax.tree.map(lambda s: np.empty((*size, *s.shape[2:]), s.dtype), strip)
            height = len(jax.tree.leaves(strip)[0])
            for whole, part in zip(jax.tree.leaves(result), jax.tree.leaves(strip), strict=True):
                whole[done : done + height] = part
            done += height
        return result

    def _predict_strips(self, rows: Rows, size: tuple[int, int], scores: bool) -> Iterator[Any]:
        """Labels or scores of the image, in strips of its whole width, from the top down."""
        height, width = size
        tile = self.tile_for(size, scores=scores)
        predict = self._predictor.scores if scores else self._predictor
        for down in tile_spans(height, tile, self.geometry):
            image, parts = rows(down.start, down.stop), []
            for across in tile_spans(width, tile, self.geometry):
                columns, kept = slice(across.start, across.stop), (down.kept, across.kept)
                result = predict(jax.tree.map(lambda part: part[:, columns], image))  # noqa: B023
                # A view would keep all of it.
                parts.append(jax.tree.map(lambda part: part[kept].copy(), result))  # noqa: B023
            yield jax.tree.map(lambda *strip: np.concatenate(strip, axis=1), *parts)
