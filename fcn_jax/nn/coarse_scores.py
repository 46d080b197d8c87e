"""Scores before the last upsampling, taken row tile by row tile.

Full-resolution scores of many classes are the largest arrays of a dense prediction net: 157 MB for
an image of 512x512 and 150 classes, several times over in a loss and its gradient. The last
upsampling is linear and local, so whoever consumes the scores pixel by pixel (a loss, an argmax,
a confusion matrix) can have them a few rows at a time, and the whole of them is never there.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Integer

from fcn_jax.labels import IGNORE
from fcn_jax.nn.savings import current

# A tile's scores take about this much, so that they stay in a CPU's cache and are nothing beside
# a GPU's memory; a tile is at least as high as a cell of the coarse scores.
_TILE_BYTES = 8 * 2**20


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CoarseScores:
    """Scores that are not upsampled yet: `net.apply(..., upsample=False)`.

    Attributes:
        values: float32 (b, n, m, k), the coarse scores, zero outside each image's extent.
        weights: what the upsampling has learned, or None.
        extent: true rows and columns of `values`, int32 (b, 2), or None where all is true.
        sizes: true rows and columns of each image, int32 (b, 2), or None where all is.
        layer: the last upsampling (`fcn_jax.nn.upsampling.Upsampling`).
        start: row and column of the upsampled scores at which the image begins.
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
        """Of the scores at every pixel, (b, h, w, k)."""
        return (self.values.shape[0], *self.pixels, self.values.shape[3])

    def dense(self) -> Float[Array, "b h w k"]:
        """The scores at every pixel: what `net.apply` gives without `upsample=False`."""
        (h, w), o = self.pixels, self.start
        rows, columns = slice(o, o + h), slice(o, o + w)
        out = self.layer.enlarge(self.values, self.weights, rows, columns)
        down, across = self._shares()
        if down is not None:
            out = out / down[:, rows, None, None] / across[:, None, columns, None]
        return self._masked(out, 0)

    @staticmethod
    def mean(streams: "Sequence[CoarseScores]") -> "CoarseScores":
        """The mean of several, as upsampling is linear.

        Raises:
            ValueError: they are upsampled differently, or by learned weights.
        """
        first = streams[0]
        for other in streams:
            same = (other.layer, other.start, other.shape) == (
                first.layer,
                first.start,
                first.shape,
            )
            if not same or other.weights is not None:
                raise ValueError(
                    "the streams' last upsamplings differ or are learned, so their coarse scores "
                    "have no mean; average the scores at every pixel"
                )
        values = sum(stream.values for stream in streams) / len(streams)
        return dataclasses.replace(first, values=values)

    def _shares(self) -> tuple[Any, Any]:
        """What upsampled rows and columns are divided by, `(b or 1, cells)` each, or None."""
        true = (None, None) if self.extent is None else (self.extent[:, 0], self.extent[:, 1])
        n, m = self.values.shape[1:3]
        return self.layer.share(n, true[0]), self.layer.share(m, true[1])

    def _masked(self, scores: Array, first: Any) -> Array:
        """Zero outside the images; row 0 is the image's row `first`."""
        if self.sizes is None:
            return scores
        rows = first + jnp.arange(scores.shape[1]) < self.sizes[:, :1]
        columns = jnp.arange(scores.shape[2]) < self.sizes[:, 1:]
        return jnp.where((rows[:, :, None] & columns[:, None])[..., None], scores, 0)


class _Tiles:
    """The image of some coarse scores cut into tiles of whole blocks of rows.

    Block `i` is the `factor` rows that upsampled cells `factor * i ...` make; it depends on the
    `reach` coarse rows up to `i`.
    """

    def __init__(self, scores: CoarseScores):
        layer, (b, h, w, k) = scores.layer, scores.shape
        self.factor, self.reach = layer.factor, -(-layer.kernel // layer.factor)
        self.scores, self.pixels = scores, (h, w)
        self.block, self.lead = divmod(scores.start, self.factor)
        blocks = -(-(self.lead + h) // self.factor)
        fit = max(_TILE_BYTES // (4 * b * self.factor * w * k), 1)
        self.count = -(-blocks // min(fit, blocks))
        self.blocks = -(-blocks // self.count)
        self.rows = self.blocks * self.factor
        down, self.across = scores._shares()
        if down is not None:
            beyond = max((self.block + self.count * self.blocks) * self.factor - down.shape[1], 0)
            down = jnp.pad(down, ((0, 0), (0, beyond)), constant_values=1)
        self.down = down

    def padded(self) -> Array:
        """The coarse scores with zeros around, so that every tile's rows are there."""
        before = self.reach - 1
        n = self.scores.values.shape[1]
        after = max(self.block + self.count * self.blocks - n, 0)
        return jnp.pad(self.scores.values, ((0, 0), (before, after), (0, 0), (0, 0)))

    def cells(self, padded: Array, i: Any) -> Array:
        """The coarse rows on which tile `i` depends."""
        first = self.block + i * self.blocks
        return lax.dynamic_slice_in_dim(padded, first, self.blocks + self.reach - 1, axis=1)

    def of_labels(self, labels: Array, i: Any) -> Array:
        """Labels of tile `i`, ignored outside the image."""
        after = self.count * self.rows - self.lead - self.pixels[0]
        labels = jnp.pad(labels, ((0, 0), (self.lead, after), (0, 0)), constant_values=IGNORE)
        return lax.dynamic_slice_in_dim(labels, i * self.rows, self.rows, axis=1)

    def upsampled(self, cells: Array, weights: Any, i: Any) -> Array:
        """Scores at the pixels of tile `i`, (b, rows, w, k)."""
        o, begin = self.scores.start, (self.reach - 1) * self.factor
        columns = slice(o, o + self.pixels[1])
        layer = self.scores.layer
        out = layer.enlarge(cells, weights, slice(begin, begin + self.rows), columns)
        first = (self.block + i * self.blocks) * self.factor
        if self.down is not None:
            down = lax.dynamic_slice_in_dim(self.down, first, self.rows, axis=1)
            out = out / down[:, :, None, None] / self.across[:, None, columns, None]
        return self.scores._masked(out, first - o)


def sum_over_tiles(
    function: Callable[[Any, Any], Any],
    scores: CoarseScores | Float[Array, "b h w k"],
    labels: Integer[Array, "b h w"],
) -> Any:
    """The sum of `function(scores, labels)` over row tiles; of scores at every pixel, its value.

    Args:
        function: of scores (b, r, w, k) and labels (b, r, w) of some rows, to an array or several,
            such that the result of all rows is the sum of those of parts.
        scores: of the whole images.
        labels: int32 or uint8, ignored outside the images.
    """
    if not isinstance(scores, CoarseScores):
        return function(scores, labels)
    tiles = _Tiles(scores)
    padded = tiles.padded()

    def of_tile(i: Any) -> Any:
        upsampled = tiles.upsampled(tiles.cells(padded, i), scores.weights, i)
        return function(upsampled, tiles.of_labels(labels, i))

    def body(total: Any, i: Any) -> Any:
        return jax.tree.map(jnp.add, total, of_tile(i)), None

    if tiles.count == 1:
        return of_tile(0)
    nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(of_tile, 0))
    return lax.scan(body, nothing, jnp.arange(tiles.count))[0]


def best_classes(scores: CoarseScores | Float[Array, "b h w k"]) -> Int[Array, "b h w"]:
    """The class of the highest score at every pixel, int32, the first of equals."""
    if not isinstance(scores, CoarseScores):
        return jnp.argmax(scores, axis=-1).astype(jnp.int32)
    tiles = _Tiles(scores)
    padded, (h, _) = tiles.padded(), tiles.pixels

    def of_tile(i: Any) -> Array:
        upsampled = tiles.upsampled(tiles.cells(padded, i), scores.weights, i)
        return jnp.argmax(upsampled, axis=-1).astype(jnp.int32)

    labels = lax.map(of_tile, jnp.arange(tiles.count))  # (tiles, b, rows, w)
    labels = jnp.moveaxis(labels, 0, 1).reshape(labels.shape[1], -1, labels.shape[3])
    return labels[:, tiles.lead : tiles.lead + h]


def loss_over_tiles(
    term: Callable[[Any, Any], Any],
    scores: CoarseScores | Float[Array, "b h w k"],
    labels: Integer[Array, "b h w"],
) -> Float[Array, ""]:
    """`sum_over_tiles` of a scalar, whose gradient is computed along with it.

    The scalar's gradient in the coarse scores is found tile by tile in the forward pass, where the
    tile's scores are at hand, and is scaled in the backward pass: nothing of full resolution is
    kept in between, and nothing computed twice.
    """
    if not isinstance(scores, CoarseScores):
        return term(scores, labels)
    return _loss(term, scores, labels)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _loss(term, scores, labels):
    return sum_over_tiles(term, scores, labels)


def _loss_forward(term, scores, labels):
    tiles = _Tiles(scores)
    padded = tiles.padded()

    def of_tile(i: Any) -> Any:
        cells = tiles.cells(padded, i)

        def value(cells: Array, weights: Any) -> Array:
            return term(tiles.upsampled(cells, weights, i), tiles.of_labels(labels, i))

        return jax.value_and_grad(value, argnums=(0, 1))(cells, scores.weights)

    def body(carry: Any, i: Any) -> Any:
        total, by_cells, by_weights = carry
        value, (cells, weights) = of_tile(i)
        first, rows = tiles.block + i * tiles.blocks, cells.shape[1]
        # Neighbouring tiles share `reach - 1` coarse rows.
        cells = cells + lax.dynamic_slice_in_dim(by_cells, first, rows, axis=1)
        by_cells = lax.dynamic_update_slice_in_dim(by_cells, cells, first, axis=1)
        return (total + value, by_cells, jax.tree.map(jnp.add, by_weights, weights)), None

    start = (
        jnp.zeros(()),
        jnp.zeros_like(padded),
        jax.tree.map(jnp.zeros_like, scores.weights),
    )
    if tiles.count == 1:
        (total, by_cells, by_weights), _ = body(start, 0)
    else:
        (total, by_cells, by_weights), _ = lax.scan(body, start, jnp.arange(tiles.count))
    n = scores.values.shape[1]
    by_values = by_cells[:, tiles.reach - 1 : tiles.reach - 1 + n]
    return total, dataclasses.replace(
        scores, values=by_values, weights=by_weights, extent=None, sizes=None
    )


def _loss_backward(term, gradient, cotangent):
    scaled = jax.tree.map(lambda g: g * cotangent, gradient)
    return scaled, None


_loss.defvjp(_loss_forward, _loss_backward)


def is_coarse(value: Any) -> bool:
    """Whether a value is coarse scores; the leaves of those of several outputs."""
    return isinstance(value, CoarseScores)


def scores_of(net: Any, variables: Any, images: Any, **arguments: Any) -> Any:
    """`net.apply` for callers that take scores pixel by pixel: coarse where the net can give them.

    A net says so by its attribute `gives_coarse_scores`; it then takes `upsample=False`.
    """
    if current().row_tiles and getattr(net, "gives_coarse_scores", False):
        arguments["upsample"] = False
    return net.apply(variables, images, **arguments)
