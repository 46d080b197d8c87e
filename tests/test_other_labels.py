"""Labels that are no classes of pixels: depth, and classes or attributes of the image.

How they are read, padded, moved and checked; and what is measured of them, against plain loops.
"""

import dataclasses
import math
from pathlib import Path

import jax
import numpy as np
import pytest

from fcn_jax.data import (
    Augment,
    DataError,
    Example,
    LabelKind,
    NYUDv2,
    check_labels,
    evaluation_batches,
)
from fcn_jax.data.batching import collate
from fcn_jax.data.kinds import as_labels
from fcn_jax.data.scene_labels import SceneLabels
from fcn_jax.data.scenes import Scenes
from fcn_jax.data.source import ignore_transparent
from fcn_jax.metrics import AttributeAccuracy, ClassAccuracy, DepthErrors, Measured

DOCS = Path(__file__).parents[1] / "docs"
SCENES = Scenes(length=7, seed=0, largest=(24, 20), smallest=(9, 9), num_classes=4)


class Given:
    """A data set of one image whose labels, their numbers and kinds are given."""

    def __init__(self, label, num_classes, label_kinds):
        self.label, self.num_classes, self.label_kinds = label, num_classes, label_kinds
        self.class_names = jax.tree.map(lambda k: tuple(map(str, range(k))), num_classes)

    def __len__(self):
        return 1

    def at(self, root):
        return self

    def size(self, i):
        return (2, 3)

    def __getitem__(self, i):
        return Example(np.zeros((2, 3, 3), np.uint8), self.label, "one")


def test_padding_is_missing_and_labels_of_the_image_are_stacked():
    image = np.zeros((2, 3, 3), np.uint8)
    label = {
        "map": np.ones((2, 3), np.uint8),
        "depth": np.full((2, 3), 2.5),
        "scene": 3,
        "yes": np.array([1, 0, np.nan]),
    }
    batch = collate([Example(image, label, "a"), Example(image, label, "b")], (4, 5))["label"]
    assert batch["map"].dtype == np.uint8 and (batch["map"][:, 2:] == 255).all()
    assert batch["depth"].dtype == np.float32 and np.isnan(batch["depth"][:, :, 3:]).all()
    assert (batch["depth"][:, :2, :3] == 2.5).all()
    assert batch["scene"].dtype == np.int32 and batch["scene"].tolist() == [3, 3]
    np.testing.assert_array_equal(batch["yes"], np.float32([[1, 0, np.nan]] * 2))
    clear = np.dstack([image, np.full((2, 3), 255, np.uint8)])
    clear[0, 0, 3] = 0
    _, seen = ignore_transparent(clear, as_labels(label))
    assert seen["map"][0, 0] == 255 and np.isnan(seen["depth"][0, 0]) and seen["scene"] == 3


def test_the_rows_that_fill_the_last_batch_have_nothing_to_score():
    source = SceneLabels(scenes=SCENES)
    last = evaluation_batches(source, batch_size=4)[1]
    assert last["index"].tolist()[-1] == -1 and last["label"]["scene"][-1] == -1
    assert (
        np.isnan(last["label"]["depth"][-1]).all() and np.isnan(last["label"]["shapes"][-1]).all()
    )


def test_numbers_move_with_the_classes_and_keep_their_values():
    augment = Augment(mirror=True, scale=(0.5, 2.0), crop=(9, 7), jitter=5)
    classes = np.random.default_rng(0).integers(0, 200, (12, 10), np.uint8)
    label = {"map": classes, "depth": classes / np.float32(8), "scene": 2, "yes": np.ones(3)}
    for seed in range(20):
        image = np.zeros((12, 10, 3), np.uint8)
        picture, moved = augment(image, label, np.random.default_rng(seed))
        assert picture.shape[:2] == moved["map"].shape == moved["depth"].shape
        inside = moved["map"] != 255
        np.testing.assert_array_equal(np.isnan(moved["depth"]), ~inside)
        np.testing.assert_array_equal(moved["depth"][inside] * 8, moved["map"][inside])
        assert moved["scene"] == 2 and (moved["yes"] == 1).all()


@pytest.mark.parametrize(
    ("label", "k", "kind", "counts"),
    [
        (np.float32([[0, 2, np.nan], [1, np.inf, 3]]), 1, LabelKind.NUMBERS, [3, 3]),
        (2, 4, LabelKind.CLASS, [0, 0, 1, 0, 0]),
        (300, 400, LabelKind.CLASS, [*[0] * 300, 1, *[0] * 100]),
        (np.float32([1, 0, np.nan]), 3, LabelKind.ATTRIBUTES, [1, 0, 0, 1]),
    ],
)
def test_a_check_counts_each_kind(label, k, kind, counts):
    checked = check_labels(Given({"a": label}, {"a": k}, {"a": kind}))
    assert checked.pixels["a"].tolist() == counts and not checked.unlabelled
    assert check_labels(Given(label, k, kind)).pixels.tolist() == counts


@pytest.mark.parametrize(
    ("label", "k", "kind", "message"),
    [
        (np.ones((2, 3), np.float32), 1, LabelKind.CLASSES, "found float32 .*label_kinds"),
        (np.ones((2, 3), np.uint8), 1, LabelKind.NUMBERS, "found uint8"),
        (np.ones((3, 2), np.float32), 1, LabelKind.NUMBERS, "3 rows and 2 columns"),
        (4, 4, LabelKind.CLASS, "a class of the image, 0 to 3"),
        (255, 400, LabelKind.ATTRIBUTES, "data set says"),
        (np.float32([1, 0]), 3, LabelKind.ATTRIBUTES, "expected 3 attributes"),
        (np.float32([0.3]), 1, LabelKind.ATTRIBUTES, "of 0, 1 or NaN"),
        (np.zeros((2, 3), np.float32), 1, LabelKind.NUMBERS, "every label is missing"),
        (-1, 4, LabelKind.CLASS, "every label is missing"),
        (255, 4, LabelKind.CLASS, "every label is missing"),
    ],
)
def test_a_check_refuses_a_label_that_is_not_what_the_data_set_says(label, k, kind, message):
    with pytest.raises(DataError, match=message):
        check_labels(Given({"a": label}, {"a": k}, {"a": kind}))


def test_nyud_gives_depth_in_metres_beside_the_classes(tmp_path):
    from test_nyud import content, make

    make(tmp_path / "nyud", train=["1", "2"])
    source = NYUDv2(split="train", labels=("semantic", "depth")).at(tmp_path)
    _, depth, _, classes = content("2")
    label = source[1].label
    np.testing.assert_array_equal(label["depth"], depth.astype(np.float32) / np.float32(1000))
    np.testing.assert_array_equal(label["semantic"], classes - np.uint8(1))
    assert source.num_classes == {"semantic": 40, "depth": 1}
    assert check_labels(source).pixels["depth"].sum() == 2 * depth.size
    assert NYUDv2(split="train").num_classes == 40
    alone = NYUDv2(split="train", labels="depth").at(tmp_path)
    np.testing.assert_array_equal(alone[1].label, label["depth"])
    with pytest.raises(DataError, match="labels"):
        NYUDv2(split="train", labels=("semantic", "normals"))


def test_depth_errors_are_those_of_a_loop_over_pixels():
    rng = np.random.default_rng(0)
    label = rng.uniform(0.5, 9, (5, 6)).astype(np.float32)
    found = (label * rng.uniform(0.5, 2, label.shape)).astype(np.float32)
    label[0, :3], found[4, 4] = (0, np.nan, np.inf), -2
    true = [float(y) for y in label.ravel() if math.isfinite(y) and y > 0]
    pairs = [
        (float(y), max(float(x), 1e-3))
        for y, x in zip(label.ravel(), found.ravel(), strict=True)
        if math.isfinite(y) and y > 0
    ]
    n, logs = len(true), [math.log(y) - math.log(x) for y, x in pairs]
    expected = {
        **{f"delta_{p}": sum(max(y / x, x / y) < 1.25**p for y, x in pairs) / n for p in (1, 2, 3)},
        "abs_rel": sum(abs(y - x) / y for y, x in pairs) / n,
        "sq_rel": sum((y - x) ** 2 / y for y, x in pairs) / n,
        "rmse": math.sqrt(sum((y - x) ** 2 for y, x in pairs) / n),
        "rmse_log": math.sqrt(sum(d**2 for d in logs) / n),
        "log10": sum(abs(math.log10(y) - math.log10(x)) for y, x in pairs) / n,
        "silog": math.sqrt(sum(d**2 for d in logs) / n - (sum(logs) / n) ** 2 / 2),
    }
    assert n == label.size - 3
    errors = DepthErrors()
    row = errors.measure(label, found[..., None])
    scores = errors.scores(row)
    assert list(scores) == list(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(scores[name], value, rtol=1e-12, err_msg=name)
    # A second image without a label does not count; the means are over images.
    nothing = errors.measure(np.zeros_like(label), found[..., None])
    assert not nothing.any()
    third = errors.measure(label, np.full((5, 6, 1), 3, np.float32))
    mean = errors.scores(row + nothing + third)["rmse"]
    np.testing.assert_allclose(mean, (row[6] + third[6]) / 2)
    window = DepthErrors(window=(1, 4, 2, 5), minimum=1.0, maximum=8.0)
    inside = np.s_[1:4, 2:5]
    np.testing.assert_array_equal(
        window.measure(label, found[..., None]),
        dataclasses.replace(window, window=None).measure(label[inside], found[inside][..., None]),
    )
    with pytest.raises(ValueError, match="expected scores"):
        errors.measure(label, found)
    with pytest.raises(ValueError, match="0 < minimum"):
        DepthErrors(minimum=0.0)


def test_accuracies_of_the_class_of_the_image_are_those_of_a_loop():
    rng, k = np.random.default_rng(1), 7
    labels = rng.integers(0, 5, 30)  # classes 5 and 6 do not occur
    scores = rng.integers(0, 4, (30, k)).astype(np.float32)  # many are equal
    labels[:2] = -1, 255
    right, top = {c: [] for c in range(k)}, []
    for label, row in zip(labels, scores, strict=True):
        if label not in (-1, 255):
            order = sorted(range(k), key=lambda c: (-row[c], c))
            right[label].append(order[0] == label)
            top.append(label in order[:5])
    evaluator = ClassAccuracy(num_classes=k)
    rows = [evaluator.measure(np.int32(y), s) for y, s in zip(labels, scores, strict=True)]
    found = evaluator.scores(np.sum(rows, axis=0))
    np.testing.assert_allclose(found["accuracy"], np.mean(sum(right.values(), [])))
    of_class = [np.mean(hits) for hits in right.values() if hits]
    np.testing.assert_allclose(found["mean_class_accuracy"], np.mean(of_class))
    np.testing.assert_allclose(found["top_5_accuracy"], np.mean(top))
    assert "top_5_accuracy" not in ClassAccuracy(num_classes=5).scores(np.zeros(11))
    for label in (-2, k):
        with pytest.raises(ValueError, match="expected a class 0 to 6"):
            evaluator.measure(np.int32(label), scores[0])


def test_accuracies_of_attributes_are_those_of_a_loop():
    rng, k = np.random.default_rng(2), 3
    labels, scores = rng.integers(0, 2, (20, k)).astype(float), rng.normal(size=(20, k))
    labels[3], labels[4, 1], labels[:, 2], scores[:, 2] = np.nan, np.nan, 0, -1
    right, f1 = [[] for _ in range(k)], []
    for a in range(k):
        known = [(y == 1, s > 0) for y, s in zip(labels[:, a], scores[:, a], strict=True) if y == y]
        right[a] = [y == s for y, s in known]
        said, true = sum(s for _, s in known), sum(y for y, _ in known)
        if said + true:  # nobody has or is said to have the third one
            f1.append(2 * sum(y and s for y, s in known) / (said + true))
    evaluator = AttributeAccuracy(num_attributes=k)
    rows = [evaluator.measure(y, s) for y, s in zip(labels, scores, strict=True)]
    found = evaluator.scores(np.sum(rows, axis=0))
    np.testing.assert_allclose(found["accuracy"], np.mean(sum(right, [])))
    np.testing.assert_allclose(found["mean_accuracy"], np.mean([np.mean(r) for r in right]))
    np.testing.assert_allclose(found["mean_f1"], np.mean(f1))


def test_intervals_are_those_of_the_images_drawn_again():
    from fcn_jax.metrics.bootstrap import draws, interval

    values = np.random.default_rng(0).uniform(0, 1, (9, 10))
    values[:, 0] = 1
    found = Measured(evaluator=DepthErrors(), names=tuple("abcdefghi"), values=values)
    means = [(times @ values[:, 6]) / 9 for times in draws(9)]
    np.testing.assert_allclose(found.intervals["rmse"], interval(np.array(means)))
    assert f"rmse {values[:, 6].mean():.3g} (" in str(found)
    assert not Measured(evaluator=DepthErrors(), names=("a",), values=values[:1]).intervals


def test_the_pages_own_data_set_and_evaluator_work():
    found: dict = {}
    for page, name in (("nets", "class Rooms"), ("scores", "class Angle")):
        text = (DOCS / f"{page}.md").read_text()
        blocks = [block.split("```")[0] for block in text.split("```python\n")[1:]]
        exec(next(block for block in blocks if name in block), found)
    rooms = check_labels(found["Rooms"]())
    assert rooms.pixels["depth"].tolist() == [2 * 32 * 48, 0]
    assert rooms.pixels["room"].tolist() == [1, 1, 0, 0] and rooms.absent["room"] == ("hall",)
    assert rooms.pixels["has"].tolist() == [2, 0, 2]
    up, ahead = np.zeros((2, 2, 3)), np.zeros((2, 2, 3))
    up[..., 1], ahead[..., 2], up[0, 0] = 1, 3, np.nan
    angle = found["Angle"]()
    np.testing.assert_allclose(angle.scores(angle.measure(up, ahead))["angle"], 90)
