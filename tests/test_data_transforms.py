"""Augmentation: image and label move together, and the plan knows the size beforehand."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fcn_jax.data import Augment, DataError, Plan

NOTHING = (1.0, 1.0, 1.0)
sides = st.integers(1, 40)
augments = st.builds(
    Augment,
    mirror=st.booleans(),
    scale=st.sampled_from([(1.0, 1.0), (0.5, 2.0), (1.5, 1.5), (0.1, 0.3)]),
    crop=st.none() | st.tuples(sides, sides),
    jitter=st.sampled_from([0, 3, 32]),
    colour=st.sampled_from([0.0, 0.4]),
)


def rng(seed=0):
    return np.random.default_rng(seed)


def pair(h, w):
    """A smooth image whose red is 6 times its row and green 6 times its column; label: its row."""
    row, column = np.mgrid[:h, :w]
    image = np.stack([6 * row, 6 * column, np.full((h, w), 77)], -1).astype(np.uint8)
    return image, row.astype(np.uint8)


@settings(max_examples=150, deadline=None)
@given(augment=augments, h=sides, w=sides, seed=st.integers(0, 99))
def test_the_plan_gives_the_size_and_image_and_label_move_together(augment, h, w, seed):
    image, row_label = pair(h, w)
    column_label = image[..., 1] // 6
    plan = augment.plan((h, w), rng(seed))
    moved, rows = augment.apply(plan, image, row_label)
    _, columns = augment.apply(plan, image, column_label)
    assert moved.shape == (*plan.size, 3) and rows.shape == plan.size
    assert moved.dtype == rows.dtype == np.uint8
    assert all(n <= m for n, m in zip(plan.size, augment.largest((h, w)), strict=True))
    outside = rows == 255
    np.testing.assert_array_equal(outside, columns == 255)
    if augment.colour == 0:
        np.testing.assert_array_equal(moved[outside], np.full((outside.sum(), 3), augment.fill))
        assert (moved[~outside][:, 2] == 77).all()
        # Nearest is off by half a pixel at most; shrinking smooths across the edge.
        shrink = max(h / plan.scaled[0], w / plan.scaled[1], 1.0)
        for channel, label in ((0, rows), (1, columns)):
            apart = moved[..., channel] / 6.0 - label
            assert (np.abs(apart[~outside]) <= 0.5 + 0.6 * shrink).all()


@settings(max_examples=60, deadline=None)
@given(augment=augments, seed=st.integers(0, 99))
def test_a_window_is_a_part_of_the_whole_resized_pair(augment, seed):
    augment = dataclasses.replace(augment, colour=0.0)
    image = rng(1).integers(0, 256, (31, 37, 3), dtype=np.uint8)
    label = rng(2).integers(0, 21, (31, 37), dtype=np.uint8)
    plan = augment.plan((31, 37), rng(seed))
    got, got_label = augment.apply(plan, image, label)
    h, w = plan.scaled
    whole = np.asarray(Image.fromarray(image).resize((w, h), Image.Resampling.BILINEAR))
    whole_label = np.asarray(Image.fromarray(label).resize((w, h), Image.Resampling.NEAREST))
    if plan.scaled == plan.source:
        whole_label = label
    pad = 80
    whole = np.stack(
        [np.pad(whole[..., c], pad, constant_values=augment.fill[c]) for c in range(3)], -1
    )
    whole_label = np.pad(whole_label, pad, constant_values=255)
    top, left = plan.corner[0] + pad, plan.corner[1] + pad
    part = np.s_[top : top + plan.size[0], left : left + plan.size[1]]
    whole, whole_label = whole[part], whole_label[part]
    if plan.mirror:
        whole, whole_label = whole[:, ::-1], whole_label[:, ::-1]
    assert np.abs(got.astype(int) - whole).max() <= 1  # Pillow rounds the box
    same = got_label == whole_label
    if plan.scaled == plan.source:
        assert same.all()
    else:  # Pillow accumulates positions in floating point where we divide integers
        assert same.mean() > 0.9


def test_nothing_changes_by_default():
    image, label = pair(5, 9)
    same, same_label = Augment()(image, label, rng())
    np.testing.assert_array_equal(same, image)
    np.testing.assert_array_equal(same_label, label)


def test_mirroring_twice_is_the_identity_and_once_is_not():
    image, label = pair(4, 7)
    plan = Plan((4, 7), (4, 7), (0, 0), (4, 7), True, NOTHING)
    once = Augment().apply(plan, image, label)
    np.testing.assert_array_equal(once[0], image[:, ::-1])
    twice = Augment().apply(plan, *once)
    np.testing.assert_array_equal(twice[0], image)
    np.testing.assert_array_equal(twice[1], label)


def test_translation_moves_pixels_and_fills_with_ignored():
    image, label = pair(4, 5)
    plan = Plan((4, 5), (4, 5), (-1, 2), (4, 5), False, NOTHING)  # down by 1, left by 2
    moved, moved_label = Augment().apply(plan, image, label)
    np.testing.assert_array_equal(moved[1:, :3], image[:3, 2:])
    np.testing.assert_array_equal(moved_label[1:, :3], label[:3, 2:])
    assert (moved_label[0] == 255).all() and (moved_label[:, 3:] == 255).all()
    assert moved[0, 0].tolist() == [123, 117, 104]
    gone, gone_label = Augment().apply(plan._replace(corner=(9, 0)), image, label)
    assert (gone_label == 255).all() and gone.shape == (4, 5, 3)


def test_nearest_never_invents_a_class():
    label = np.where(rng().random((30, 30)) < 0.5, 3, 19).astype(np.uint8)
    image = np.zeros((30, 30, 3), np.uint8)
    for seed in range(10):
        _, scaled = Augment(scale=(0.3, 3.0))(image, label, rng(seed))
        assert set(np.unique(scaled)) <= {3, 19}


def test_draws_cover_their_range_and_scale_is_log_uniform():
    augment = Augment(mirror=True, scale=(0.25, 4.0), jitter=5)
    plans = [augment.plan((400, 400), rng(seed)) for seed in range(600)]
    smaller = np.mean([plan.scaled[0] < 400 for plan in plans])
    assert 0.42 < smaller < 0.58  # half of them below 1, where uniform would give a fifth
    assert 0.42 < np.mean([plan.mirror for plan in plans]) < 0.58
    assert {plan.corner[0] for plan in plans} == set(range(-5, 6))
    crops = [Augment(crop=(3, 3)).plan((5, 6), rng(seed)).corner for seed in range(200)]
    assert set(crops) == {(i, j) for i in range(3) for j in range(4)}


def test_colour_changes_colours_only():
    image, label = pair(8, 8)
    changed, same_label = Augment(colour=0.5)(image, label, rng(3))
    np.testing.assert_array_equal(same_label, label)
    assert (changed != image).any()


def test_a_plan_for_another_size_is_refused():
    image, label = pair(4, 5)
    with pytest.raises(DataError, match="plan is for"):
        Augment().apply(Augment().plan((5, 4), rng()), image, label)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("jitter", 33),
        ("jitter", -1),
        ("scale", (0.0, 1.0)),
        ("scale", (2.0, 1.0)),
        ("crop", (0, 4)),
        ("colour", 1.0),
        ("fill", (0, 0, 256)),
    ],
)
def test_values_out_of_range_are_refused(field, value):
    with pytest.raises(DataError, match=field):
        Augment(**{field: value})
    assert hash(Augment()) == hash(Augment())
