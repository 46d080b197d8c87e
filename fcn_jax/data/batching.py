"""Batches for training and evaluation, as functions of their number.

Batch n depends on (seed, n) alone: not on threads, processes or where a run was resumed. A batch
is a dict of arrays on one canvas of H x W pixels:

- `image`: uint8 (b, H, W, 3), RGB, 0 to 255; 0 outside the image's own size;
- `label`: uint8 (b, H, W), the class index; 255 = ignored, and outside the image's own size;
- `size`: int32 (b, 2), each image's own rows and columns, from the top left corner;
- `index`: int32 (b,), in evaluation only: the example's number, -1 where there is none.

Where a source has several inputs or labels, `image` or `label` is a dict of such arrays by name;
depth is uint16 (b, H, W, 1).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Generator
from typing import Protocol, runtime_checkable

import numpy as np

from fcn_jax.data.canvases import (
    Batch,
    Canvases,
    canvas_for,
    collate,
    covering_size,
    empty_like,
    own_rows,
)
from fcn_jax.data.canvases import choose_canvases as choose_canvases
from fcn_jax.data.readers import DataError
from fcn_jax.data.source import Example, Source
from fcn_jax.data.transforms import Augment, Plan

_EXAMPLE, _EPOCH = 0, 1  # separate random streams


@runtime_checkable
class Numbered(Protocol):
    """Anything whose batches are had by number."""

    def __getitem__(self, n: int, /) -> Batch:
        """Batch `n`."""
        ...


def _rng(seed: int, stream: int, number: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, stream, number))))


@functools.lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, length: int) -> np.ndarray:
    return _rng(seed, _EPOCH, epoch).permutation(length)


@dataclasses.dataclass(frozen=True, eq=False)
class Batches:
    """Endless training batches.

    Attributes:
      source: Where the examples come from.
      batch_size: Examples per batch, over all processes.
      seed: Decides order and augmentation; >= 0.
      with_replacement: True: every example is drawn from the whole set, as the reference
        implementation does. False: shuffled epochs; batches run on across their borders, so each
        example comes once per epoch and none is dropped.
      canvases: The sizes a batch may have, see `choose_canvases`; a batch takes the smallest that
        covers it. None: each batch is as large as its largest image needs.
      augment: What is done to each example.
      part: (i, p): load rows i of p of each batch, for process i of p. Every process puts its rows
        on the canvas of the whole batch.

    Raises:
      DataError: Arguments do not fit together; on access, no canvas is large enough or a file is
        missing or damaged (the message names it).
    """

    source: Source
    _: dataclasses.KW_ONLY
    batch_size: int
    seed: int
    with_replacement: bool
    canvases: Canvases | None = None
    augment: Augment | None = None
    part: tuple[int, int] = (0, 1)
    _sizes: dict[int, tuple[int, int]] = dataclasses.field(
        default_factory=dict, init=False, repr=False
    )

    def __post_init__(self) -> None:
        own_rows(self.batch_size, self.part)
        if self.seed < 0:
            raise DataError(f"Batches: expected seed >= 0, got {self.seed}.")
        inputs = getattr(self.source, "inputs", ("color",))
        if self.augment is not None and self.augment.colour and "color" not in inputs:
            raise DataError(
                f"Batches: there is no colour to change in {', '.join(inputs)}; set Augment.colour "
                "to 0."
            )

    def plan(self, n: int) -> list[tuple[int, Plan | None]]:
        """Example number and geometry of every row of batch `n`, nothing decoded."""
        return [self._row(n, row) for row in range(self.batch_size)]

    def __getitem__(self, n: int) -> Batch:
        if n < 0:
            raise IndexError(f"Batches are numbered from 0, got {n}.")
        own = own_rows(self.batch_size, self.part)
        if self.canvases is not None and len(self.canvases) == 1:
            rows = [self._row(n, row) for row in own]
            canvas = self.canvases[0]  # no need to know the other processes' sizes
        else:
            everything = self.plan(n)
            sizes = [self._size(i) if plan is None else plan.size for i, plan in everything]
            canvas = canvas_for(covering_size(sizes), self.canvases)
            rows = [everything[row] for row in own]
        return collate([self._load(i, plan) for i, plan in rows], canvas)

    def _row(self, n: int, row: int) -> tuple[int, Plan | None]:
        number = n * self.batch_size + row
        rng = _rng(self.seed, _EXAMPLE, number)
        if self.with_replacement:
            index = int(rng.integers(len(self.source)))
        else:
            epoch, position = divmod(number, len(self.source))
            index = int(_permutation(self.seed, epoch, len(self.source))[position])
        return index, None if self.augment is None else self.augment.plan(self._size(index), rng)

    def _size(self, index: int) -> tuple[int, int]:
        if index not in self._sizes:
            self._sizes[index] = self.source.size(index)
        return self._sizes[index]

    def _load(self, index: int, plan: Plan | None) -> Example:
        example = self.source[index]
        if self.augment is None or plan is None:
            return example
        return Example(*self.augment.apply(plan, example.image, example.label), example.name)


@dataclasses.dataclass(frozen=True, eq=False)
class EvaluationBatches:
    """Every example exactly once, in a fixed order that keeps like sizes together.

    The last batch is filled up with empty rows: label 255 everywhere, size (1, 1), index -1.
    Made by `evaluation_batches`.
    """

    source: Source
    _: dataclasses.KW_ONLY
    batch_size: int
    canvases: Canvases | None = None
    part: tuple[int, int] = (0, 1)

    def __post_init__(self) -> None:
        own_rows(self.batch_size, self.part)

    @functools.cached_property
    def _sizes(self) -> list[tuple[int, int]]:
        return [self.source.size(i) for i in range(len(self.source))]

    @functools.cached_property
    def _empty(self) -> Example:
        return empty_like(self.source[self._order[-1]])

    @functools.cached_property
    def _order(self) -> list[int]:
        def key(i: int) -> tuple[int, ...]:
            size = self._sizes[i]
            h, w = canvas_for(size, self.canvases)
            return (h * w, h, w, *size, i)

        return sorted(range(len(self.source)), key=key)

    def __len__(self) -> int:
        return -(-len(self.source) // self.batch_size)

    def __getitem__(self, n: int) -> Batch:
        if not 0 <= n < len(self):
            raise IndexError(f"there are {len(self)} batches, got number {n}.")
        whole: list[int] = self._order[n * self.batch_size : (n + 1) * self.batch_size]
        canvas = canvas_for(covering_size([self._sizes[i] for i in whole]), self.canvases)
        whole = whole + [-1] * (self.batch_size - len(whole))
        own = [whole[row] for row in own_rows(self.batch_size, self.part)]
        batch = collate([self._empty if i < 0 else self.source[i] for i in own], canvas)
        return batch | {"index": np.array(own, np.int32)}


def evaluation_batches(
    source: Source,
    *,
    batch_size: int,
    canvases: Canvases | None = None,
    part: tuple[int, int] = (0, 1),
) -> EvaluationBatches:
    """Batches that hold every example of `source` exactly once.

    Args:
      source: Where the examples come from.
      batch_size: Examples per batch, over all processes.
      canvases: The sizes a batch may have; None: each batch is as large as its images need.
      part: (i, p): load rows i of p of each batch, for process i of p.

    Returns:
      Batches by number, with `len`; every one has the additional key `index`.

    Raises:
      DataError: `batch_size` is not a multiple of p; on access, as for `Batches`.
    """
    return EvaluationBatches(source, batch_size=batch_size, canvases=canvases, part=part)


class _Span:
    """Batches start .. stop - 1 as the sequence Grain wants."""

    def __init__(self, batches: Numbered, start: int, stop: int):
        self._batches, self._start, self._stop = batches, start, stop

    def __len__(self) -> int:
        return self._stop - self._start

    def __getitem__(self, i: int) -> Batch:
        return self._batches[self._start + int(i)]


def read_ahead(
    batches: Numbered, start: int, stop: int, *, threads: int = 8, ahead: int = 8
) -> Generator[Batch, None, None]:
    """Batches start .. stop - 1 in order, read by threads while earlier ones are used.

    Args:
      batches: `Batches` or `EvaluationBatches`.
      start: First batch.
      stop: One past the last batch.
      threads: Reading threads; 0 reads each batch when it is asked for.
      ahead: How many batches may be ready or in the making; no more threads than this run.

    Yields:
      The batches. Closing the iterator stops the threads.

    Raises:
      DataError: As raised while reading; the message names the file.
    """
    if threads < 0 or ahead < 1:
        raise DataError(f"read_ahead: expected threads >= 0, ahead >= 1, got {threads}, {ahead}.")
    if start >= stop:
        return
    span = _Span(batches, start, stop)
    if threads == 0:
        yield from (span[i] for i in range(len(span)))
        return
    import grain

    options = grain.ReadOptions(num_threads=min(threads, ahead), prefetch_buffer_size=ahead)
    iterator = iter(grain.MapDataset.source(span).to_iter_dataset(options))  # pyright: ignore
    try:
        yield from iterator
    finally:
        iterator.close()
