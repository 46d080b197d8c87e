"""Scores of outputs for the whole image: a class, or attributes."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Float64

from fcn_jax.labels import IGNORE
from fcn_jax.metrics.classes import mean_of, ratio

_TOP = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassAccuracy:
    """How often the class of the image is right: shares of the images that have a label.

    `accuracy`: the highest score is the true class (the first of equal scores counts), which
    chooses the best checkpoint. `mean_class_accuracy`: the mean over classes of this share of the
    images of the class, over classes that occur. `top_5_accuracy`, of more than 5 classes: the true
    class is one of the 5 highest.

    Attributes:
        num_classes: k.
    """

    num_classes: int

    best = "accuracy"

    def measure(self, label: Any, scores: Float[np.ndarray, "..."]) -> Float64[np.ndarray, " m"]:
        """Of each class the images that are right and all images (2 k numbers), and the top 5.

        Args:
            label: an integer.
            scores: `(k,)`.

        Raises:
            ValueError: the label is no class, or there are other than k scores.
        """
        k, true = self.num_classes, int(label)
        if scores.shape != (k,) or np.shape(label):
            raise ValueError(
                f"expected {k} scores of the image and one class, found scores {scores.shape} and "
                f"a label {np.shape(label)}; give the net the head `Vector({k})`"
            )
        found = np.zeros(2 * k + 1)
        if true == -1 or true == IGNORE >= k:
            return found
        if not 0 <= true < k:
            raise ValueError(f"expected a class 0 to {k - 1}, or -1 = missing; found {true}")
        better = np.sum(~(scores <= scores[true])) + np.sum(scores[:true] == scores[true])
        found[[true, k + true, 2 * k]] = better == 0, 1, better < _TOP
        return found

    def scores(self, sums: Float64[np.ndarray, "*sets m"]) -> Mapping[str, np.ndarray]:
        """The accuracies of each set."""
        k = self.num_classes
        right, truth, top = sums[..., :k], sums[..., k : 2 * k], sums[..., 2 * k]
        images = truth.sum(axis=-1)
        found = {
            "accuracy": ratio(right.sum(axis=-1), images),
            "mean_class_accuracy": mean_of(ratio(right, truth)),
        }
        return found | ({"top_5_accuracy": ratio(top, images)} if k > _TOP else {})


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttributeAccuracy:
    """How often attributes are right, at a probability of 0.5: a score above 0 says yes.

    `accuracy`: the share of all labelled attributes of all images that are right, which chooses the
    best checkpoint. `mean_accuracy`: the mean over attributes of this share. `mean_f1`: the mean of
    2 TP / (2 TP + FP + FN) over attributes that are true or said of some image. Labels of NaN do
    not count.

    Attributes:
        num_attributes: k.
    """

    num_attributes: int

    best = "accuracy"

    def measure(
        self, label: Float[np.ndarray, "..."], scores: Float[np.ndarray, "..."]
    ) -> Float64[np.ndarray, " m"]:
        """For each attribute 1 where it is a true positive, false positive, false or true negative.

        Args:
            label: `(k,)`.
            scores: `(k,)`.

        Raises:
            ValueError: there are other than k labels or scores.
        """
        if not label.shape == scores.shape == (self.num_attributes,):
            raise ValueError(
                f"expected {self.num_attributes} attributes, found labels {label.shape} and scores "
                f"{scores.shape}; give the net the head `Vector({self.num_attributes})`"
            )
        says, true, known = scores > 0, label > 0.5, ~np.isnan(label)
        kinds = (says & true, says & ~true, ~says & true, ~says & ~true)
        return np.concatenate([kind & known for kind in kinds]).astype(np.float64)

    def scores(self, sums: Float64[np.ndarray, "*sets m"]) -> Mapping[str, np.ndarray]:
        """The scores of each set."""
        tp, fp, fn, tn = np.split(sums, 4, axis=-1)
        right, every = tp + tn, tp + fp + fn + tn
        return {
            "accuracy": ratio(right.sum(axis=-1), every.sum(axis=-1)),
            "mean_accuracy": mean_of(ratio(right, every)),
            "mean_f1": mean_of(ratio(2 * tp, 2 * tp + fp + fn)),
        }
