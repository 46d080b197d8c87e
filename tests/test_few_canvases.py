"""Canvases for single images: compilation and padding together take little time."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from three_colours import NET, VARIABLES, plain, random_image, reference_label

from fcn_jax.arithmetic import round_up
from fcn_jax.inference.few_canvases import few_canvases
from fcn_jax.inference.predictor import Predictor

sides = st.integers(1, 1000)
VOC = [(375, 500)] * 300 + [(333, 500)] * 100 + [(500, 375)] * 80 + [(281, 500)] * 60


def cost(sizes, canvases, compile_cost):
    """Pixels predicted, plus what compilation costs, in pixels."""
    areas = [min(h * w for h, w in canvases if h >= a and w >= b) for a, b in sizes]
    return sum(areas) + compile_cost * len(canvases)


@given(st.lists(st.tuples(sides, sides), min_size=1, max_size=20), st.sampled_from([0.0, 1e4, 1e9]))
def test_every_image_fits_and_merging_saves_time(sizes, compile_cost):
    canvases = few_canvases(sizes, compile_cost=compile_cost, multiple=32)
    own = sorted({(round_up(h, 32), round_up(w, 32)) for h, w in sizes})
    assert all(n % 32 == 0 for canvas in canvases for n in canvas)
    assert cost(sizes, canvases, compile_cost) <= cost(sizes, own, compile_cost)
    assert canvases[-1][0] * canvases[-1][1] <= 2 * max(h * w for h, w in own)
    if not compile_cost:
        assert sorted(canvases) == own


def test_few_images_share_and_many_get_their_own():
    assert few_canvases(VOC[::50], compile_cost=1.5e6) == ((512, 512),)
    assert few_canvases(VOC, compile_cost=1.5e6) == ((320, 512), (384, 512), (512, 384))
    assert few_canvases(VOC, compile_cost=4e8) == ((512, 512),)
    # A square around both would be six times as large.
    assert few_canvases([(500, 6000), (6000, 500)], compile_cost=1e9) == ((512, 6016), (6016, 512))
    assert few_canvases([], compile_cost=1e9) == ()


def test_the_choice_is_close_to_the_best():
    random = np.random.default_rng(0)
    ratios = []
    for _ in range(40):
        sizes = [tuple(size) for size in random.integers(200, 300, (5, 2)).tolist()]
        corners = list(itertools.product(*({size[axis] for size in sizes} for axis in (0, 1))))
        choices = (
            chosen
            for number in (1, 2, 3)
            for chosen in itertools.combinations(corners, number)
            if all(any(h >= a and w >= b for h, w in chosen) for a, b in sizes)
        )
        best = min(cost(sizes, chosen, 2e4) for chosen in choices)
        found = cost(sizes, few_canvases(sizes, compile_cost=2e4, multiple=1), 2e4)
        ratios.append(found / best)
    assert np.mean(ratios) < 1.02 and max(ratios) < 1.2


def test_many_sizes_are_rounded_first():
    sizes = list(map(tuple, np.random.default_rng(1).integers(100, 4000, (5000, 2)).tolist()))
    canvases = few_canvases(sizes, compile_cost=0.0)
    assert 50 < len(canvases) <= 256
    assert (np.max(canvases, axis=0) >= np.max(sizes, axis=0)).all()


@pytest.mark.parametrize("prepared", [True, False])
def test_a_prepared_predictor_compiles_less_and_predicts_the_same(prepared):
    traced = []

    def preprocess(images, sizes):
        traced.append(images.shape)
        return plain(images, sizes)

    images = [random_image(i, h, w) for i, (h, w) in enumerate([(20, 30), (31, 20), (9, 25)])]
    predict = Predictor(NET, VARIABLES, preprocess, multiple=16)
    if prepared:
        predict.prepare(image.shape[:2] for image in images)
    for image in images:
        np.testing.assert_array_equal(predict(image), reference_label(image))
    assert len(traced) == (1 if prepared else 2), traced
    larger = random_image(9, 40, 7)
    np.testing.assert_array_equal(predict(larger), reference_label(larger))
