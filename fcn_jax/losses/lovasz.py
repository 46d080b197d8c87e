"""Lovász-softmax: a convex surrogate of the Jaccard loss, from the sorted errors of each class."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from fcn_jax.labels import IGNORE
from fcn_jax.losses.per_pixel import (
    LabelMap,
    Sizes,
    check_class_labels,
    nan_unless_classes,
    void_outside,
)
from fcn_jax.losses.region_sums import AbsentClasses
from fcn_jax.losses.sums import mean_where


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lovasz:
    """The Lovász extension of 1 - IU, per class, averaged over classes.

    With e the errors `|y - p|` of a class, sorted from the largest, the loss of the class is Σ e_i
    (J_i - J_{i-1}), where J_i is the class's 1 - IU if exactly the first i pixels are wrong. Of
    equal errors any order is right: the value is the same, and each order is a subgradient.

    It needs all pixels at once, so it takes scores of every pixel, and memory for a few arrays of
    their size. Rows and images that are spread over devices are gathered for the sort.

    Attributes:
        absent: whether a class without a labelled pixel counts ("all" in the paper's program) or
            not ("present"). The loss of one that counts is its largest p.
        per_image: the mean over the images that have a labelled pixel, instead of one sort of the
            batch's pixels.

    Source: Berman, Rannen Triki and Blaschko, "The Lovász-Softmax loss", 2018, algorithm 1.
    Differs: their program (bermanmaxim/LovaszSoftmax) fails on one valid pixel, and returns an
    empty array for none; here the loss of none is 0. The differences of J are written out (1/U at
    a pixel of the class, I/(U(U-1)) at another, I and U being intersection and union), because
    subtracting two float32 values of J loses most digits in a large image.
    """

    absent: AbsentClasses = AbsentClasses.SKIPPED
    per_image: bool = False

    takes_coarse_scores: ClassVar[bool] = False
    of_softmax: ClassVar[bool] = True

    def __call__(
        self, scores: Float[Array, "b h w k"], labels: LabelMap, *, sizes: Sizes = None
    ) -> Float[Array, ""]:
        """The loss of a batch, a float32 scalar, 0 if no pixel is labelled.

        Args:
            scores: unnormalised log-probabilities.
            labels: class 0..k-1 of each pixel, or 255, which is ignored: loss and gradient are
                exactly 0 there. A label that is neither makes the loss NaN.
            sizes: rows and columns of each image where the batch shares a canvas. Pixels outside
                are ignored.

        Raises:
            ValueError: the shapes do not belong together, or 255 would be a class.
        """
        check_class_labels(scores, labels, sizes)
        labels, classes = void_outside(labels, sizes), scores.shape[-1]
        valid = labels != IGNORE
        p = jax.nn.softmax(jnp.where(valid[..., None], scores, 0).astype(jnp.float32), axis=-1)
        images = len(labels) if self.per_image else 1
        p = jnp.moveaxis(p.reshape(images, -1, classes), 2, 1)  # (n, k, pixels)
        valid = valid.reshape(images, 1, -1)
        true = labels.reshape(images, 1, -1) == jnp.arange(classes)[:, None]
        errors = jnp.where(valid, jnp.where(true, 1 - p, p), 0.0)
        weights = lax.stop_gradient(_weights(jnp.where(valid, errors, -1.0), true))
        present = jnp.any(true, axis=-1)
        counted = present | (self.absent is AbsentClasses.COUNTED)
        of_images = mean_where(jnp.sum(errors * weights, axis=-1), counted, axis=1)
        loss = mean_where(of_images, jnp.any(present, axis=1))
        return nan_unless_classes(loss, labels, classes)


def _weights(
    errors: Float[Array, "n k pixels"], true: Bool[Array, "n k pixels"]
) -> Float[Array, "n k pixels"]:
    """What the error of each pixel weighs: J_i - J_{i-1}, if it is the i-th largest."""
    place = jnp.broadcast_to(jnp.arange(errors.shape[-1]), errors.shape)
    _, found, place = lax.sort((-errors, true.astype(jnp.int32), place), num_keys=1)
    found_so_far = jnp.cumsum(found, axis=-1)
    other_so_far = jnp.cumsum(1 - found, axis=-1)
    intersection = (found_so_far[..., -1:] - found_so_far).astype(jnp.float32)
    union = (found_so_far[..., -1:] + other_so_far).astype(jnp.float32)
    # Only an absent class has a union of 1 at another class's pixel, its first: J goes from 0 to 1.
    before = jnp.maximum(union - 1, 1)
    other = jnp.where(union == 1, 1.0, intersection / (union * before))
    weights = jnp.where(found == 1, 1 / jnp.maximum(union, 1), other)
    return jnp.put_along_axis(weights, place, weights, axis=-1, inplace=False)  # to their pixels
