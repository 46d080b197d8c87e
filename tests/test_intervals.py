"""The bootstrap over images: against a plain loop, and whether it holds what it should."""

import numpy as np
import pytest

from fcn_jax.metrics import FOUR, Absent, ByImage, Scores, score
from fcn_jax.metrics.bootstrap import draws, interval, interval_text, percent


def images(seed, n=12, k=4, each=400, right=0.7):
    """Confusion matrices of n images, each with a few classes, and their accuracies' spread."""
    rng = np.random.default_rng(seed)
    matrices = np.zeros((n, k, k), np.int64)
    for matrix in matrices:
        truth = rng.multinomial(each, rng.dirichlet(np.ones(k)) * (rng.random(k) < 0.6) + 0.0)
        share = np.clip(rng.normal(right, 0.1), 0, 1)
        for c in range(k):
            others = (1 - share) / (k - 1)
            matrix[c] = rng.multinomial(truth[c], [share if j == c else others for j in range(k)])
    return matrices


def by_image(matrices):
    places = np.argwhere(matrices)
    pixels = matrices[tuple(places.T)]
    return ByImage(
        names=tuple(f"image {i}" for i in range(len(matrices))),
        num_classes=matrices.shape[1],
        entries=np.column_stack([places, pixels]).astype(np.int64),
    )


@pytest.mark.parametrize("absent", Absent)
def test_the_scores_are_those_of_the_summed_matrix(absent):
    matrices = images(0)
    matrices[:, 2] = 0  # the truth lacks class 2
    expected = score(matrices.sum(axis=0), absent=absent)
    found = by_image(matrices)
    np.testing.assert_array_equal(found.matrix(), matrices.sum(axis=0))
    scores = found.scores(absent)
    for name in (*FOUR, "accuracy", "iu"):
        np.testing.assert_allclose(scores[name], getattr(expected, name), rtol=1e-12, err_msg=name)


def test_each_draw_is_a_set_of_as_many_images():
    times = draws(7, 500)
    assert times.shape == (500, 7) and (times.sum(axis=1) == 7).all() and times.max() > 2
    assert abs(times.mean(axis=0) - 1).max() < 0.2  # each image once on average
    np.testing.assert_array_equal(times, draws(7, 500))
    assert (times != draws(7, 500, seed=1)).any()


@pytest.mark.parametrize("absent", Absent)
def test_intervals_are_percentiles_of_the_scores_of_resampled_sets(absent):
    matrices = images(1)
    found = by_image(matrices).intervals(absent)
    expected = {name: [] for name in (*FOUR, "iu", "accuracy")}
    for times in draws(len(matrices)):
        total = sum(int(t) * m for t, m in zip(times, matrices, strict=True))
        scores = score(total, absent=absent)
        for name, values in expected.items():
            values.append(getattr(scores, name))
    for name, values in expected.items():
        ends = np.nanpercentile(np.array(values), [2.5, 97.5], axis=0)
        np.testing.assert_allclose(found[name], ends, rtol=1e-9, err_msg=name)


def test_a_score_that_is_not_defined_has_no_interval():
    values = np.array([[0.1, np.nan], [0.3, np.nan], [np.nan, np.nan]])
    np.testing.assert_allclose(interval(values), [[0.105, np.nan], [0.295, np.nan]])
    assert interval_text(interval(values)[:, 1]) == ""
    matrices = images(2)
    matrices[:, 3], matrices[:, :, 3] = 0, 0
    assert np.isnan(by_image(matrices).intervals(Absent.IN_NEITHER)["iu"][:, 3]).all()


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    """Pixel accuracy of many samples of 40 images of one kind, whose true value is 0.7."""
    held = 0
    for seed in range(150):
        lower, upper = by_image(images(seed, n=40, k=3)).intervals(Absent.IN_NEITHER)[FOUR[0]]
        held += lower <= 0.7 <= upper
    assert 0.88 <= held / 150 <= 0.99


def test_one_image_has_no_interval_and_scores_print_theirs():
    matrices = images(3)
    alone = by_image(matrices[:1])
    assert alone.intervals(Absent.IN_NEITHER) == {}
    bare = score(matrices.sum(axis=0))
    known = Scores(**{**vars(bare), "by_image": by_image(matrices)})
    low, high = (100 * end for end in known.intervals["mean_iu"])
    assert f"mean IU {100 * bare.mean_iu:.1f} ({low:.1f} to {high:.1f}), " in str(known)
    assert f"mean IU {100 * bare.mean_iu:.1f}, " in str(bare)
    assert not known.more


def test_percent():
    assert percent(0.375, np.array([0.3591, 0.392])) == "37.5 (35.9 to 39.2)"
    assert percent(0.002, np.array([-0.01, 0.014]), "+") == "+0.2 (-1.0 to +1.4)"
    assert percent(np.nan, np.array([np.nan, np.nan])) == "–"
    assert percent(0.5) == "50.0"


def test_images_in_another_order_are_the_same_images():
    matrices = images(4, n=5)
    first = by_image(matrices)
    order = [3, 0, 4, 1, 2]
    other = ByImage(
        names=tuple(first.names[i] for i in order),
        num_classes=4,
        entries=by_image(matrices[order]).entries,
        details={"confidence": np.array(order)[:, None, None] * np.ones((5, 15, 3))},
    ).of(first.names)
    assert other.names == first.names
    np.testing.assert_array_equal(other.classes, first.classes)
    np.testing.assert_array_equal(other.details["confidence"][:, 0, 0], range(5))
