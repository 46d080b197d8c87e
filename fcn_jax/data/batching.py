"""Batches for training and evaluation, as functions of their number.

Batch n depends on (seed, n) alone: not on threads, processes or where a run was resumed. A batch
is a dict of arrays on one canvas of H x W pixels:

- `image`: uint8 (b, H, W, 3), RGB, 0 to 255; 0 outside the image's own size;
- `label`: uint8 (b, H, W), the class index; 255 = ignored, and outside the image's own size;
- `size`: int32 (b, 2), each image's own rows and columns, from the top left corner;
- `index`: int32 (b,), in evaluation only: the example's number, -1 in rows without an example.

Where a source has several inputs or labels, `image` or `label` is a dict of such arrays by name;
depth is uint16 (b, H, W, 1). Labels of other kinds (`fcn_jax.labels.LabelKind`) are float32
(b, H, W), NaN outside; int32 (b,), a class of each image, -1 where missing; or float32 (b, k).
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int32

from fcn_jax.arithmetic import ceil_div
from fcn_jax.data.canvases import Canvases, canvas_for
from fcn_jax.data.kinds import as_labels, missing
from fcn_jax.data.named import as_plain, primary, zip_named
from fcn_jax.data.readers import DataError
from fcn_jax.data.source import Example, Source
from fcn_jax.data.transforms import Augment, Plan

Batch = dict[str, Any]  # of arrays, and of dicts of arrays by name

_EXAMPLE, _EPOCH = 0, 1  # separate random streams


@runtime_checkable
class Numbered(Protocol):
    """Anything that gives batches by number."""

    def __getitem__(self, n: int, /) -> Batch:
        """Batch `n`."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class Batches:
    """Endless training batches.

    Attributes:
      source: Where the examples come from.
      batch_size: Examples per batch, over all processes.
      seed: Decides order and augmentation; >= 0.
      with_replacement: True: every example is drawn from the whole set, as the reference
        implementation does. False: shuffled epochs; a batch may span two of them, so each example
        comes once per epoch and none is dropped.
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
    with_replacement: bool = False
    canvases: Canvases | None = None
    augment: Augment | None = None
    part: tuple[int, int] = (0, 1)
    _sizes: dict[int, tuple[int, int]] = dataclasses.field(
        default_factory=dict, init=False, repr=False
    )

    def __post_init__(self) -> None:
        _own_rows(self.batch_size, self.part)  # refuses a part that does not fit
        if self.seed < 0:
            raise DataError(f"Batches: expected seed >= 0, got {self.seed}.")
        inputs = getattr(self.source, "inputs", ("color",))
        if self.augment is not None and self.augment.colour and "color" not in inputs:
            raise DataError(
                f"Batches: there is no colour to change in {', '.join(inputs)}; set Augment.colour "
                "to 0."
            )

    def plan(self, n: int) -> list[tuple[int, Plan | None]]:
        """Example number and geometry of every row of batch `n`; decodes nothing."""
        return [self._row(n, row) for row in range(self.batch_size)]

    def __getitem__(self, n: int) -> Batch:
        if n < 0:
            raise IndexError(f"Batches are numbered from 0, got {n}.")
        own = _own_rows(self.batch_size, self.part)
        if self.canvases is not None and len(self.canvases) == 1:
            rows = [self._row(n, row) for row in own]
            canvas = self.canvases[0]  # the other processes' sizes do not matter
        else:
            everything = self.plan(n)
            sizes = [self._size(i) if plan is None else plan.size for i, plan in everything]
            canvas = canvas_for(sizes, self.canvases)
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
    """Batches that hold every example exactly once, in a fixed order: similar sizes together.

    The last batch is filled up with empty rows: label 255 everywhere, size (1, 1), index -1. Every
    batch has the additional key `index`.

    Attributes:
      source, batch_size, canvases, part: As for `Batches`.

    Raises:
      DataError: `batch_size` is not a multiple of p; on access, as for `Batches`.
    """

    source: Source
    _: dataclasses.KW_ONLY
    batch_size: int
    canvases: Canvases | None = None
    part: tuple[int, int] = (0, 1)

    def __post_init__(self) -> None:
        _own_rows(self.batch_size, self.part)  # refuses a part that does not fit

    @functools.cached_property
    def _sizes(self) -> list[tuple[int, int]]:
        return [self.source.size(i) for i in range(len(self.source))]

    @functools.cached_property
    def _empty(self) -> Example:
        return _empty_like(self.source[self._order[-1]])

    @functools.cached_property
    def _order(self) -> list[int]:
        def key(i: int) -> tuple[int, ...]:
            size = self._sizes[i]
            h, w = canvas_for([size], self.canvases)
            return (h * w, h, w, *size, i)

        return sorted(range(len(self.source)), key=key)

    def __len__(self) -> int:
        return ceil_div(len(self.source), self.batch_size)

    def __getitem__(self, n: int) -> Batch:
        if not 0 <= n < len(self):
            raise IndexError(f"there are {len(self)} batches, got number {n}.")
        whole: list[int] = self._order[n * self.batch_size : (n + 1) * self.batch_size]
        canvas = canvas_for([self._sizes[i] for i in whole], self.canvases)
        whole = whole + [-1] * (self.batch_size - len(whole))
        own = [whole[row] for row in _own_rows(self.batch_size, self.part)]
        batch = collate([self._empty if i < 0 else self.source[i] for i in own], canvas)
        return batch | {"index": np.array(own, np.int32)}


evaluation_batches = EvaluationBatches
"""Another name of `EvaluationBatches`."""


def collate(examples: list[Example], canvas: tuple[int, int]) -> Batch:
    """Puts examples into the top left corners of equal canvases.

    Returns:
      `image` uint8 (b, H, W, 3), 0 outside each image; `label` uint8 (b, H, W), 255 = ignored and
      outside, or another kind (see the top of this file); `size` int32 (b, 2), each image's own
      rows and columns. Of several inputs or labels, dicts of such arrays by name, each with its own
      channels and dtype.

    Raises:
      DataError: An example is larger than the canvas, or they differ in inputs or labels.
    """
    sizes: Int32[np.ndarray, "b 2"] = np.zeros((len(examples), 2), np.int32)
    for row, example in enumerate(examples):
        h, w = primary(example.image).shape[:2]
        sizes[row] = h, w
        if h > canvas[0] or w > canvas[1]:
            raise DataError(
                f"{example.name}: {h} rows and {w} columns do not fit on the canvas {canvas}. "
                "Choose canvases from this data set's sizes: choose_canvases."
            )

    def stack_by_name(values: list[Any], fill: int | None = None) -> Any:
        named = {name: _stack(arrays, sizes, canvas, fill) for name, *arrays in zip_named(*values)}
        return as_plain(named)

    return {
        "image": stack_by_name([example.image for example in examples], fill=0),
        "label": stack_by_name([as_labels(example.label) for example in examples]),
        "size": sizes,
    }


def _stack(
    arrays: list[np.ndarray],
    sizes: Int32[np.ndarray, "b 2"],
    canvas: tuple[int, int],
    fill: int | None,
) -> np.ndarray:
    """The arrays on equal canvases, `fill` outside; None is what is missing in such a label."""
    first = arrays[0]
    if first.ndim < 2:
        return np.stack(arrays)
    outside = missing(first) if fill is None else fill
    out = np.full((len(arrays), *canvas, *first.shape[2:]), outside, first.dtype)
    for row, (array, (h, w)) in enumerate(zip(arrays, sizes, strict=True)):
        out[row, :h, :w] = array
    return out


def _empty_like(example: Example) -> Example:
    """One pixel without a label, in arrays like those of `example`."""

    def one_pixel(array: np.ndarray, value: float | int) -> np.ndarray:
        shape = (1, 1, *array.shape[2:]) if array.ndim > 1 else array.shape
        return np.full(shape, value, array.dtype)

    image = {name: one_pixel(array, 0) for name, array in zip_named(example.image)}
    labels = zip_named(as_labels(example.label))
    label = {name: one_pixel(array, missing(array)) for name, array in labels}
    return Example(as_plain(image), as_plain(label), "(empty)")


def _rng(seed: int, stream: int, number: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, stream, number))))


@functools.lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, length: int) -> np.ndarray:
    return _rng(seed, _EPOCH, epoch).permutation(length)


def _own_rows(batch_size: int, part: tuple[int, int]) -> range:
    """The rows of a batch that process i of p loads, `part` being (i, p).

    Raises:
      DataError: The batch cannot be split evenly.
    """
    i, p = part
    if not 0 <= i < p or batch_size < 1 or batch_size % p:
        raise DataError(
            f"expected a batch size that is a multiple of the number of processes and part = "
            f"(process, processes); got batch_size {batch_size}, part {part}."
        )
    return range(i * batch_size // p, (i + 1) * batch_size // p)
