from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from fcn_jax.metrics import Absent, confusion_matrix, score

K = 4
N = 24  # one size, so that one compiled program serves all examples
PIXELS = st.tuples(
    arrays(np.uint8, N, elements=st.sampled_from([0, 1, 2, 3, 255, 77])),
    arrays(np.int32, N, elements=st.integers(0, K - 1)),
)
count = jax.jit(confusion_matrix, static_argnums=2)


def brute(labels, predictions):
    matrix = np.zeros((K, K), np.int64)
    for truth, prediction in zip(labels, predictions, strict=True):
        if truth < K:
            matrix[truth, prediction] += 1
    return matrix


@settings(max_examples=60, deadline=None)
@given(PIXELS, arrays(bool, N))
def test_matrix_counts_and_adds_up_over_any_split(pixels, first):
    labels, predictions = pixels
    whole = count(labels, predictions, K)
    assert whole.dtype == jnp.int32
    np.testing.assert_array_equal(whole, brute(labels, predictions))
    parts = [count(np.where(part, labels, 255), predictions, K) for part in (first, ~first)]
    np.testing.assert_array_equal(parts[0] + parts[1], whole)


@pytest.mark.parametrize("cut", [0, 11])
def test_parts_of_any_length_add_up(cut):
    rng = np.random.default_rng(cut)
    labels, predictions = rng.integers(0, K + 1, N), rng.integers(0, K, N)
    parts = [
        np.asarray(count(labels[part], predictions[part], K), np.int64)
        for part in (slice(cut), slice(cut, None))
    ]
    np.testing.assert_array_equal(sum(parts), brute(labels, predictions))


def test_compiled_and_shaped_like_images():
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, K + 1, (2, 5, 6)), rng.integers(0, K, (2, 5, 6))
    np.testing.assert_array_equal(
        count(labels, predictions, K), brute(labels.ravel(), predictions.ravel())
    )


def mean(values):
    return sum(values) / len(values)


@settings(max_examples=100, deadline=None)
@given(PIXELS)
def test_scores_are_those_of_sets_of_pixels(pixels):
    labels, predictions = pixels
    matrix = brute(labels, predictions)
    if not matrix.any():
        return
    kept = [i for i in range(len(labels)) if labels[i] < K]
    truth = [{i for i in kept if labels[i] == k} for k in range(K)]
    answer = [{i for i in kept if predictions[i] == k} for k in range(K)]
    iu = [len(t & a) / len(t | a) if t | a else None for t, a in zip(truth, answer, strict=True)]
    got = score(matrix)
    assert got.pixel_accuracy == pytest.approx(
        sum(labels[i] == predictions[i] for i in kept) / len(kept)
    )
    recall = [len(t & a) / len(t) for t, a in zip(truth, answer, strict=True) if t]
    assert got.mean_accuracy == pytest.approx(mean(recall))
    assert got.mean_iu == pytest.approx(mean([x for x in iu if x is not None]))
    assert got.frequency_weighted_iu == pytest.approx(
        sum(len(t) / len(kept) * x for t, x in zip(truth, iu, strict=True) if t)
    )
    assert [None if np.isnan(x) else pytest.approx(x) for x in got.iu] == iu
    strict = score(matrix, absent=Absent.NOT_IN_TRUTH)
    in_truth = [x for t, x in zip(truth, iu, strict=True) if t]
    assert strict.mean_iu == pytest.approx(mean(in_truth))
    assert strict.pixel_accuracy == got.pixel_accuracy
    assert strict.frequency_weighted_iu == got.frequency_weighted_iu


def test_the_two_rules_differ_where_an_absent_class_is_predicted():
    matrix = np.array([[3, 1, 0], [0, 0, 0], [0, 0, 0]])
    lenient, strict = score(matrix), score(matrix, absent=Absent.NOT_IN_TRUTH)
    assert lenient.mean_iu == pytest.approx((0.75 + 0) / 2)
    assert strict.mean_iu == pytest.approx(0.75)
    assert "2 of 3 classes count; left out: classes in neither" in str(lenient)
    assert "1 of 3 classes count; left out: classes not in truth" in str(strict)


def test_counts_beyond_32_bits():
    big = np.full((2, 2), 2**40, np.int64)
    assert score(big).mean_iu == pytest.approx(1 / 3)


@pytest.mark.parametrize("prediction", [-1, K, 255])
def test_a_prediction_that_is_not_a_class_is_refused(prediction):
    labels, predictions = np.array([0, 1, 255]), np.array([0, prediction, 0])
    matrix = np.asarray(count(labels, predictions, K), np.int64)
    with pytest.raises(ValueError, match="not one of the 4 classes"):
        score(matrix + 10**6)
    predictions = np.array([0, 1, prediction])  # under an ignored label anything may stand
    assert score(np.asarray(count(labels, predictions, K))).mean_iu == 1


def test_errors():
    with pytest.raises(ValueError, match="counts no pixel"):
        score(np.zeros((3, 3), np.int64))
    with pytest.raises(ValueError, match=r"float64 \(3, 3\)"):
        score.__wrapped__(np.ones((3, 3)))
    with pytest.raises(ValueError, match=r"\(3, 2\)"):
        score.__wrapped__(np.ones((3, 2), np.int64))
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(2, 2\)"):
        confusion_matrix.__wrapped__(np.zeros((2, 3), int), np.zeros((2, 2), int), K)


def test_the_reference_demonstration():
    folder = Path(__file__).parents[2] / "shared/data/fcn-demo"
    if not folder.exists():
        pytest.skip("the reference's demonstration image is not at hand")
    with Image.open(folder / "label.png") as file:
        assert file.mode == "P"
        labels = np.asarray(file)
    with Image.open(folder / "output.png") as file:
        colours = np.asarray(file.convert("RGB")).astype(int)
    palette = np.zeros((21, 3), int)
    for k in range(21):
        for bit in range(8):
            for channel in range(3):
                palette[k, channel] |= (k >> (3 * bit + channel) & 1) << (7 - bit)
    distance = np.abs(colours[:, :, None] - palette).sum(-1)
    assert (distance.min(-1) == 0).all()
    got = score(np.asarray(confusion_matrix(labels, distance.argmin(-1), 21)))
    assert got.pixel_accuracy == pytest.approx(0.842514, abs=1e-6)
    np.testing.assert_allclose(got.iu[[0, 2, 15]], [0.777294, 0.662082, 0.719470], atol=1e-6)
