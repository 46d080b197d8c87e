"""The data sets of a run, and the batches that a recipe trains on."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fcn_jax.data.batching import Batches
from fcn_jax.data.canvases import choose_canvases, fills_canvas
from fcn_jax.data.check import check_apart, check_labels
from fcn_jax.data.location import located, of_tfds
from fcn_jax.data.source import Source
from fcn_jax.runs.description import describe
from fcn_jax.runs.recipe import Recipe


@dataclasses.dataclass(frozen=True)
class DataSets:
    """What a run reads.

    Attributes:
        train: the training examples.
        validation: the examples that scores are computed on; none is in `train`.
        instead: description of both where they take the place of the recipe's own, else None.
        names: what to call the two.
    """

    train: Source
    validation: Source
    instead: dict[str, Any] | None
    names: tuple[str, str]

    def __str__(self) -> str:
        """A line for the terminal."""
        return (
            f"{self.names[0]}: {len(self.train)} images to train on; "
            f"{self.names[1]}: {len(self.validation)} to validate on"
        )


def data_sets(recipe: Recipe, data: Path) -> DataSets:
    """The recipe's data sets, or those of TFDS in their place.

    Args:
        recipe: names its data sets.
        data: folder with the data sets, or `tfds:NAME`.

    Raises:
        DataError: data are missing, or the two have examples in common.
    """
    train = located(recipe.train_set, data, "train")
    validation = located(recipe.validation_set, data, "validation")
    check_apart(train, validation)
    instead = None
    if of_tfds(data):
        instead = describe({"train_set": train, "validation_set": validation})
    names = _name(train, recipe.train_set), _name(validation, recipe.validation_set)
    return DataSets(train, validation, instead, names)


def _name(source: Source, own: Source) -> str:
    """What is read, and the recipe's own data set where that is another."""
    split = getattr(source, "split", None)
    name = getattr(source, "title", type(source).__name__) + (f" {split}" if split else "")
    return name if type(source) is type(own) else f"{name} (in place of {_name(own, own)})"


def checked_batches(
    recipe: Recipe,
    source: Source,
    *,
    threads: int,
    part: tuple[int, int],
    say: Callable[[str], None],
) -> tuple[Batches, bool]:
    """This process's part of checked training batches; whether every image fills its canvas.

    Raises:
        DataError: a label is damaged, of another size than its image, or not of the classes.
    """
    checked = check_labels(source, threads=threads)
    absent = checked.absent if isinstance(checked.absent, dict) else {"": checked.absent}
    for label, classes in absent.items():
        if classes:
            say(
                f"no pixel of the training set is {', '.join(classes)}"
                + f" ({label})" * bool(label)
            )
    if checked.unlabelled:
        say(f"{len(checked.unlabelled)} images are ignored everywhere: {checked.unlabelled[:5]}")
    batches, fills = training_batches(recipe, source, checked.sizes, part=part)
    say(f"canvases: {', '.join(f'{h}x{w}' for h, w in batches.canvases or ())}")
    return batches, fills


def training_batches(
    recipe: Recipe, source: Source, sizes: Any, *, part: tuple[int, int] = (0, 1)
) -> tuple[Batches, bool]:
    """What a recipe trains on, and whether every image fills its canvas.

    Args:
        recipe: batch size, canvases, augmentation and order follow from it.
        source: the examples.
        sizes: their rows and columns, `(n, 2)`.
        part: index and number of the processes that share every batch.
    """
    per_step = recipe.batch_size * recipe.accumulate
    canvases = choose_canvases(sizes, per_step, augment=recipe.augment, seed=recipe.seed)
    batches = Batches(
        source,
        batch_size=per_step,
        seed=recipe.seed,
        with_replacement=recipe.with_replacement,
        canvases=canvases,
        augment=recipe.augment,
        part=part,
    )
    return batches, fills_canvas(sizes, canvases, recipe.augment)
