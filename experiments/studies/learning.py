"""Trains variants of a recipe in turns on the same images.

Image n is the same in every variant's training, whatever the batch size. Variants take their steps
in turns, so that other work on the machine slows all of them equally; only the steps are timed.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from experiments.studies import stopwatch
from fcn_jax.data.batching import Batches, Numbered
from fcn_jax.data.source import Source
from fcn_jax.metrics import Scores
from fcn_jax.runs.data_sets import training_batches
from fcn_jax.runs.recipe import Recipe
from fcn_jax.runs.scoring import evaluate
from fcn_jax.runs.start import starting_point
from fcn_jax.training.state import create_state, zero_variables
from fcn_jax.training.step import make_train_step
from fcn_jax.weights.surgery import transplant


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to train.

    Attributes:
        stages: recipes in order; each starts from the parameters of the one before, the first from
            its recipe's start.
        feed: makes the training batches of a stage from its plain batches.
        net: trained instead of the recipe's model, which is scored; its parameters have the same
            names.
        others: further data sets that the model is scored on, by name.
    """

    stages: tuple[Recipe, ...]
    feed: Callable[[Batches], Numbered] = lambda batches: batches
    net: nn.Module | None = None
    others: Mapping[str, Source] = dataclasses.field(default_factory=dict)

    @property
    def steps(self) -> int:
        """Updates of all stages."""
        return sum(recipe.steps for recipe in self.stages)


class Point(NamedTuple):
    """One point of a variant's training curve.

    Attributes:
        step: updates so far.
        images: images seen so far.
        seconds: processor time of the steps so far (wall time on other devices than a CPU).
        loss: mean training loss since the last point.
        scores: on the images held out.
        others: scores on the variant's `others`, by name.
    """

    step: int
    images: int
    seconds: float
    loss: float
    scores: Scores
    others: dict[str, Scores]


Curves = dict[str, list[Point]]


def train(
    variants: Mapping[str, Variant], *, turns: int, points: int, weights: Path | None = None
) -> Curves:
    """Trains the variants in turns and scores them during training.

    Args:
        variants: by name; each takes `steps / turns` steps per turn.
        turns: number of turns.
        points: how often each variant is scored, evenly spread up to the end.
        weights: a weights file to start from, instead of the recipes' own.

    Raises:
        ValueError: a variant's steps are not a multiple of `turns`, or the weights do not fit.
    """
    for name, variant in variants.items():
        if variant.steps % turns:
            raise ValueError(
                f"{name} takes {variant.steps} steps in {turns} turns; make them a multiple"
            )
    learners = {name: _Learner(variant, weights) for name, variant in variants.items()}
    marks = {turns * i // points for i in range(1, points + 1)}
    for turn in range(1, turns + 1):
        for learner in learners.values():
            learner.take(learner.variant.steps // turns)
        if turn in marks:
            for learner in learners.values():
                learner.measure()
    return {name: learner.curve for name, learner in learners.items()}


def batches_of(recipe: Recipe) -> tuple[Batches, bool]:
    """A recipe's training batches, and whether every image fills its canvas."""
    source = recipe.train_set
    sizes = [source.size(i) for i in range(len(source))]
    return training_batches(recipe, source, sizes)


@functools.lru_cache(maxsize=8)
def _step_of(
    net: nn.Module, optimizer: Any, loss: Any, preprocessing: Any, seed: int, accumulate: int
) -> Any:
    """`make_train_step`, cached, so that variants with the same step compile it once."""
    return make_train_step(net, optimizer(), loss, preprocessing, seed=seed, accumulate=accumulate)


class _Learner:
    """A variant during training."""

    def __init__(self, variant: Variant, weights: Path | None):
        self.variant, self.curve = variant, []
        self._clock, self._seconds, self._losses = stopwatch(), 0.0, []
        self._step = self._images = 0
        self._stages_left = list(variant.stages)
        start = starting_point(variant.stages[0], Path("runs/studies"), weights)
        self._preprocessing = start.preprocessing
        self._start_stage(start.variables)

    def _start_stage(self, variables: Any) -> None:
        """Starts the next stage from these variables, with zero momentum."""
        self.recipe = recipe = self._stages_left.pop(0)
        self._until = self._step + recipe.steps
        self._state = create_state(variables, recipe.optimizer(), frozen=recipe.frozen)
        self._train_step = _step_of(
            self.variant.net or recipe.model,
            recipe.optimizer,
            recipe.loss,
            self._preprocessing,
            recipe.seed,
            recipe.accumulate,
        )
        batches, uniform = batches_of(recipe)
        self._batches, self._unused = self.variant.feed(batches), {"size"} if uniform else set()
        self._compiled = False

    def take(self, steps: int) -> None:
        """Takes some steps."""
        for _ in range(steps):
            if self._step == self._until:
                self._next_stage()
            arrays = self._batches[self._step]
            batch = {key: jnp.asarray(arrays[key]) for key in arrays.keys() - self._unused}
            if not self._compiled:  # compile on a copy, since a step reuses the state's memory
                jax.block_until_ready(self._train_step(jax.tree.map(jnp.copy, self._state), batch))
                self._compiled = True
            start = self._clock()
            self._state, metrics = self._train_step(self._state, batch)
            jax.block_until_ready(self._state)
            self._seconds += self._clock() - start
            self._losses.append(float(metrics["loss"]))
            self._step += 1
            self._images += self.recipe.batch_size * self.recipe.accumulate

    def _next_stage(self) -> None:
        target = zero_variables(self._stages_left[0].model)
        self._start_stage(transplant(target, self._state.variables)[0])

    def measure(self) -> None:
        """Adds a point to the curve."""
        scores = self._scores_on(self.recipe.validation_set)
        others = {name: self._scores_on(source) for name, source in self.variant.others.items()}
        loss = float(np.mean(self._losses))
        self.curve.append(Point(self._step, self._images, self._seconds, loss, scores, others))
        self._losses = []

    def _scores_on(self, source: Source) -> Any:
        recipe = dataclasses.replace(self.recipe, batch_size=4)  # so all variants share a program
        return evaluate(
            recipe.model,
            self._state.variables,
            self._preprocessing,
            source,
            batch_size=recipe.batch_size,
            absent=recipe.absent,
            threads=0,
        )
