"""Trains on whole images, on a sample of their cells, or on patches.

Source: FCN papers, sections 3.4 and 4.4, figure 5: each cell of the final layer is kept with
probability p = 1, 0.5 or 0.25, and the batch grows by 1 / p, so that the number of cells in the
loss stays the same. The papers find the same convergence per iteration, and slower convergence per
second, since more images are computed. Patchwise training samples in the same way, but computes
each patch separately. There is no table.

Here the net scores a map of SqueezeNet with a small receptive field, so that it can also be trained
on patches of that size: as many as the cells, each from a randomly drawn image. The loss of a cell
covers the block of pixels around it. The loss of a patch covers the pixel at its centre, where the
upsampled score equals the cell's.
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
from fcn_jax.arithmetic import ceil_div
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
"""Probabilities that a cell is kept. Source: CVPR 2015, figure 5."""

MAP = "fire4"  # stride 4; a cell sees 35 pixels


class Shallow(SqueezeNet):
    """SqueezeNet up to `MAP`."""

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool) -> dict[str, FeatureMap]:
        """Only `MAP`."""
        return {MAP: super().__call__(x, train=train)[MAP]}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Setting):
    """Whole images, a sample of their cells, or patches, with as many cells in every loss.

    Attributes:
        steps: updates of each.
        batch_size: whole images per update.
        learning_rate: of all; far below that of the other studies, since the features of `MAP` are
            more than ten times as large.
        crop: rows and columns of a whole image.
    """

    steps: int = 100
    batch_size: int = 4
    learning_rate: float = 3e-8
    crop: int = 64


@dataclasses.dataclass(frozen=True)
class Sampled:
    """Batches in which only some cells count in the loss; the label of the others is 255.

    Attributes:
        batches: whole images.
        probability: with which a cell counts, independently of the others.
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
        cells = (b, ceil_div(h, self.cell), ceil_div(w, self.cell))
        kept = np.random.default_rng((self.seed, n)).random(cells) < self.probability
        pixels = kept.repeat(self.cell, 1).repeat(self.cell, 2)[:, :h, :w]
        return batch | {"label": np.where(pixels, batch["label"], np.uint8(IGNORE))}


@dataclasses.dataclass(frozen=True)
class Patches:
    """Batches of patches; for each, an image and a pixel at its centre are drawn at random.

    Attributes:
        source: images, at least as large as a patch.
        field: rows and columns of a patch, odd.
        count: patches per batch.
        seed: of the draws, together with the batch's number.
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
    """The score of a patch's central cell: the score of an FCN at that pixel.

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
            ValueError: the patch does not have a cell at its centre.
        """
        maps = self.trunk(as_image(images, None, jnp.float32), train=train)
        deepest = next(reversed(maps.values()))
        at = (Fraction(images.shape[1] - 1, 2) - deepest.grid.offset) / deepest.grid.stride
        if at.denominator != 1 or not 0 <= at < deepest.shape[0]:
            raise ValueError(
                f"{deepest.name} has no cell at the centre of a patch of {images.shape[1]} pixels; "
                "take patches as large as its receptive field, which must be odd"
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
    """The recipe with all cells, with samples of larger batches, and with as many patches."""
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
    """Trains all, prints the loss during training and the scores, and saves the plots."""
    import rich

    recipe = options.recipe(
        steps=options.steps, batch_size=options.batch_size, learning_rate=options.learning_rate
    )
    net = FCN(Shallow(aligned=True, dropout=0.0), recipe.train_set.num_classes)
    recipe = dataclasses.replace(recipe, model=net)
    made = variants(recipe, options.crop)
    curves = train(made, turns=options.steps, points=options.points, weights=options.weights)

    def loss(point: Point) -> float:
        return point.loss

    rich.print(convergence_table(curves, "training loss, nats, since the last point", loss))
    rich.print(scores_table(curves, options.where, {}))
    print("published (figure 5): the same convergence per step; per second, slower for smaller p")
    save_curves(options.out, "loss_sampling", "training loss, nats", curves, loss)


if __name__ == "__main__":
    command(main, Options)
