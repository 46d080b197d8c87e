"""How certain a prediction is, at every pixel."""

from typing import Any

import numpy as np
from jaxtyping import Float, Float32, UInt16


def softmax(scores: Float32[np.ndarray, "*b k"]) -> Float32[np.ndarray, "*b k"]:
    """Probabilities from scores, along the last axis."""
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def sigmoid(scores: Float32[np.ndarray, "*b"]) -> Float32[np.ndarray, "*b"]:
    """The probability of each score by itself."""
    return (1 + np.tanh(scores / 2)) / 2


def confidence(probabilities: Float[np.ndarray, "*b k"]) -> Any:
    """The probability of the predicted class, 1 / k to 1: float `*b`."""
    return probabilities.max(axis=-1)


def entropy(probabilities: Float[np.ndarray, "*b k"]) -> Any:
    """The entropy of the classes' probabilities as a part of the largest, log k: 0 to 1, `*b`.

    0 = one class is certain; 1 = all classes are equally likely. Of one class it is 0.
    """
    classes = probabilities.shape[-1]
    if classes == 1:
        return np.zeros_like(probabilities[..., 0])
    logarithms = np.log(np.where(probabilities > 0, probabilities, 1))
    return -(probabilities * logarithms).sum(axis=-1) / np.float32(np.log(classes))


def as_16_bits(values: Float[np.ndarray, "h w"]) -> UInt16[np.ndarray, "h w"]:
    """Numbers from 0 to 1 as gray levels: 65535 is 1."""
    return np.rint(np.clip(values, 0, 1) * 65535).astype(np.uint16)
