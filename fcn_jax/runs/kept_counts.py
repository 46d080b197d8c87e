"""The file of a run that keeps what was counted in each image of an evaluation.

`validation_STEP.npz`: `about`, JSON as bytes, and for each array of `ByImage` the places and values
of its entries that are not zero. Scores, intervals and comparisons follow from it without the net.
"""

import dataclasses
import json
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from fcn_jax.atomic import write_atomically
from fcn_jax.damage import reading
from fcn_jax.data.named import as_plain, primary, zip_named
from fcn_jax.data.source import Source
from fcn_jax.labels import IGNORE
from fcn_jax.metrics import Absent, ByImage
from fcn_jax.metrics.by_image import detail_shapes
from fcn_jax.runs.scoring import of_classes, split_name

_MOST_BYTES = 2**30  # unpacked; a file that says more is damaged


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Kept:
    """An evaluation of a run, as it was kept.

    Attributes:
        step: of the run.
        split: which images, in words.
        images: what was counted in each, by output if the net has several.
        class_names: the names of the classes, by output too.
        seconds_per_image, peak_memory: see `fcn_jax.metrics.Scores`; None if not measured.
    """

    step: int
    split: str
    images: Any
    class_names: Any
    seconds_per_image: float | None = None
    peak_memory: int | None = None


def keep(path: Path, scores: Any, step: int, source: Source) -> None:
    """Writes what `fcn_jax.runs.scoring.evaluate` counted, atomically.

    Only of outputs that are classes of pixels; without any, no file is written.

    Args:
        path: the file, `.npz`.
        scores: the result of `evaluate`.
        step: of the run.
        source: what was evaluated on.
    """
    arrays: dict[str, np.ndarray] = {}
    outputs = of_classes(scores)
    if not outputs:
        return
    first: Any = primary(outputs)
    about = {
        "step": step,
        "split": split_name(source),
        "names": list(first.by_image.names),
        "class_names": {n: list(k) for n, k in zip_named(source.class_names) if n in outputs},
        "boundary_width": first.by_image.boundary_width,
        "seconds_per_image": first.seconds_per_image,
        "peak_memory": first.peak_memory,
    }
    for name, found in outputs.items():
        images: Any = found.by_image
        arrays[f"{name}/entries"] = images.entries.astype(np.uint32)
        for what, values in images.details.items():
            places = np.flatnonzero(values)
            arrays[f"{name}/{what}/places"] = places.astype(np.uint32)
            exact = np.float64 if what == "confidence" else np.uint32
            arrays[f"{name}/{what}/values"] = values.ravel()[places].astype(exact)
    arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)

    def write(part: Path) -> None:
        with part.open("wb") as file:
            np.savez_compressed(file, **arrays)  # pyright: ignore[reportArgumentType]

    write_atomically(path, write)


def read_kept(path: Path) -> Kept:
    """Reads what `keep` wrote.

    Raises:
        ValueError: the file is damaged.
        FileNotFoundError: there is none.
    """
    remedy = "Remove it, and evaluate the run again: python -m fcn_jax evaluate RUN."
    with reading(path, "counts of an evaluation", remedy):
        with zipfile.ZipFile(path) as file:
            if sum(entry.file_size for entry in file.infolist()) > _MOST_BYTES:
                raise ValueError("it is too large")
        with np.load(path, allow_pickle=False) as arrays:
            about = json.loads(arrays["about"].tobytes())
            names, width = tuple(map(str, about["names"])), float(about["boundary_width"])
            classes = {k: tuple(map(str, v)) for k, v in about["class_names"].items()}
            images = {k: _read_output(arrays, k, names, len(v), width) for k, v in classes.items()}
        seconds, memory = about["seconds_per_image"], about["peak_memory"]
        return Kept(
            step=int(about["step"]),
            split=str(about["split"]),
            images=as_plain(images),
            class_names=as_plain(classes),
            seconds_per_image=None if seconds is None else float(seconds),
            peak_memory=None if memory is None else int(memory),
        )


def kept_intervals(path: Path, absent: Absent) -> dict[str, np.ndarray]:
    """The intervals of the first output's scores; nothing where no counts were kept."""
    return primary(read_kept(path).images).intervals(absent) if path.exists() else {}


def _read_output(
    arrays: Any, output: str, names: tuple[str, ...], num_classes: int, width: float
) -> ByImage:
    entries = arrays[f"{output}/entries"].astype(np.int64)
    if num_classes > IGNORE:
        raise ValueError(f"it has {num_classes} classes")
    limits = len(names), num_classes, num_classes, np.inf
    if entries.ndim != 2 or entries.shape[1] != 4 or (entries >= limits).any():
        raise ValueError("the confusion matrices do not fit the images and classes")
    details = {}
    if f"{output}/boundary/places" in arrays:
        for what, shape in detail_shapes(num_classes).items():
            values = np.zeros((len(names), *shape))
            places = arrays[f"{output}/{what}/places"]
            if places.size and int(places.max()) >= math.prod(values.shape):
                raise ValueError(f"`{what}` does not fit the images and classes")
            values.ravel()[places] = arrays[f"{output}/{what}/values"]
            details[what] = values
    return ByImage(
        names=names,
        num_classes=num_classes,
        entries=entries,
        details=details,
        boundary_width=width,
    )
