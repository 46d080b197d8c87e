import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcn_jax.data import scenes as module
from fcn_jax.data.scenes import Scenes
from fcn_jax.data.source import Source

SCENES = Scenes(length=300, seed=3)


def test_is_a_source_and_a_value():
    assert isinstance(SCENES, Source)
    assert Scenes(length=300, seed=3) == SCENES and hash(Scenes(length=300, seed=3)) == hash(SCENES)
    assert SCENES.at("/nowhere") == SCENES
    assert len(SCENES) == 300 and len(SCENES.class_names) == SCENES.num_classes == 7


@settings(max_examples=25, deadline=None)
@given(
    index=st.integers(0, 99),
    seed=st.integers(0, 2**32),
    largest=st.tuples(st.integers(1, 80), st.integers(1, 80)),
    num_classes=st.integers(2, 8),
)
def test_a_scene_is_well_formed_at_any_size(index, seed, largest, num_classes):
    scenes = Scenes(
        length=100, seed=seed, largest=largest, smallest=(1, 1), num_classes=num_classes
    )
    image, label, name = scenes[index]
    assert image.dtype == label.dtype == np.uint8
    assert image.shape == (*label.shape, 3) and label.shape == scenes.size(index)
    assert all(1 <= n <= m for n, m in zip(label.shape, largest, strict=True))
    assert set(np.unique(label)) <= {*range(num_classes), 255}
    again = scenes[index]
    np.testing.assert_array_equal(again.image, image)
    np.testing.assert_array_equal(again.label, label)
    assert again.name == name


def test_scenes_depend_on_seed_and_index_alone():
    forward = [SCENES[i].image for i in range(6)]
    backward = [SCENES[i].image for i in reversed(range(6))][::-1]
    np.testing.assert_array_equal(forward, backward)
    longer = Scenes(length=10**6, seed=3)
    np.testing.assert_array_equal(forward[5], longer[5].image)
    other = [Scenes(length=300, seed=4)[i].image for i in range(6)]
    everything = np.stack(forward + other).reshape(12, -1)
    assert len(np.unique(everything, axis=0)) == 12
    assert len({SCENES[i].name for i in range(300)}) == 300


def test_objects_are_outlined_by_ignored_pixels():
    for i in range(40):
        label = SCENES[i].label.astype(int)
        for a, b in ((label[1:], label[:-1]), (label[:, 1:], label[:, :-1])):
            touching = (a != b) & (a != 255) & (b != 255)
            assert not touching.any()


def test_without_a_border_nothing_is_ignored():
    plain = Scenes(length=9, seed=0, border=0)
    assert all((plain[i].label < 7).all() for i in range(9))


def test_every_class_is_common_and_has_its_own_colours():
    examples = [SCENES[i] for i in range(150)]
    image = np.concatenate([e.image.reshape(-1, 3) for e in examples]).astype(float)
    label = np.concatenate([e.label.ravel() for e in examples])
    share = np.bincount(label, minlength=256) / label.size
    assert 0.5 < share[0] < 0.85 and (share[1:7] > 0.015).all() and 0.01 < share[255] < 0.08
    means = np.stack([image[label == k].mean(0) for k in range(7)])
    apart = np.linalg.norm(means[:, None] - means[None], axis=-1) + 1000 * np.eye(7)
    assert apart.min() > 30


def test_outlines_need_more_than_stride_32():
    """One label per 32 x 32 block draws these scenes badly, one per 8 x 8 much better."""

    def best_iu(stride):
        hits, union = np.zeros(7), np.zeros(7)
        for i in range(40):
            label = SCENES[i].label
            blocks = label.reshape(96 // stride, stride, -1, stride).swapaxes(1, 2)
            coarse = np.array(
                [[np.bincount(b[b < 255], minlength=7).argmax() for b in row] for row in blocks]
            )
            drawn = coarse.repeat(stride, 0).repeat(stride, 1)
            for k in range(7):
                truth, predicted = label == k, (drawn == k) & (label < 255)
                hits[k] += (truth & predicted).sum()
                union[k] += (truth | predicted).sum()
        return (hits / union).mean()

    assert best_iu(32) < 0.45 and best_iu(8) > best_iu(16) + 0.12 > best_iu(32) + 0.24


def test_indices_outside_are_refused():
    for index in (-1, 300):
        with pytest.raises(IndexError, match=f"scene {index} of 300"):
            SCENES[index]


@pytest.mark.parametrize(
    "field, value",
    [
        ("length", -1),
        ("seed", -1),
        ("num_classes", 1),
        ("num_classes", 9),
        ("border", -1),
        ("largest", (0, 5)),
        ("smallest", (97, 5)),
    ],
)
def test_fields_out_of_range_are_named(field, value):
    with pytest.raises(ValueError, match=f"expected {field} .*found"):
        Scenes(**{"length": 3, "seed": 0, field: value})


def test_drawing_objects_costs_a_constant_per_pixel(monkeypatch):
    """Drawing keeps up with training: each object is computed in its own window only."""
    windows = []

    def counted(outline):
        return lambda u, v: windows.append(u.size) or outline(u, v)

    kinds = tuple(kind._replace(outline=counted(kind.outline)) for kind in module._KINDS)
    monkeypatch.setattr(module, "_KINDS", kinds)
    for side in (48, 96, 500):
        for i in range(9):
            windows.clear()
            Scenes(length=9, seed=3, largest=(side, side))[i]
            assert 0 < sum(windows) < 3 * side**2


def test_sizes_are_known_without_drawing(monkeypatch):
    monkeypatch.setattr(module, "_ground", None)
    monkeypatch.setattr(module, "_paint", None)
    scenes = Scenes(length=9, seed=3, largest=(96, 50), smallest=(8, 9))
    assert len({scenes.size(i) for i in range(9)}) > 5
