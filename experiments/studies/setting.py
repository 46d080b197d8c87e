"""The data, recipe and options that the training studies share."""

import dataclasses
from pathlib import Path
from typing import Any

import flax.linen as nn

from fcn_jax.data import Augment, SIFTFlow
from fcn_jax.data.scenes import Scenes
from fcn_jax.data.source import Example, Source
from fcn_jax.losses import Normalization, Softmax
from fcn_jax.metrics import Absent
from fcn_jax.nets.fcn import FCN
from fcn_jax.nets.trunks import SqueezeNet
from fcn_jax.optim import CaffeSGD
from fcn_jax.runs.recipe import FromWeights, Recipe


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """Options of every training study.

    Attributes:
        data: folder with SIFT Flow; without it the images are generated scenes.
        weights: of SqueezeNet, instead of weights/squeezenet1_0.safetensors.
        out: folder for the plots.
        images: training images; SIFT Flow's are kept in memory.
        held_out: images to score.
        crop: rows and columns of a training image, a random crop of SIFT Flow's 256x256.
        points: how often each variant is scored during training.
        seed: of the order of the images and of the crops.
    """

    data: Path | None = None
    weights: Path | None = None
    out: Path = Path("runs/studies")
    images: int = 600
    held_out: int = 40
    crop: int = 64
    points: int = 4
    seed: int = 0

    def recipe(self, *, steps: int, batch_size: int, learning_rate: float) -> Recipe:
        """One stream of SqueezeNet, stride 16, trained by the papers' gradient descent.

        Source: CVPR 2015, section 4.3, for momentum 0.9, decay 5e-4 and twice the rate for biases.
        The loss is a mean over the labelled pixels of a batch.
        """
        train_set, validation_set, augment = self._data()
        return Recipe(
            model=FCN(trunk=trunk(), num_classes=train_set.num_classes),
            train_set=train_set,
            validation_set=validation_set,
            start=FromWeights(file="squeezenet1_0.safetensors"),
            optimizer=CaffeSGD(learning_rate=learning_rate, momentum=0.9, weight_decay=5e-4),
            loss=Softmax(normalization=Normalization.VALID),
            batch_size=batch_size,
            accumulate=1,
            steps=steps,
            with_replacement=True,
            augment=augment,
            frozen=(),
            absent=Absent.NOT_IN_TRUTH,
            evaluate_every=0,
            checkpoint_every=0,
            seed=self.seed,
        )

    def _data(self) -> tuple[Source, Source, Augment | None]:
        if self.data is None:
            size = (self.crop, self.crop)
            train_set, validation_set = (
                Scenes(length=length, seed=seed, largest=size)
                for seed, length in enumerate((self.images, self.held_out))
            )
            return train_set, validation_set, None
        train_set, validation_set = (
            Few(source.at(self.data), count)
            for source, count in (
                (SIFTFlow(split="train"), self.images),
                (SIFTFlow(split="holdout"), self.held_out),
            )
        )
        return train_set, validation_set, Augment(crop=(self.crop, self.crop))

    @property
    def where(self) -> str:
        """The data and the unit of a table, for its title."""
        name = "generated scenes" if self.data is None else "SIFT Flow"
        return f"{name}, {self.held_out} images held out, per cent"


def trunk() -> nn.Module:
    """SqueezeNet with the smallest ring, without dropout."""
    return SqueezeNet(aligned=True, dropout=0.0)


class Derived:
    """A source with the classes of the source that it is made from."""

    source: Source

    @property
    def num_classes(self) -> Any:
        """The source's number of classes."""
        return self.source.num_classes

    @property
    def class_names(self) -> Any:
        """The source's class names."""
        return self.source.class_names


@dataclasses.dataclass(frozen=True, eq=False)
class Few(Derived):
    """Some examples of a source, evenly spread, each decoded once and kept in memory.

    Attributes:
        source: the source.
        count: number of examples, at most all.
    """

    source: Source
    count: int
    _kept: dict[int, Example] = dataclasses.field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return min(self.count, len(self.source))

    def __getitem__(self, i: int) -> Example:
        if i not in self._kept:
            self._kept[i] = self.source[i * len(self.source) // len(self)]
        return self._kept[i]

    def size(self, i: int) -> tuple[int, int]:
        """Rows and columns of example `i`."""
        return self.source.size(i * len(self.source) // len(self))

    def at(self, root: Path | str) -> "Few":
        """The same examples, read from the data folder `root`."""
        return Few(self.source.at(root), self.count)
