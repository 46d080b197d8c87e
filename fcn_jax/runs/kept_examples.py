"""The file of a run that keeps its best, median and worst images with their predictions.

`pictures_STEP.npz`: `about`, JSON as bytes, and of each image a JPEG or PNG as bytes, truth and
prediction. They are small, so a page can be made where the data are not.
"""

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from PIL import Image

from fcn_jax.atomic import write_atomically
from fcn_jax.damage import reading
from fcn_jax.data.kinds import label_kinds
from fcn_jax.data.named import zip_named
from fcn_jax.data.source import Source
from fcn_jax.inference.answers import answers
from fcn_jax.inference.predictor import Predictor
from fcn_jax.metrics import ByImage
from fcn_jax.pages.pictures import SIDE, encoded, fit, resized
from fcn_jax.preprocessing import AnyPreprocessing
from fcn_jax.report.shown import Example
from fcn_jax.runs.scoring import of_classes, picture

EACH = 3
"""How many images of each kind are kept."""
_MOST_BYTES = 2**25  # unpacked; a file that says more is damaged
_SHARP = 128  # of images up to this many pixels on a side, nothing may be lost


def choose(images: ByImage) -> list[tuple[int, str]]:
    """The best, median and worst images by the share of right pixels: place and kind.

    Each image is chosen once; of few images, fewer of each kind.
    """
    right = images.pixel_accuracy()
    order = np.argsort(right, kind="stable")[: np.count_nonzero(~np.isnan(right))].tolist()
    each = max(1, min(EACH, len(order) // 3))
    middle = (len(order) - each) // 2
    kinds = {i: "worst" for i in order[:each]}
    kinds |= {i: "best" for i in order[: each - 1 : -1][:each] if i not in kinds}
    kinds |= {i: "median" for i in order[middle : middle + each] if i not in kinds}
    ranked = sorted(kinds, key=lambda i: (("best", "median", "worst").index(kinds[i]), -right[i]))
    return [(i, kinds[i]) for i in ranked]


class ExampleMaker:
    """Predicts the chosen images of a data set; it compiles as few programs as it can.

    Args:
        net: the net.
        preprocessing: of its input.
        source: the data set.
    """

    def __init__(self, net: nn.Module, preprocessing: AnyPreprocessing, source: Source):
        self._net, self._preprocessing, self._source = net, preprocessing, source
        self._kinds = dict(zip_named(label_kinds(source)))
        self._predict: Predictor | None = None

    def try_to_keep(
        self,
        path: Path,
        scores: Any,
        variables: Any,
        say: Callable[[str], None],
    ) -> None:
        """Does as `keep`; if that fails, a line says why, and the page has no pictures."""
        try:
            self.keep(path, scores, variables)
        except Exception as error:  # a picture is never worth a run
            say(f"{path} was not written: {type(error).__name__}: {error}")

    def keep(self, path: Path, scores: Any, variables: Any) -> None:
        """Predicts the best, median and worst images, and writes them, atomically.

        Args:
            path: the file, `.npz`.
            scores: of the whole set, with `by_image`. Of several outputs, the first counts that is
                classes of pixels; without any, nothing is written.
            variables: of the net.
        """
        name, found = next(iter(of_classes(scores).items()), ("", None))
        if found is None or found.by_image is None:
            return
        counted = found.by_image
        chosen = choose(counted)
        variables = jax.device_get(variables)
        if self._predict is None:
            self._predict = Predictor(self._net, variables, self._preprocessing)
            self._predict.prepare(self._source.size(i) for i, _ in chosen)
        self._predict.variables = jax.tree.map(jax.numpy.asarray, variables)
        right = counted.pixel_accuracy()
        try:
            examples = [
                self._example(self._source[i], name, kind, float(right[i])) for i, kind in chosen
            ]
        finally:
            self._predict.variables = None  # their memory is the training's
        write_examples(path, examples)

    def _example(self, example: Any, output: str, kind: str, right: float) -> Example:
        found = answers(self._predict, example.image, self._kinds)
        image = np.ascontiguousarray(picture(example.image))
        image = fit(image) if max(image.shape) > SIDE else image
        size = (image.shape[0], image.shape[1])
        truth, prediction = (
            resized(dict(zip_named(labels))[output], size) for labels in (example.label, found)
        )
        return Example(example.name, kind, right, image, truth, prediction)


def write_examples(path: Path, examples: list[Example]) -> None:
    """Writes examples; see `ExampleMaker.keep`."""
    arrays: dict[str, np.ndarray] = {}
    for i, example in enumerate(examples):
        kind = "PNG" if max(example.image.shape) <= _SHARP else "JPEG"
        arrays[f"{i}/image"] = np.frombuffer(encoded(example.image, kind), np.uint8)
        arrays[f"{i}/truth"], arrays[f"{i}/prediction"] = example.truth, example.prediction
    about = [{"name": e.name, "kind": e.kind, "right": e.right} for e in examples]
    arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)

    def write(part: Path) -> None:
        with part.open("wb") as file:
            np.savez_compressed(file, **arrays)  # pyright: ignore[reportArgumentType]

    write_atomically(path, write)


def read_examples(path: Path) -> list[Example]:
    """Reads what `ExampleMaker.keep` wrote.

    Raises:
        ValueError: the file is damaged.
        FileNotFoundError: there is none.
    """
    remedy = "Remove it, and evaluate the run again: python -m fcn_jax evaluate RUN."
    with reading(path, "examples of a run", remedy):
        with zipfile.ZipFile(path) as file:
            if sum(entry.file_size for entry in file.infolist()) > _MOST_BYTES:
                raise ValueError("it is too large")
        with np.load(path, allow_pickle=False) as arrays:
            about = json.loads(arrays["about"].tobytes())
            return [_read(arrays, i, entry) for i, entry in enumerate(about)]


def _read(arrays: Any, i: int, about: Mapping[str, Any]) -> Example:
    with Image.open(io.BytesIO(arrays[f"{i}/image"].tobytes()), formats=("PNG", "JPEG")) as file:
        if max(file.size) > SIDE:
            raise ValueError(f"image {i} is larger than {SIDE} pixels")
        image = np.asarray(file.convert("RGB"))
    truth, prediction = arrays[f"{i}/truth"], arrays[f"{i}/prediction"]
    for label in (truth, prediction):
        if label.dtype != np.uint8 or label.shape != image.shape[:2]:
            raise ValueError(f"labels {i} do not fit their image")
    name, kind, right = str(about["name"]), str(about["kind"]), float(about["right"])
    return Example(name, kind, right, image, truth, prediction)
