"""Labels for single images of any size: whole where memory allows, otherwise in tiles."""

import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import flax.linen as nn

from fcn_jax.data.images import AS_STORED, ImageOptions
from fcn_jax.inference.inputs import AnyPaths, InputFiles, size_of
from fcn_jax.inference.memory import DECODING, SHARE, free_memory
from fcn_jax.inference.predictor import LARGEST_TILE, Image, Predictor, Preprocess, check_image
from fcn_jax.inference.result_files import ResultFiles, Style
from fcn_jax.inference.tiling import TiledPredictor


class AnySize:
    """Predicts the label of one image of any size, within the free memory.

    Before an image is predicted, it is known what it takes. Up to half of the free memory, it is
    predicted whole (`Predictor`); above, in tiles (`TiledPredictor`). The labels are the same.

    Attributes:
        inputs: channels of each input by name, if the net has several inputs.

    Example:
        `label = AnySize(net, variables, preprocess, say=print)(image)`
    """

    def __init__(
        self,
        net: nn.Module,
        variables: Any,
        preprocess: Preprocess,
        *,
        tile: int | Literal["auto"] | None = None,
        say: Callable[[str], None] | None = None,
    ):
        """Puts the variables on the device; compiles nothing yet.

        Args:
            net: as for `Predictor`.
            variables: the net's variables.
            preprocess: makes the net's input from uint8 images and sizes, on the device.
            tile: rows and columns of a tile, to predict every image in tiles; "auto", as large as
                memory allows. None: only images that need it, as "auto".
            say: called with a line of text for each image that is predicted in tiles.

        Raises:
            ValueError: if a tile is given and is too small, or the net cannot be tiled.
        """
        self._whole = Predictor(net, variables, preprocess)
        self.inputs = self._whole.inputs
        self._always = tile is not None
        self._make_tiled = functools.partial(
            TiledPredictor, net, self._whole.variables, preprocess, tile=tile or "auto"
        )
        self._say = say or (lambda _: None)
        if tile is not None:
            self._tiled  # noqa: B018 - refuses a wrong tile

    @functools.cached_property
    def _tiled(self) -> TiledPredictor:
        return self._make_tiled()

    def prepare(self, sizes: Iterable[tuple[int, int]]) -> None:
        """Chooses canvases for known images, as `Predictor.prepare`.

        Args:
            sizes: rows and columns of every image; those that will be in tiles do not count.
        """
        if not self._always:
            most = LARGEST_TILE**2
            self._whole.prepare(s for s in sizes if s[0] * s[1] <= most or self._fits(s))

    def __call__(self, image: Image) -> Any:
        """As `Predictor`. Raises ValueError also if the image fits neither whole nor in tiles."""
        return self._chosen(check_image(image, self.inputs))(image)

    def scores(self, image: Image) -> Any:
        """As `Predictor.scores`; the result has the image's size and must fit into memory."""
        return self._chosen(check_image(image, self.inputs), scores=True).scores(image)

    def predict_file(
        self,
        paths: AnyPaths,
        out: Path | str,
        *,
        style: Style | None = None,
        progress: Callable[[int, int], None] | None = None,
        options: ImageOptions = AS_STORED,
    ) -> Path:
        """Predicts an image file and writes its label, and what else `style` names.

        Args:
            paths: the image's file; a dictionary of files if the net has several inputs.
            out: the label's file, `.png` (see `Style.files`).
            style: what is written.
            progress: called after each strip with the numbers of rows done and of all rows.
            options: what the image file does not say of its pixels.

        Returns:
            `out`.

        Raises:
            ValueError: if a file is missing or damaged, or the image fits neither whole nor in
                tiles.
        """
        style = style or Style()
        size = size_of(paths)
        predictor = self._chosen(size, scores=style.scores, paths=paths)
        if isinstance(predictor, TiledPredictor):
            return predictor.predict_file(
                paths, out, style=style, progress=progress, options=options
            )
        image = InputFiles(self.inputs, options).read(paths)
        with ResultFiles(out, size, style, images=paths) as files:
            files.write(image, predictor.scores(image) if style.scores else predictor(image))
        return Path(out)

    def _fits(self, size: tuple[int, int], *, scores: bool = False, decoded: bool = False) -> bool:
        need = self._whole.memory(size, scores=scores)
        if decoded:
            need = need.plus(DECODING * size[0] * size[1])
        return need.part_of(free_memory()) <= SHARE

    def _chosen(
        self, size: tuple[int, int], *, scores: bool = False, paths: AnyPaths | None = None
    ) -> Predictor | TiledPredictor:
        """What predicts an image of this size."""
        if self._always:
            return self._tiled
        if self._fits(size, scores=scores, decoded=paths is not None):
            return self._whole
        need = self._whole.memory(size, scores=scores)
        whole = f"{size[0]:,}x{size[1]:,} pixels at once take {need.against(free_memory())}"
        try:
            tile = self._tiled.tile_for(size, scores=scores)
        except ValueError as error:
            raise ValueError(f"{whole}; in tiles: {error}") from error
        name = "" if paths is None else f"{_first(paths)}: "
        self._say(f"{name}{whole}; in tiles of {tile:,} pixels instead, with the same result")
        return self._tiled


def _first(paths: AnyPaths) -> Path | str:
    return next(iter(paths.values())) if isinstance(paths, Mapping) else paths
