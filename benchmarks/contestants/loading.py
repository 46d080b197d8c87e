"""An image loader in its own process: `python -m benchmarks.contestants.loading JSON`."""

import functools
import json
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.turns import serve
from fcn_jax.data.batching import Batches
from fcn_jax.data.folders import Folders
from fcn_jax.data.prefetch import read_ahead
from fcn_jax.data.transforms import Augment

AUGMENT = Augment(mirror=True, scale=(0.75, 1.5), crop=(281, 281), colour=0.2)
Epochs = Callable[[Augment | None, int], Iterable[tuple[Any, Any]]]
"""From an augmentation and the number of a pass to the images and labels of its batches."""


def ours(folder: Path, batch: int, workers: int) -> Epochs:
    """fcn_jax: shuffled epochs, read ahead by threads."""
    source = Folders(num_classes=21, root=folder)
    per_epoch = len(source) // batch

    def epoch(augment: Augment | None, number: int) -> Iterable[tuple[Any, Any]]:
        batches = Batches(source, batch_size=batch, seed=0, with_replacement=False, augment=augment)
        first = number * per_epoch
        for read in read_ahead(batches, first, first + per_epoch, threads=workers):
            yield read["image"], read["label"]

    return epoch


def theirs(folder: Path, batch: int, workers: int) -> Epochs:
    """PyTorch: a shuffling DataLoader, whose worker processes are kept between passes."""
    import torch  # pyright: ignore[reportMissingImports]
    from torch.utils.data import DataLoader, Dataset  # pyright: ignore[reportMissingImports]

    class Files(Dataset):
        def __init__(self, augment: Augment | None):
            self.images = sorted((folder / "images").iterdir())
            self.labels = sorted((folder / "labels").iterdir())
            self.augment = augment

        def __len__(self) -> int:
            return len(self.images)

        def __getitem__(self, i: int) -> tuple[Any, Any]:
            image = np.array(Image.open(self.images[i]).convert("RGB"))
            label = np.array(Image.open(self.labels[i]))
            if self.augment is not None:
                rng = np.random.default_rng(int(torch.randint(2**31, ())))
                image, label = self.augment(image, label, rng)
                image, label = np.array(image), np.array(label)  # tensors need writable arrays
            return image, label

    @functools.cache
    def loader(augment: Augment | None) -> DataLoader:
        return DataLoader(
            Files(augment),
            batch,
            shuffle=True,
            num_workers=workers,
            persistent_workers=workers > 0,
        )

    return lambda augment, number: loader(augment)


def make(given: dict[str, Any]) -> Callable[[str], dict[str, Any]]:
    """The loader as a function that answers requests."""
    library = {"fcn_jax": ours, "torch": theirs}[given["library"]]
    epochs = library(Path(given["folder"]), given["batch"], given["workers"])
    augment = AUGMENT if given["augment"] else None
    passes = 0

    def ready() -> dict[str, Any]:
        sums = [[int(np.asarray(part).sum()) for part in read] for read in epochs(None, 0)]
        for _ in epochs(augment, 0):  # starts worker processes
            pass
        return {"sums": np.sum(sums, axis=0).tolist()}

    def go() -> dict[str, Any]:
        nonlocal passes
        passes += 1
        start = time.perf_counter()
        for _ in epochs(augment, passes):
            pass
        return {"seconds": time.perf_counter() - start}

    return lambda request: {"ready": ready, "go": go}[request]()


def main() -> None:
    given = json.loads(sys.argv[1])
    serve(lambda: make(given), given["processors"])


if __name__ == "__main__":
    main()
