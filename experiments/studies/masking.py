"""What a net uses to recognise objects: the objects, their background, or their outline.

Source: TPAMI 2017, table 8: FCN-32s on VOC, trained and tested with the foreground or the
background masked, mean IU over the 20 objects without the background. The paper does not say how
masked pixels are filled; here they have the mean colour. Where both are masked, the image is the
mask itself: objects white, everything else the mean colour.

Here the images are generated scenes (`fcn_jax.data.scenes`). Their objects differ in colour,
texture and outline; their background has no information about the objects.
"""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.studies import command
from experiments.studies.curves import save_curves
from experiments.studies.learning import Curves, Variant, train
from experiments.studies.setting import Derived, Setting
from fcn_jax.data import Augment
from fcn_jax.data.source import Example, Source
from fcn_jax.labels import IGNORE
from fcn_jax.metrics import Scores
from fcn_jax.runs.recipe import Recipe


class Seen(NamedTuple):
    """Which pixels keep their colours."""

    foreground: bool
    background: bool

    def __str__(self):
        return " / ".join("keep" if kept else "mask" for kept in self)


BOTH, FOREGROUND, BACKGROUND, SHAPE = (
    Seen(True, True),
    Seen(True, False),
    Seen(False, True),
    Seen(False, False),
)

PUBLISHED = {
    ("Reference", BOTH, BOTH): 84.8,
    ("Reference-FG", BOTH, FOREGROUND): 81.0,
    ("Reference-BG", BOTH, BACKGROUND): 19.8,
    ("FG-only", FOREGROUND, FOREGROUND): 76.1,
    ("BG-only", BACKGROUND, BACKGROUND): 37.8,
    ("Shape", SHAPE, SHAPE): 29.1,
}
"""Mean IU of the objects in per cent, by the row's name and what is seen in training and test."""


@dataclasses.dataclass(frozen=True)
class Masked(Derived):
    """A source with a part of every image masked.

    Masked pixels have the mean colour. If anything is masked, so are all void pixels (255), since
    outlines belong to neither part. If both parts are masked, the foreground is white.

    Attributes:
        source: class 0 is the background, every other class the foreground.
        seen: the parts that keep their colours.
    """

    source: Source
    seen: Seen

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, i: int) -> Example:
        example = self.source[i]
        if self.seen == BOTH:
            return example
        label = example.label
        foreground, background = (label != 0) & (label != IGNORE), label == 0
        image = np.empty_like(example.image)
        image[...] = Augment().fill
        for part, kept in zip((foreground, background), self.seen, strict=True):
            if kept:
                image[part] = example.image[part]
        if self.seen == SHAPE:
            image[foreground] = 255
        return Example(image, label, example.name)

    def size(self, i: int) -> tuple[int, int]:
        """Rows and columns of example `i`."""
        return self.source.size(i)

    def at(self, root: Path | str) -> "Masked":
        """The same, read from the data folder `root`."""
        return Masked(self.source.at(root), self.seen)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Setting):
    """Nets that see the objects, their background, or their outline; on generated scenes.

    Attributes:
        steps: updates of each net.
        batch_size: images per update.
        learning_rate: of all.
        images: generated scenes to train on.
    """

    steps: int = 150
    batch_size: int = 8
    learning_rate: float = 3e-5
    images: int = 10_000


def variants(recipe: Recipe) -> dict[str, Variant]:
    """A variant for each kind of training image; its `others` are its rows of `PUBLISHED`."""

    def variant(seen: Seen) -> Variant:
        train_set = Masked(recipe.train_set, seen)
        own = Masked(recipe.validation_set, seen)
        tests = {
            name: Masked(recipe.validation_set, tested)
            for name, trained, tested in PUBLISHED
            if trained == seen
        }
        stage = dataclasses.replace(recipe, train_set=train_set, validation_set=own)
        return Variant(stages=(stage,), others=tests)

    return {f"trained on {seen}": variant(seen) for seen in (BOTH, FOREGROUND, BACKGROUND, SHAPE)}


def objects_iu(scores: Scores) -> float:
    """Mean IU in per cent over the classes without the background."""
    return 100 * float(np.nanmean(scores.iu[1:]))


def table(curves: Curves, title: str) -> Any:
    """Table 8, our scores beside the published ones, as a table of `rich`."""
    from rich.table import Table

    found: dict[str, Scores] = {}
    for curve in curves.values():
        found |= curve[-1].others
    made = Table("", "train FG / BG", "test FG / BG", title=title, title_justify="left")
    for heading in ("published", "ours"):
        made.add_column(heading, justify="right")
    for (name, trained, tested), published in PUBLISHED.items():
        ours = f"{objects_iu(found[name]):.1f}"
        made.add_row(name, str(trained), str(tested), f"{published:.1f}", ours)
    return made


def main(options: Options) -> None:
    """Trains the four nets, prints the table beside the published one, and saves the plots.

    Raises:
        ValueError: `data` was given.
    """
    import rich

    if options.data is not None:
        raise ValueError(
            "masking needs labels of objects and background, which SIFT Flow in "
            f"{options.data} does not have. Leave --data out: the study generates its scenes"
        )
    recipe = options.recipe(
        steps=options.steps, batch_size=options.batch_size, learning_rate=options.learning_rate
    )
    made = variants(recipe)
    curves = train(made, turns=options.steps, points=options.points, weights=options.weights)
    rich.print(table(curves, f"mean IU of the objects: {options.where}"))
    title = "mean IU of the objects, %"
    save_curves(options.out, "masking", title, curves, lambda point: objects_iu(point.scores))


if __name__ == "__main__":
    command(main, Options)
