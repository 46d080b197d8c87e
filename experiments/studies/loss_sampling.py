"""Whole images, a sample of their cells, or patches cut out of them.

Source: FCN papers, sections 3.4 and 4.4, figure 5: each cell of the final layer is kept with
probability p = 1, 0.5 or 0.25 and the batch grows by 1 / p, so that the loss sees as many cells.
The papers find the same convergence per iteration and, since more images are computed, a slower one
per second; patchwise training is the same sampling, but that each patch is computed by itself.
There is no table.

Here the net scores one map of SqueezeNet, whose cells see few pixels, so that patches of just their
receptive field can be trained on as well: as many as the cells, each from an image of its own. A
cell of the whole image stands for the block of pixels around it, a patch for the pixel at its
centre, where the upsampled score is the cell's own.
"""

import dataclasses
import functools
from fractions import Fraction
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from experiments.studies import command
from experiments.studies.curves import convergence_table, save_curves, scores_table
from experiments.studies.learning import Point, Variant, train
from experiments.studies.setting import Setting
from fcn_jax.data.batching import Numbered
from fcn_jax.data.source import Source
from fcn_jax.labels import IGNORE
from fcn_jax.nets.fcn import FCN
from fcn_jax.nets.inputs import as_image
from fcn_jax.nets.trunks import SqueezeNet
from fcn_jax.nn.feature_map import FeatureMap, Grid
from fcn_jax.nn.layers import Conv
from fcn_jax.runs.recipe import Recipe

PROBABILITIES = (1.0, 0.5, 0.25)
"""Of a cell to be kept. Source: CVPR 2015, figure 5."""

MAP = "fire4"  # stride 4; a cell sees 35 pixels


class Shallow(SqueezeNet):
    """SqueezeNet without what follows `MAP`."""

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool) -> dict[str, FeatureMap]:
        """`MAP` alone."""
        return {MAP: super().__call__(x, train=train)[MAP]}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Setting):
    """Whole images, a sample of their cells, or patches, with equally many cells in the loss.

    Attributes:
        steps: updates of each.
        batch_size: whole images per update.
        learning_rate: of all; far below the other studies', since the features of `MAP` are more
            than ten times as large.
        crop: rows and columns of what is a whole image here.
    """

    steps: int = 100
    batch_size: int = 4
    learning_rate: float = 3e-8
    crop: int = 64


@dataclasses.dataclass(frozen=True)
class Sampled:
    """Batches of which only some cells count in the loss; the label of all others is 255.

    Attributes:
        batches: whole images.
        probability: of a cell to count, each by itself.
        cell: rows and columns of pixels of a cell.
        seed: of the choice, together with the batch's number.
    """

    batches: Numbered
    probability: float
    cell: int
    seed: int = 0

    def __getitem__(self, n: int) -> dict[str, Any]:
        batch = self.batches[n]
        b, h, w = batch["label"].shape
        cells = (b, -(-h // self.cell), -(-w // self.cell))
        kept = np.random.default_rng((self.seed, n)).random(cells) < self.probability
        pixels = kept.repeat(self.cell, 1).repeat(self.cell, 2)[:, :h, :w]
        return batch | {"label": np.where(pixels, batch["label"], np.uint8(IGNORE))}


@dataclasses.dataclass(frozen=True)
class Patches:
    """Batches of patches, each around a pixel of an image of its own, both drawn at random.

    Attributes:
        source: images, none smaller than a patch.
        field: rows and columns of a patch, odd.
        count: patches per batch.
        seed: of what is drawn, together with the batch's number.
    """

    source: Source
    field: int
    count: int
    seed: int = 0

    def __getitem__(self, n: int) -> dict[str, Any]:
        """`image` uint8 (count, field, field, 3) and the `label` (count, 1, 1) of its centre."""
        rng, half = np.random.default_rng((self.seed, n)), self.field // 2
        images, labels = [], []
        for _ in range(self.count):
            example = self.source[int(rng.integers(len(self.source)))]
            y, x = (int(rng.integers(half, size - half)) for size in example.label.shape)
            images.append(example.image[y - half : y + half + 1, x - half : x + half + 1])
            labels.append(example.label[y : y + 1, x : x + 1])
        return {"image": np.stack(images), "label": np.stack(labels)}


class PatchNet(nn.Module):
    """The score of a patch's central cell: what an FCN of the same parameters gives at its pixel.

    Attributes:
        trunk: the FCN's.
        num_classes: channels of the score.
    """

    trunk: nn.Module
    num_classes: int

    @nn.compact
    def __call__(
        self, images: Float[Array, "b f f c"], sizes: None = None, *, train: bool = False
    ) -> Float[Array, "b 1 1 k"]:
        """Scores of patches as large as the receptive field of a cell of the deepest map.

        Raises:
            ValueError: no cell of the patch is at its centre.
        """
        maps = self.trunk(as_image(images, None, jnp.float32), train=train)
        deepest = next(reversed(maps.values()))
        at = (Fraction(images.shape[1] - 1, 2) - deepest.grid.offset) / deepest.grid.stride
        if at.denominator != 1 or not 0 <= at < deepest.shape[0]:
            raise ValueError(
                f"{deepest.name} has no cell at the centre of a patch of {images.shape[1]} pixels; "
                "take patches of its receptive field, from a map whose field is odd"
            )
        i = int(at)
        central = deepest.replace(values=deepest.values[:, i : i + 1, i : i + 1])
        return Conv(self.num_classes, 1, zero_init=True, name="score_fr")(central).values


def grid_of(trunk: nn.Module) -> Grid:
    """Stride and receptive field of a trunk's deepest map."""
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)

    def deepest(pixels: Array) -> Any:
        image = as_image(pixels, None, jnp.float32)
        maps: Any = trunk.init_with_output(jax.random.key(0), image, train=False)[0]
        return next(reversed(maps.values()))

    return jax.eval_shape(deepest, image).grid


def variants(recipe: Recipe, crop: int) -> dict[str, Variant]:
    """The recipe with every cell, with samples of larger batches, and with as many patches."""
    assert isinstance(recipe.model, FCN)
    grid = grid_of(recipe.model.trunk)
    cell, field = int(grid.stride), int(grid.field)
    count = recipe.batch_size * (crop // cell) ** 2
    found = {}
    for p in PROBABILITIES:
        larger = dataclasses.replace(recipe, batch_size=round(recipe.batch_size / p))
        feed = functools.partial(Sampled, probability=p, cell=cell, seed=recipe.seed)
        found[f"p = {p:g}"] = Variant(stages=(larger,), feed=feed)
    patches = Patches(recipe.train_set, field, count, recipe.seed)
    found[f"patches of {field}x{field}"] = Variant(
        stages=(dataclasses.replace(recipe, batch_size=count),),
        feed=lambda batches: patches,
        net=PatchNet(recipe.model.trunk, recipe.train_set.num_classes),
    )
    return found


def main(options: Options) -> None:
    """Trains all, prints the loss on the way and the scores, and saves the plots."""
    import rich

    recipe = options.recipe(
        steps=options.steps, batch_size=options.batch_size, learning_rate=options.learning_rate
    )
    recipe = dataclasses.replace(recipe, model=_shallow(recipe))
    curves = train(
        variants(recipe, options.crop),
        turns=options.steps,
        points=options.points,
        weights=options.weights,
    )

    def loss(point: Point) -> float:
        return point.loss

    rich.print(convergence_table(curves, "training loss, nats, since the point before", loss))
    rich.print(scores_table(curves, options.where, {}))
    print("published (figure 5): the same convergence per step, slower per second the smaller p is")
    for path in save_curves(options.out, "loss_sampling", "training loss, nats", curves, loss):
        print(path)


def _shallow(recipe: Recipe) -> FCN:
    return FCN(Shallow(aligned=True, dropout=0.0), recipe.train_set.num_classes)


if __name__ == "__main__":
    command(main, Options)
