"""The data sets of a run, and the batches that a recipe trains on."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fcn_jax.data.batching import Batches
from fcn_jax.data.canvases import choose_canvases, fills_canvas
from fcn_jax.data.check import Checked, check_apart, is_single_image
from fcn_jax.data.errors import DataError, few
from fcn_jax.data.location import located, of_tfds
from fcn_jax.data.source import Source
from fcn_jax.losses.several import parts
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
        """Lines for the terminal."""
        first = (
            f"{self.names[0]}: {len(self.train)} images to train on; "
            f"{self.names[1]}: {len(self.validation)} to validate on"
        )
        if is_single_image(self.train, self.validation):
            first = f"{self.names[0]}: a single image, to train on and to validate on"
        left_out = [getattr(source, "left_out", ()) for source in (self.train, self.validation)]
        return "\n".join([first, *dict.fromkeys(itertools.chain(*left_out))])


def data_sets(recipe: Recipe, data: Path) -> DataSets:
    """The recipe's data sets, or those of TFDS in their place.

    Args:
        recipe: names its data sets.
        data: folder with the data sets, or `tfds:NAME`.

    Raises:
        DataError: data are missing, or the two have examples in common; or there is one class,
            of which a softmax learns nothing.
    """
    check_classes(recipe.loss, recipe.train_set.num_classes)
    train = located(recipe.train_set, data, "train")
    validation = located(recipe.validation_set, data, "validation")
    check_apart(train, validation)
    instead = None
    if of_tfds(data):
        instead = describe({"train_set": train, "validation_set": validation})
    names = _name(train, recipe.train_set), _name(validation, recipe.validation_set)
    return DataSets(train, validation, instead, names)


def check_classes(loss: Callable[..., Any], num_classes: int | Mapping[str, int]) -> None:
    """Refuses a softmax over one class: it is 1 everywhere, and every score would be 100.

    Raises:
        DataError: the loss is one, or has one.
    """
    for name, part in parts(loss):
        count = num_classes.get(name) if isinstance(num_classes, Mapping) else num_classes
        if getattr(part, "of_softmax", False) and count == 1:
            raise DataError(
                "there is one class, so its softmax is 1 everywhere and nothing is learned. The "
                "background counts: give 2 classes (--num-classes 2), and labels of 0 for the "
                "background and 1 for the object. In masks of 0 and 255, make 255 into 1; here 255 "
                "means ignored."
            )


def _name(source: Source, own: Source) -> str:
    """What is read, and the recipe's own data set where that is another."""
    split = getattr(source, "split", None)
    name = getattr(source, "title", type(source).__name__) + (f" {split}" if split else "")
    return name if type(source) is type(own) else f"{name} (in place of {_name(own, own)})"


def checked_batches(
    recipe: Recipe,
    source: Source,
    checked: Checked,
    *,
    part: tuple[int, int],
    say: Callable[[str], None],
) -> tuple[Batches, bool]:
    """This process's part of checked training batches; whether every image fills its canvas."""
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


def data_differences(stored: Any, now: dict[str, dict[str, list[str]]]) -> Iterator[str]:
    """A line for each kind of change in a run's data, with a few names.

    Args:
        stored: by the name of the part (`train`), the contents of its examples as they were.
        now: the same now (see `fcn_jax.data.check.Checked.contents`).
    """
    for part, here in now.items():
        there = stored.get(part)
        pairs = there.values() if isinstance(there, dict) else [None]
        if not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
            yield f"{part}: the record in data.json is damaged"
            continue
        both = [name for name in there if name in here]
        for what, names in (
            ("are gone", [name for name in there if name not in here]),
            ("are new", [name for name in here if name not in there]),
            ("have another image", [n for n in both if here[n][0] != there[n][0]]),
            ("have another label", [n for n in both if here[n][1] != there[n][1]]),
        ):
            if names:
                yield f"{part}: {len(names)} of {len(there)} examples {what}: {few(names, 5)}"
        if both != [name for name in here if name in there]:
            yield f"{part}: the examples come in another order"
