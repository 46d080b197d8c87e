"""What a net's scores say, by the kind of the output."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from fcn_jax.data.named import as_plain, zip_named
from fcn_jax.labels import LabelKind


def answer(scores: Float[np.ndarray, "..."], kind: LabelKind) -> Any:
    """The answer of one output for one image.

    Args:
        scores: `(h, w, k)`, or `(k,)` of the whole image.
        kind: what the output's labels are.

    Returns:
        The first class of the highest score at every pixel, uint8 `(h, w)`; numbers float32
        `(h, w)`, or `(h, w, k)` of several; the class of the image, an integer; or whether it has
        each attribute, bool `(k,)`: its score is above 0, its probability above 0.5.
    """
    match kind:
        case LabelKind.CLASSES:
            return scores.argmax(-1).astype(np.uint8)
        case LabelKind.NUMBERS:
            return scores[..., 0] if scores.shape[-1] == 1 else scores
        case LabelKind.CLASS:
            return int(scores.argmax())
    return scores > 0


def answers(predict: Any, image: Any, kinds: Mapping[str, LabelKind]) -> Any:
    """The answers of all outputs, by name if there are several.

    Args:
        predict: predicts an image: a `Predictor`, or another with its `scores`.
        image: what it takes.
        kinds: of every output, "" for the only one.
    """
    if set(kinds.values()) == {LabelKind.CLASSES}:
        return predict(image)  # without the scores of every pixel
    scores = dict(zip_named(predict.scores(image)))
    return as_plain({name: answer(scores[name], kind) for name, kind in kinds.items()})
