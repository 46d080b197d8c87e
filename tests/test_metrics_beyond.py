"""Boundaries, sizes of objects and calibration, each against loops over pixels."""

import math

import numpy as np
import pytest

from fcn_jax.metrics import MORE, Absent, ByImage, image_details
from fcn_jax.metrics.boundaries import (
    BANDS,
    band_counts,
    boundary_counts,
    near_contour,
    outline_counts,
    outline_scores,
)
from fcn_jax.metrics.calibration import calibration_error, reliability_counts
from fcn_jax.metrics.sizes import size_counts

K = 4
FOUR_SIDES = ((-1, 0), (1, 0), (0, -1), (0, 1))


def blobs(seed, h=17, w=23, void=True):
    """A label map of a few rectangles, and a prediction that differs in some."""
    rng = np.random.default_rng(seed)
    label, prediction = np.zeros((h, w), np.uint8), np.zeros((h, w), np.uint8)
    for n in range(9):
        y, x, dy, dx = rng.integers((h, w, 8, 9))
        value = rng.integers(K) if n < 7 or not void else 255
        label[y : y + dy + 1, x : x + dx + 1] = value
        if value != 255:
            y, x = np.maximum((y, x) + rng.integers(-1, 2, 2), 0)
            prediction[y : y + dy + 1, x : x + dx + 1] = value
    return label, prediction


CASES = [
    *(blobs(seed) for seed in range(4)),
    blobs(9, void=False),
    blobs(5, h=1, w=40),
    (np.full((6, 5), 2, np.uint8), np.full((6, 5), 2, np.uint8)),  # one class, no boundary
    (np.full((6, 5), 2, np.uint8), np.full((6, 5), 1, np.uint8)),
    (np.full((6, 5), 255, np.uint8), np.full((6, 5), 1, np.uint8)),  # void only
    (np.array([[3]], np.uint8), np.array([[3]], np.uint8)),  # one pixel
    (np.array([[1, 255, 2]], np.uint8), np.array([[1, 1, 1]], np.uint8)),
    (np.eye(9, dtype=np.uint8), np.eye(9, dtype=np.uint8)),  # an object that corners connect
]
cases = pytest.mark.parametrize("label, prediction", CASES)


def masked(label, prediction):
    """The prediction, void where the truth is."""
    return np.array([[255 if t == 255 else p for t, p in zip(*r, strict=True)]
                     for r in zip(label, prediction, strict=True)], np.uint8)  # fmt: skip


def pixels(array):
    return [(y, x) for y in range(array.shape[0]) for x in range(array.shape[1])]


def eroded(mask):
    """One erosion by 3x3 pixels; outside the image is nothing."""
    h, w = mask.shape
    out = np.zeros_like(mask)
    for y, x in pixels(mask):
        square = [(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        out[y, x] = all(0 <= a < h and 0 <= b < w and mask[a, b] for a, b in square)
    return out


def boundary_of(mask, d):
    inner = mask
    for _ in range(d):
        inner = eroded(inner)
    return mask & ~inner


@cases
@pytest.mark.parametrize("width", [0.02, 0.1])
def test_boundary_iu_is_that_of_eroded_masks(label, prediction, width):
    d = max(1, round(width * math.sqrt(label.shape[0] ** 2 + label.shape[1] ** 2)))
    expected = np.zeros((K, 3), int)
    for k in range(K):
        truth = boundary_of(label == k, d)
        found = boundary_of(masked(label, prediction) == k, d)
        expected[k] = (truth & found).sum(), truth.sum(), found.sum()
    np.testing.assert_array_equal(boundary_counts(label, prediction, K, width=width), expected)


def test_the_width_of_the_boundary_is_rounded_and_at_least_one():
    label = np.zeros((30, 40), np.uint8)  # diagonal 50
    for width, d in ((0.02, 1), (0.001, 1), (0.05, 2), (0.0901, 5)):  # 2.5 is rounded to 2
        inside = (30 - 2 * d) * (40 - 2 * d)
        assert boundary_counts(label, label, 1, width=width)[0].tolist() == [1200 - inside] * 3
    assert near_contour(label[:3, :3], 5).all()


def touches(labels, y, x):
    h, w = labels.shape
    around = [(y + i, x + j) for i, j in FOUR_SIDES]
    return any(0 <= a < h and 0 <= b < w and labels[a, b] != labels[y, x] for a, b in around)


def distance(p, others):
    return min((math.hypot(p[0] - y, p[1] - x) for y, x in others), default=math.inf)


@cases
@pytest.mark.parametrize("tolerance", [0.0075, 0.1])
def test_outlines_match_within_the_tolerance(label, prediction, tolerance):
    reach = max(1, tolerance * math.hypot(*label.shape))
    found = masked(label, prediction)
    expected = np.zeros((K, 4), int)
    for k in range(K):
        a, b = ([p for p in pixels(m) if m[p] == k and touches(m, *p)] for m in (label, found))
        expected[k, :2] = sum(distance(p, b) <= reach for p in a), len(a)
        expected[k, 2:] = sum(distance(p, a) <= reach for p in b), len(b)
    np.testing.assert_array_equal(
        outline_counts(label, prediction, K, tolerance=tolerance), expected
    )


def test_boundary_f_and_its_empty_cases():
    counts = np.array([[[3, 4, 1, 2], [0, 0, 0, 0], [0, 5, 0, 0], [0, 0, 0, 3], [0, 0, 0, 0]]])
    classes = np.ones((1, 5, 3), int)
    classes[0, 4] = 0  # in neither truth nor prediction
    precision, recall = 1 / 2, 3 / 4
    f = 2 * precision * recall / (precision + recall)
    expected = [[f, 1], [1, 1], [0, 1], [0, 1], [0, 0]]
    np.testing.assert_allclose(outline_scores(counts, classes)[0], expected)


@cases
def test_bands_hold_the_pixels_nearer_than_their_width(label, prediction):
    boundary = [p for p in pixels(label) if touches(label, *p)]
    expected = np.zeros((len(BANDS), K, 3), int)
    for p in pixels(label):
        for i, width in enumerate(BANDS):
            if label[p] != 255 and distance(p, boundary) < width:
                expected[i, label[p], 0] += label[p] == prediction[p]
                expected[i, label[p], 1] += 1
                expected[i, prediction[p], 2] += 1
    np.testing.assert_array_equal(band_counts(label, prediction, K), expected)


def objects_of(mask):
    """Connected regions of 8 neighbours, by flooding."""
    left, found = {p for p in pixels(mask) if mask[p]}, []
    while left:
        todo, region = [left.pop()], []
        while todo:
            y, x = todo.pop()
            region.append((y, x))
            near = {(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= near
            todo += near
        found.append(region)
    return found


def counted_by_size(label, prediction, areas):
    expected = np.zeros((3, K, 3), int)
    for k in range(K):
        valid = [p for p in pixels(label) if label[p] != 255]
        false = sum(prediction[p] == k != label[p] for p in valid)
        expected[:, k, 2] = false
        for region in objects_of(label == k):
            size = sum(len(region) >= area for area in areas)
            hit = sum(prediction[p] == k for p in region)
            expected[size, k] += hit, len(region), hit
    return expected


@cases
def test_sizes_of_objects(label, prediction, monkeypatch):
    monkeypatch.setattr("fcn_jax.metrics.sizes.AREAS", (6, 20))
    expected = counted_by_size(label, prediction, (6, 20))
    np.testing.assert_array_equal(size_counts(label, prediction, K), expected)


def test_the_sizes_are_those_of_coco_and_corners_connect():
    label = np.zeros((130, 130), np.uint8)
    label[:31, :33] = 1  # 1,023 pixels
    label[40:72, :32] = 2  # 1,024 pixels
    label[110, 0] = label[111, 1] = 3  # one object
    sizes = size_counts(label, label, K)[..., 1]
    assert sizes[:, 1].tolist() == [1023, 0, 0] and sizes[:, 2].tolist() == [0, 1024, 0]
    assert sizes[:, 3].tolist() == [2, 0, 0] and sizes[2, 0] == 130**2 - 1023 - 1024 - 2
    label[:31, 33] = 1
    assert size_counts(label, label, K)[:, 1, 1].tolist() == [0, 1054, 0]


def test_the_reliability_table_and_the_calibration_error():
    rng = np.random.default_rng(0)
    label = rng.choice([0, 1, 2, 255], (19, 21)).astype(np.uint8)
    prediction = rng.integers(0, 3, label.shape).astype(np.uint8)
    confidence = rng.random(label.shape).astype(np.float32)
    confidence[0, :4] = 0, 1, 0.2, np.float32(3 / 15) + np.float32(1e-6)
    table, error, total = np.zeros((15, 3)), 0.0, 0
    for p in pixels(label):
        if label[p] != 255:
            c = float(confidence[p])
            [i] = [i for i in range(15) if i / 15 < c <= (i + 1) / 15 or (i == 0 and c == 0)]
            table[i] += 1, c, label[p] == prediction[p]
            total += 1
    for n, c, right in table:
        error += n / total * abs(right / n - c / n) if n else 0
    found = reliability_counts(label, prediction, confidence)
    np.testing.assert_allclose(found, table, rtol=1e-12)
    assert calibration_error(found) == pytest.approx(error)
    edges = np.array([[0.2, 0.4, 0.6, 1.0]])  # the upper end of a bin belongs to it
    row = np.zeros((1, 4), np.uint8)
    assert np.flatnonzero(reliability_counts(row, row, edges)[:, 0]).tolist() == [2, 5, 8, 14]
    assert np.isnan(calibration_error(np.zeros((15, 3))))


def by_image(maps):
    """Counts of several images, with details; confusion matrices by loops."""
    entries, details = [], []
    for i, (label, prediction) in enumerate(maps):
        matrix = np.zeros((K, K), int)
        for p in pixels(label):
            if label[p] != 255:
                matrix[label[p], prediction[p]] += 1
        entries += [(i, *cell, matrix[cell]) for cell in pixels(matrix) if matrix[cell]]
        sure = np.full(label.shape, 0.7, np.float32)
        details.append(image_details(label, prediction, sure, K))
    return ByImage(
        names=tuple(map(str, range(len(maps)))),
        num_classes=K,
        entries=np.array(entries, np.int64),
        details={name: np.stack([d[name] for d in details]) for name in details[0]},
    )


@pytest.mark.parametrize("absent", Absent)
def test_scores_of_a_set_are_divided_once_and_void_never_counts(absent):
    maps = [blobs(seed) for seed in range(3)]
    maps = [(np.where(t == 3, 255, t), p) for t, p in maps]  # class 3 is predicted only
    found = by_image(maps).scores(absent)
    assert set(found) >= set(MORE)

    def mean_iu(counts, rule):
        hit, truth, predicted = sum(counts).T
        kept = [k for k in range(K) if (truth[k] if rule else truth[k] + predicted[k])]
        return np.mean([hit[k] / (truth[k] + predicted[k] - hit[k]) for k in kept])

    strict = absent is Absent.NOT_IN_TRUTH
    boundary = [boundary_counts(*m, K) for m in maps]
    assert found["boundary_iu"] == pytest.approx(mean_iu(boundary, strict))
    bands = [band_counts(*m, K) for m in maps]
    assert found["iu_within_2"] == pytest.approx(mean_iu([b[1] for b in bands], strict))
    sizes = [size_counts(*m, K) for m in maps]
    assert found["iu_small"] == pytest.approx(mean_iu([s[0] for s in sizes], True))
    assert np.isnan(found["iu_large"])
    changed = [(t, np.where(t == 255, 2, p).astype(np.uint8)) for t, p in maps]
    for name, value in by_image(changed).scores(absent).items():
        np.testing.assert_array_equal(value, found[name], err_msg=name)


def test_boundary_f_is_the_mean_over_images_and_then_over_classes():
    square, empty = np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint8)
    square[5:10, 5:10] = 1
    images = by_image([(square, square), (square, empty), (empty, empty)])
    # Class 0: right in the first and the last; in the second its outline is missing.
    assert images.scores(Absent.IN_NEITHER)["boundary_f"] == pytest.approx(((2 / 3) + 1 / 2) / 2)
