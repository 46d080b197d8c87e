"""Losses against numbers that the publishers' own programs gave.

The numbers were noted in November 2026 from segmentation-models-pytorch 0.6.0, torchvision 0.29.1,
torch 2.14.1 and MONAI 1.6.1, in float64 (Lovász: float32), of the scores and labels of `draw`; void
pixels by `ignore_index=255`, or taken out beforehand where there is no such option.
"""

import jax.numpy as jnp
import numpy as np
import pytest
from naive_losses import jit

from fcn_jax.losses import (
    AbsentClasses,
    Dice,
    Focal,
    GeneralizedDice,
    Jaccard,
    Lovasz,
    Normalization,
    SigmoidFocal,
    Softmax,
    Tversky,
)

COUNTED, VALID = AbsentClasses.COUNTED, Normalization.VALID
WEIGHTS = (0.2, 1.0, 3.0)


def draw():
    """Scores (2, 4, 5, 3) of -3 to 3; 15, 9 and 12 pixels of the classes, and 4 void ones."""
    scores = ((np.arange(120).reshape(2, 4, 5, 3) * 7919) % 61 - 30) / 10
    labels = (np.arange(40).reshape(2, 4, 5) * 31 % 7) % 3
    labels[:, 0, :2] = 255
    return scores.astype(np.float32), labels


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        # segmentation_models_pytorch.losses, mode "multiclass"; its smooth is half of Dice's here.
        (Dice(), 0.688519544),
        (Dice(smooth=2.0), 0.632362875),
        (Jaccard(), 0.813861609),
        (Jaccard(smooth=1.0), 0.773718920),
        (Tversky(), 0.688504978),
        (Tversky(smooth=1.0), 0.632521388),
        (Lovasz(), 0.753895938),
        (Lovasz(per_image=True), 0.752353549),
        (SigmoidFocal(), 3 * 0.404669574),  # FocalLoss(gamma=2, alpha=0.25): the mean over classes
        (Focal(), 1.596908242),  # softmax_focal_loss_with_logits
        # torchvision.ops.sigmoid_focal_loss, "none", then the sum over classes and mean over pixels
        (SigmoidFocal(), 1.214008722),
        (SigmoidFocal(gamma=1.5, alpha=None), 2.239957394),
        # torch.nn.functional.cross_entropy: reduction "mean", and "sum"
        (Softmax(normalization=VALID), 1.942405412),
        (Softmax(normalization=VALID, class_weights=WEIGHTS), 1.914755824),
        (Softmax(normalization=VALID, label_smoothing=0.1), 1.934627634),
        (Softmax(normalization=VALID, class_weights=WEIGHTS, label_smoothing=0.1), 1.924899476),
        (Softmax(normalization=Normalization.SUM, class_weights=WEIGHTS), 91.908279532),
        # monai.losses, batch=True, smooth_nr = smooth_dr; its jaccard=True doubles both sums.
        (Dice(squared=True, smooth=1.0), 0.580764476),
        (Dice(smooth=1.0), 0.659204963),
        (Jaccard(smooth=0.5), 0.793269110),
        (GeneralizedDice(smooth=1.0), 0.240552284),
        (GeneralizedDice(smooth=1e-9), 0.700083960),
        (Tversky(smooth=1.0), 0.632521388),
    ],
    ids=lambda x: repr(x) if isinstance(x, float) else type(x).__name__,
)
def test_numbers_of_the_publishers(loss, expected):
    scores, labels = map(jnp.asarray, draw())
    np.testing.assert_allclose(jit(loss)(scores, labels), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        # segmentation_models_pytorch: loss 0 of the absent class, and the mean over all three
        (Dice(), 0.411547394 * 3 / 2),
        (Jaccard(), 0.508859322 * 3 / 2),
        (Lovasz(), 0.715791225),
        # MONAI counts it
        (Dice(smooth=1.0, absent=COUNTED), 0.699419541),
        (GeneralizedDice(smooth=1.0, absent=COUNTED), 0.136057686),
    ],
)
def test_numbers_of_the_publishers_with_an_absent_class(loss, expected):
    scores, labels = draw()
    labels[labels == 2] = 1
    found = jit(loss)(jnp.asarray(scores), jnp.asarray(labels))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_power_of_focal_tversky_is_of_each_class():
    """segmentation_models_pytorch takes it of the mean: 0.755840769."""
    scores, labels = map(jnp.asarray, draw())
    assert abs(float(Tversky()(scores, labels)) ** 0.75 - 0.755840769) < 1e-6
    assert abs(float(Tversky(gamma=0.75)(scores, labels)) - 0.755840769) > 1e-4
