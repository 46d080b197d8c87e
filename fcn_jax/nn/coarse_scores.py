"""Scores before the last upsampling, taken row tile by row tile.

Full-resolution scores of many classes are the largest arrays of a dense prediction net: 157 MB for
an image of 512x512 and 150 classes, several times over in a loss and its gradient. The last
upsampling is linear and local, so code that takes the scores pixel by pixel (a loss, an argmax,
a confusion matrix) can compute them a few rows at a time, and never holds all of them.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Integer

from fcn_jax.arithmetic import ceil_div
from fcn_jax.labels import IGNORE
from fcn_jax.nn.feature_map import cells_inside
from fcn_jax.nn.savings import current, platform

# A tile's scores take about this much, so that they stay in a CPU's cache and need little of a
# GPU's memory; a tile is at least as high as a cell of the coarse scores. On a TPU a loop over
# small tiles takes twice as long as all scores at once, so only very large scores are tiled.
_TILE_BYTES = 8 * 2**20
_TILE_BYTES_ON = {"tpu": 512 * 2**20}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CoarseScores:
    """Scores that are not upsampled yet: `net.apply(..., upsample=False)`.

    Attributes:
        values: float32 (b, n, m, k), the coarse scores, zero outside each image's extent.
        weights: the upsampling's learned kernel, or None.
        extent: true rows and columns of `values`, int32 (b, 2); None where every cell is true.
        sizes: true rows and columns of each image, int32 (b, 2); None where every pixel is true.
        layer: the last upsampling (`fcn_jax.nn.upsampling.Upsampling`).
        start: row and column of the upsampled scores at which the image starts.
        pixels: rows and columns of the canvas of images.
    """

    values: Any
    weights: Any
    extent: Any
    sizes: Any
    layer: Any = dataclasses.field(metadata={"static": True})
    start: int = dataclasses.field(metadata={"static": True})
    pixels: tuple[int, int] = dataclasses.field(metadata={"static": True})

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of the scores at every pixel, (b, h, w, k)."""
        return (self.values.shape[0], *self.pixels, self.values.shape[3])

    def dense(self) -> Float[Array, "b h w k"]:
        """The scores at every pixel: the result of `net.apply` without `upsample=False`."""
        (h, w), o = self.pixels, self.start
        rows, columns = slice(o, o + h), slice(o, o + w)
        out = self.layer.enlarge(self.values, self.weights, rows, columns)
        down, across = self.shares()
        if down is not None:
            out = out / down[:, rows, None, None] / across[:, None, columns, None]
        return self.masked(out, 0)

    @staticmethod
    def mean(streams: "Sequence[CoarseScores]") -> "CoarseScores":
        """The mean of several, as upsampling is linear.

        Raises:
            ValueError: they are upsampled differently, or by learned weights.
        """
        kinds = {(s.layer, s.start, s.shape) for s in streams}
        if len(kinds) > 1 or any(s.weights is not None for s in streams):
            raise ValueError(
                "the streams' last upsamplings differ or are learned, so their coarse scores "
                "have no mean; average the scores at every pixel"
            )
        values = sum(s.values for s in streams) / len(streams)
        return dataclasses.replace(streams[0], values=values)

    def shares(self) -> tuple[Any, Any]:
        """The divisors of upsampled rows and columns, `(b or 1, cells)` each; None for none."""
        true = (None, None) if self.extent is None else (self.extent[:, 0], self.extent[:, 1])
        n, m = self.values.shape[1:3]
        return self.layer.share(n, true[0]), self.layer.share(m, true[1])

    def masked(self, scores: Array, first: Any) -> Array:
        """Scores of rows from the image's row `first` on, with zeros outside the images."""
        if self.sizes is None:
            return scores
        h, w = scores.shape[1:3]
        return jnp.where(cells_inside(first + jnp.arange(h), jnp.arange(w), self.sizes), scores, 0)


@dataclasses.dataclass(frozen=True)
class _Tiles:
    """The image of some coarse scores, cut into tiles of equally many rows.

    A tile is several blocks of `factor` rows. Block `i` is the upsampled rows that begin at row
    `factor * i`; it depends on the coarse rows `i - reach + 1` to `i`.

    Attributes:
        scores: the coarse scores.
        count: number of tiles; together they cover the image.
        blocks: blocks in each tile.
        rows: rows of each tile, `factor * blocks`.
        reach: coarse rows on which one block depends.
        lead: rows of the first tile that lie above the image.
        coarse: the coarse rows of all tiles, zero beyond those of the scores.
        margins: rows added to the coarse scores above and below; negative where they are cut off.
        shares: the divisors of the tiles' rows, `(b or 1, count * rows)`, and of all upsampled
            columns; None for no division.
    """

    scores: CoarseScores
    count: int
    blocks: int
    rows: int
    reach: int
    lead: int
    coarse: Array
    margins: tuple[int, int]
    shares: tuple[Any, Any]

    @classmethod
    def of(cls, scores: CoarseScores) -> "_Tiles":
        """Tiles of about `_TILE_BYTES` of float32 scores each; see there."""
        limit = _TILE_BYTES_ON.get(platform(), _TILE_BYTES)
        factor, (b, h, w, k) = scores.layer.factor, scores.shape
        reach = ceil_div(scores.layer.kernel, factor)
        first, lead = divmod(scores.start, factor)
        needed = ceil_div(lead + h, factor)  # blocks
        fit = max(limit // (4 * b * factor * w * k), 1)
        count = ceil_div(needed, min(fit, needed))
        blocks = ceil_div(needed, count)
        rows, end = blocks * factor, first + count * blocks
        down, across = scores.shares()
        if down is not None:
            down = _pad_rows(down, -first * factor, end * factor - down.shape[1], fill=1)
        margins = reach - 1 - first, end - scores.values.shape[1]
        coarse, shares = _pad_rows(scores.values, *margins), (down, across)
        return cls(scores, count, blocks, rows, reach, lead, coarse, margins, shares)

    def cells(self, coarse: Array, i: Any) -> Array:
        """The coarse rows on which tile `i` depends."""
        return lax.dynamic_slice_in_dim(coarse, i * self.blocks, self.blocks + self.reach - 1, 1)

    def labels(self, labels: Array, i: Any) -> Array:
        """Labels of tile `i`, ignored outside the image."""
        below = self.count * self.rows - self.lead - labels.shape[1]
        labels = _pad_rows(labels, self.lead, below, fill=IGNORE)
        return lax.dynamic_slice_in_dim(labels, i * self.rows, self.rows, 1)

    def upsampled(self, cells: Array, weights: Any, i: Any) -> Array:
        """Scores at the pixels of tile `i`, (b, rows, w, k), from the coarse rows."""
        layer, start, (down, across) = self.scores.layer, self.scores.start, self.shares
        above = (self.reach - 1) * layer.factor
        columns = slice(start, start + self.scores.pixels[1])
        out = layer.enlarge(cells, weights, slice(above, above + self.rows), columns)
        if down is not None:
            down = lax.dynamic_slice_in_dim(down, i * self.rows, self.rows, 1)
            out = out / down[:, :, None, None] / across[:, None, columns, None]
        return self.scores.masked(out, i * self.rows - self.lead)


def _pad_rows(x: Array, above: int, below: int, fill: int = 0) -> Array:
    """Adds rows of `fill` along axis 1; negative numbers cut rows off."""
    widths = [(0, 0, 0), (above, below, 0)] + [(0, 0, 0)] * (x.ndim - 2)
    return lax.pad(x, jnp.asarray(fill, x.dtype), widths)


def sum_over_tiles(
    function: Callable[[Any, Any], Any],
    scores: CoarseScores | Float[Array, "b h w k"],
    labels: Integer[Array, "b h w"],
) -> Any:
    """The sum of `function(scores, labels)` over row tiles; one call for scores at every pixel.

    Args:
        function: from scores (b, r, w, k) and labels (b, r, w) of some rows to an array or a tree
            of arrays. Its result for all rows must be the sum of its results for parts of them.
        scores: scores of the whole images.
        labels: int32 or uint8, 255 (ignored) outside the images.
    """
    if not isinstance(scores, CoarseScores):
        return function(scores, labels)
    tiles = _Tiles.of(scores)

    def of_tile(i: Any) -> Any:
        upsampled = tiles.upsampled(tiles.cells(tiles.coarse, i), scores.weights, i)
        return function(upsampled, tiles.labels(labels, i))

    def body(total: Any, i: Any) -> Any:
        return jax.tree.map(jnp.add, total, of_tile(i)), None

    if tiles.count == 1:
        return of_tile(0)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(of_tile, 0))
    return lax.scan(body, zeros, jnp.arange(tiles.count))[0]


def best_classes(scores: CoarseScores | Float[Array, "b h w k"]) -> Int[Array, "b h w"]:
    """The class of the highest score at every pixel, int32; of equal scores, the first."""
    return map_over_tiles(lambda s: jnp.argmax(s, axis=-1).astype(jnp.int32), scores)


def map_over_tiles(
    function: Callable[[Any], Any], scores: CoarseScores | Float[Array, "b h w k"]
) -> Any:
    """`function(scores)` of every pixel, a row tile at a time; one call for scores at every pixel.

    `function` makes arrays (b, r, w), or a tree of them, of the scores (b, r, w, k) of r rows.
    """
    if not isinstance(scores, CoarseScores):
        return function(scores)
    tiles = _Tiles.of(scores)

    def of_tile(i: Any) -> Any:
        return function(tiles.upsampled(tiles.cells(tiles.coarse, i), scores.weights, i))

    def whole(parts: Array) -> Array:  # (tiles, b, rows, w)
        rows = jnp.moveaxis(parts, 0, 1).reshape(parts.shape[1], -1, parts.shape[3])
        return rows[:, tiles.lead : tiles.lead + scores.pixels[0]]

    return jax.tree.map(whole, jax.lax.map(of_tile, jnp.arange(tiles.count)))


def loss_over_tiles(
    term: Callable[[Any, Any], Any],
    scores: CoarseScores | Float[Array, "b h w k"],
    labels: Integer[Array, "b h w"],
) -> Float[Array, ""]:
    """`sum_over_tiles` of a scalar, whose gradient is computed in the same pass.

    The forward pass computes the gradient in the coarse scores tile by tile, when it has the tile's
    scores, and the backward pass only scales it. So nothing of full resolution is kept in between,
    and nothing is computed twice.
    """
    if not isinstance(scores, CoarseScores):
        return term(scores, labels)
    return _loss(term, scores, labels)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _loss(term, scores, labels):
    return sum_over_tiles(term, scores, labels)


def _loss_forward(term, scores, labels):
    tiles = _Tiles.of(scores)

    def body(carry: Any, i: Any) -> Any:
        total, by_cells, by_weights = carry

        def value(cells: Array, weights: Any) -> Array:
            return term(tiles.upsampled(cells, weights, i), tiles.labels(labels, i))

        differentiate = jax.value_and_grad(value, argnums=(0, 1))
        loss, (cells, weights) = differentiate(tiles.cells(tiles.coarse, i), scores.weights)
        # Neighbouring tiles share `reach - 1` coarse rows.
        cells = cells + tiles.cells(by_cells, i)
        by_cells = lax.dynamic_update_slice_in_dim(by_cells, cells, i * tiles.blocks, axis=1)
        return (total + loss, by_cells, jax.tree.map(jnp.add, by_weights, weights)), None

    no_weights = jax.tree.map(jnp.zeros_like, scores.weights)
    zeros = jnp.zeros(()), jnp.zeros_like(tiles.coarse), no_weights
    if tiles.count == 1:
        (total, by_cells, by_weights), _ = body(zeros, 0)
    else:
        (total, by_cells, by_weights), _ = lax.scan(body, zeros, jnp.arange(tiles.count))
    by_values = _pad_rows(by_cells, *(-margin for margin in tiles.margins))
    return total, dataclasses.replace(
        scores, values=by_values, weights=by_weights, extent=None, sizes=None
    )


def _loss_backward(term, gradient, cotangent):
    return jax.tree.map(lambda g: g * cotangent, gradient), None


_loss.defvjp(_loss_forward, _loss_backward)


def is_coarse(value: Any) -> bool:
    """Whether a value is coarse scores; as `is_leaf`, it finds those of several outputs."""
    return isinstance(value, CoarseScores)


def scores_of(net: Any, variables: Any, images: Any, **arguments: Any) -> Any:
    """`net.apply` for callers that take scores pixel by pixel: coarse scores where possible.

    A net whose attribute `gives_coarse_scores` is true takes `upsample=False`.
    """
    if current().row_tiles and getattr(net, "gives_coarse_scores", False):
        arguments["upsample"] = False
    return net.apply(variables, images, **arguments)
