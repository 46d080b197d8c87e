"""The pictures of an example: image, truth, prediction, overlay, errors."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fcn_jax.labels import IGNORE
from fcn_jax.pages import pictures
from fcn_jax.pages.pictures import Key
from fcn_jax.report.shown import Example

_WRONG = np.array((213, 94, 0))  # of the palette of Okabe and Ito


class Pictures(NamedTuple):
    """An example as pictures.

    Attributes:
        name, kind, right: of the example.
        cells: what each picture shows, and its data URI.
        legend: the classes of truth and prediction, the largest areas first.
    """

    name: str
    kind: str
    right: float
    cells: list[tuple[str, str]]
    legend: list[Key]


def example_pictures(example: Example, class_names: Sequence[str]) -> Pictures:
    """Draws an example: image, truth, prediction, prediction over the image, errors."""
    names = dict(enumerate(class_names)) | {IGNORE: pictures.IGNORED}
    image = pictures.fit(example.image)
    size = (image.shape[0], image.shape[1])
    over, _ = pictures.label_over_image(example.image, example.prediction, names)
    cells = [
        ("image", pictures.jpeg_uri(image)),
        ("truth", pictures.label_alone(example.truth, names, size)),
        ("prediction", pictures.label_alone(example.prediction, names, size)),
        ("over the image", over),
        ("errors", _errors(image, example)),
    ]
    return Pictures(example.name, example.kind, example.right, cells, _legend(example, names))


def _errors(image: np.ndarray, example: Example) -> str:
    """Wrong pixels on the grayed image; ignored ones are white."""
    size = (image.shape[0], image.shape[1])
    truth, prediction = (
        pictures.resized(label, size) for label in (example.truth, example.prediction)
    )
    drawn = 0.5 * image.mean(axis=-1, keepdims=True).repeat(3, axis=-1) + 20
    wrong = (truth != prediction) & (truth != IGNORE)
    drawn[wrong] = 0.15 * drawn[wrong] + 0.85 * _WRONG
    drawn[truth == IGNORE] = 0.3 * drawn[truth == IGNORE] + 0.7 * 235
    return pictures.jpeg_uri(drawn.clip(0, 255).astype(np.uint8))


def _legend(example: Example, names: dict[int, str]) -> list[Key]:
    both = np.concatenate([example.truth.ravel(), example.prediction.ravel()])
    values, counts = np.unique(both, return_counts=True)
    keys = []
    for value in values[np.argsort(-counts, kind="stable")].tolist():
        name = names.get(value, str(value))
        css = "" if value == IGNORE else pictures.class_css(value, name)
        behind = pictures.is_background(value, name)
        keys.append(Key(f"rgb({3 * f' {pictures.BEHIND}'})" if behind else css, name))
    return pictures.shortened(keys)
