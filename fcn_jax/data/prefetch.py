"""Batches read by threads while the program uses earlier ones."""

from __future__ import annotations

from collections.abc import Generator

from fcn_jax.data.batching import Batch, Numbered
from fcn_jax.data.readers import DataError


def read_ahead(
    batches: Numbered, start: int, stop: int, *, threads: int = 8, ahead: int = 8
) -> Generator[Batch, None, None]:
    """Batches start .. stop - 1 in order, read by threads while earlier ones are used.

    Args:
      batches: `Batches` or `EvaluationBatches`.
      start: First batch.
      stop: One past the last batch.
      threads: Reading threads; 0 reads each batch when it is asked for.
      ahead: How many batches may be ready or being read; at most this many threads run.

    Yields:
      The batches. Closing the iterator stops the threads.

    Raises:
      DataError: As raised while reading; the message names the file.
    """
    if threads < 0 or ahead < 1:
        raise DataError(f"read_ahead: expected threads >= 0, ahead >= 1, got {threads}, {ahead}.")
    if start >= stop:
        return
    if threads == 0:
        yield from (batches[n] for n in range(start, stop))
        return
    import grain

    numbers = grain.MapDataset.range(start, stop)  # pyright: ignore
    options = grain.ReadOptions(num_threads=min(threads, ahead), prefetch_buffer_size=ahead)
    iterator = iter(numbers.map(lambda n: batches[int(n)]).to_iter_dataset(options))
    try:
        yield from iterator
    finally:
        iterator.close()
