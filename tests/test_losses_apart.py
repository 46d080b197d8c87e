"""What single losses promise beyond their formula, and what they refuse."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from naive_losses import DEPTHS, draw, jit

from fcn_jax.losses import (
    L1,
    OHEM,
    AbsentClasses,
    ByOutput,
    Dice,
    Focal,
    Jaccard,
    Lovasz,
    Normalization,
    SiLog,
    Softmax,
    Sum,
    TopK,
    Tversky,
    softmax_loss,
)
from fcn_jax.runs.data_sets import check_classes

VALID = Normalization.VALID
SOFTMAX = Softmax(normalization=VALID)


def batch(seed=0):
    scores, labels, _ = draw("dice", seed)
    return jnp.asarray(scores), jnp.asarray(labels)


def test_dice_and_jaccard_are_tversky_losses():
    scores, labels = batch()
    for loss, same in (
        (Dice(smooth=2.0), Tversky(alpha=0.5, beta=0.5, smooth=1.0)),
        (Jaccard(smooth=0.5), Tversky(alpha=1.0, beta=1.0, smooth=0.5)),
    ):
        np.testing.assert_allclose(loss(scores, labels), same(scores, labels), rtol=1e-6)


def test_at_hard_predictions_lovasz_and_jaccard_are_one_minus_the_mean_iu():
    _, labels = batch()
    found = jnp.asarray(np.random.default_rng(1).integers(0, 3, labels.shape))
    scores = jax.nn.one_hot(found, 3) * 100
    valid = np.asarray(labels) != 255
    true, found = np.asarray(labels)[valid], np.asarray(found)[valid]
    iu = [((true == c) & (found == c)).sum() / ((true == c) | (found == c)).sum() for c in range(3)]
    for loss in (Lovasz(), Jaccard()):
        np.testing.assert_allclose(loss(scores, labels), 1 - np.mean(iu), rtol=1e-6)


def test_an_absent_class_costs_what_is_stated_if_it_counts():
    scores, labels = batch()
    labels = jnp.where(labels == 2, 0, labels)
    p = jax.nn.softmax(scores)[..., 2][labels != 255]
    for loss, cost in ((Dice(smooth=1.0), 1 - 1 / (p.sum() + 1)), (Lovasz(), p.max())):
        counted = dataclasses.replace(loss, absent=AbsentClasses.COUNTED)
        found = 3 * counted(scores, labels) - 2 * loss(scores, labels)
        np.testing.assert_allclose(found, cost, rtol=1e-5)


def test_the_weights_of_many_pixels_keep_their_digits():
    """Differences of two float32 values of J would be wrong by some percent."""
    rng = np.random.default_rng(0)
    n = 100_000
    labels = (rng.random(n) < 0.3).astype(np.int32)
    logits = rng.normal(0, 2, n).astype(np.float32)
    scores = jnp.asarray(np.stack([np.zeros(n, np.float32), logits], -1)[None, :, None])
    gradient = jit(jax.grad(Lovasz()))(scores, jnp.asarray(labels)[None, :, None])
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    slopes = np.zeros(n)
    for own, y in ((p, labels == 1), (1 - p, labels == 0)):
        order = np.argsort(-np.abs(y - own), kind="stable")
        found = np.cumsum(y[order])
        j = 1 - (y.sum() - found) / (y.sum() + np.cumsum(~y[order]))
        weights = np.empty(n)
        weights[order] = np.diff(j, prepend=0.0)
        slopes += weights * np.where(y, -1, 1) * (1 if own is p else -1) / 2
    expected = slopes * p * (1 - p)
    found = np.asarray(gradient)[0, :, 0, 1]
    # Equal float32 errors may come in another order, each order being a subgradient.
    assert np.quantile(np.abs(found / expected - 1), 0.99) < 1e-4


def test_focal_without_power_is_the_cross_entropy():
    scores, labels = batch()
    expected = jit(jax.value_and_grad(SOFTMAX))(scores, labels)
    found = jit(jax.value_and_grad(Focal(gamma=0.0)))(scores, labels)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_all_pixels_are_the_cross_entropy():
    scores, labels = batch()
    for loss in (TopK(fraction=1.0), OHEM(threshold=1.0), OHEM(threshold=0.0, min_kept=10**9)):
        np.testing.assert_allclose(loss(scores, labels), SOFTMAX(scores, labels), rtol=1e-6)


def test_pixels_as_hard_as_the_last_are_kept():
    scores = jnp.zeros((1, 1, 4, 2)).at[0, 0, 0, 1].set(5.0)
    labels = jnp.zeros((1, 1, 4), jnp.int32)
    gradient = jit(jax.grad(TopK(fraction=0.5)))(scores, labels)
    assert (np.asarray(gradient)[0, 0, :, 0] < 0).all()


def test_weights_of_one_change_nothing():
    scores, labels = batch()
    for normalization in Normalization:
        plain = softmax_loss(scores, labels, normalization=normalization)
        same = Softmax(normalization=normalization, class_weights=(1.0, 1.0, 1.0))
        np.testing.assert_allclose(same(scores, labels), plain, rtol=1e-6)


def test_weights_of_zero_leave_no_nan():
    scores, labels = batch()
    loss = Softmax(normalization=VALID, class_weights=(0.0, 0.0, 0.0))
    value, gradient = jax.value_and_grad(loss)(scores, labels)
    assert value == 0 and (np.asarray(gradient) == 0).all()


def test_outputs_have_weights():
    scores, labels = batch()
    both = {"a": scores, "aux": scores * 0.5}, {"a": labels, "aux": labels}
    losses = {"a": SOFTMAX, "aux": Dice()}
    loss = ByOutput(losses, weights={"aux": 0.4})
    expected = SOFTMAX(scores, labels) + 0.4 * Dice()(scores * 0.5, labels)
    np.testing.assert_allclose(loss(*both), expected, rtol=1e-6)
    assert ByOutput(losses) == ByOutput(losses, weights={}) != loss
    assert hash(loss) == hash(ByOutput(losses, weights={"aux": 0.4}))


def test_a_net_that_starts_at_zero_metres_learns():
    _, labels, _ = draw("silog")
    for loss in (SiLog(), L1(log=True), L1()):
        value, gradient = jit(jax.value_and_grad(loss))(jnp.zeros((3, 4, 5, 1)), labels)
        assert np.isfinite(value) and (np.asarray(gradient) < 0).any()


def test_depths_out_of_range_are_missing():
    scores, labels, _ = draw("l1")
    known = (labels > 2) & (labels < 7)
    value, gradient = jax.value_and_grad(L1(minimum=2.0, maximum=7.0))(
        jnp.asarray(scores), jnp.asarray(labels)
    )
    expected = np.abs(scores[..., 0] - labels)[known].mean()
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_array_equal(np.asarray(gradient)[..., 0] != 0, known)


def test_silog_of_one_scale_is_nothing_if_scale_does_not_count():
    _, labels, _ = draw("silog")
    scores = jnp.where(jnp.isfinite(labels), labels, 1.0)[..., None] * 3
    assert float(SiLog(focus=1.0, floor=1e-3)(scores, jnp.asarray(labels))) < 1e-3
    np.testing.assert_allclose(SiLog(focus=0.0)(scores, jnp.asarray(labels)), np.log(3), rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dice(absent=AbsentClasses.COUNTED), "smooth.*Found 0.0; give 1.0"),
        (lambda: Jaccard(smooth=-1.0), "Found -1.0"),
        (lambda: TopK(fraction=0.0), "fraction above 0"),
        (lambda: OHEM(threshold=1.5), "threshold of 0 to 1"),
        (lambda: L1(minimum=5.0, maximum=2.0), "minimum < maximum"),
        (lambda: SiLog(floor=0.0), "floor above 0"),
        (lambda: Softmax(normalization=VALID, label_smoothing=2.0), "0 to 1.*found 2.0"),
        (lambda: Softmax(normalization=VALID, class_weights=(1.0, -1.0)), "at least 0"),
        (lambda: Sum(()), "at least one loss"),
        (lambda: Sum((SOFTMAX, Dice()), weights=(1.0,)), "2 losses and 1 weights"),
        (lambda: ByOutput({"a": SOFTMAX}, weights={"b": 1.0}), "weights for b, but losses for a"),
    ],
)
def test_values_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_arguments_that_do_not_fit_are_refused():
    scores, labels = batch()
    metres = jnp.ones(labels.shape)
    with pytest.raises(ValueError, match="weights of 2 classes, and 3 scores"):
        Softmax(normalization=VALID, class_weights=(1.0, 2.0))(scores, labels)
    for loss, _ in DEPTHS.values():
        with pytest.raises(ValueError, match="one score per pixel and float labels.*3 scores"):
            loss(scores, metres)
        with pytest.raises(ValueError, match="divide depths in millimetres by 1000"):
            loss(scores[..., :1], labels)


def test_one_class_is_refused_wherever_there_is_a_softmax():
    for loss in (SOFTMAX, Dice(), Lovasz(), Focal(), TopK(), Sum((L1(), OHEM()))):
        with pytest.raises(ValueError, match="there is one class"):
            check_classes(loss, 1)
        check_classes(ByOutput({"semantic": loss, "depth": L1()}), {"semantic": 2, "depth": 1})
    check_classes(L1(), 1)
