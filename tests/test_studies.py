"""The arithmetic of the studies: charts, costs and downsampling methods."""

import itertools
import time
import xml.etree.ElementTree as ElementTree

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from chart_points import points
from PIL import Image

from experiments import studies
from experiments.studies import coarse, costs, iu_upper_bound, patch_cost
from experiments.studies.charts import save_chart
from experiments.studies.coarse import Method, all_methods, one_hot
from experiments.studies.iu_upper_bound import rows_of
from fcn_jax.nets.fcn import Classifier
from fcn_jax.nn.layers import Conv, MaxPool


def blobs(h, w, seed=0):
    """A mask of a few rectangles, one of them void."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((h, w), np.uint8)
    for label in (3, 7, 255, 20):
        top, left = rng.integers(0, h - 4), rng.integers(0, w - 4)
        mask[top : top + rng.integers(3, h), left : left + rng.integers(3, w)] = label
    return mask


@pytest.mark.parametrize("method", all_methods(), ids=str)
def test_every_method_returns_the_truth_at_factor_1(method):
    for seed in range(3):
        truth = method.void(blobs(13, 18, seed))
        labelled = truth != 255
        answer = method(one_hot(truth, method.void), 1)
        np.testing.assert_array_equal(answer[labelled], truth[labelled])


@pytest.mark.parametrize("method", all_methods(), ids=str)
def test_every_method_keeps_a_single_class_at_any_size_and_factor(method):
    for h, w, factor in [(5, 9, 2), (1, 7, 4), (37, 50, 16), (3, 3, 128)]:
        mask = np.full((h, w), 5, np.uint8)
        np.testing.assert_array_equal(method(one_hot(mask, method.void), factor), mask)


def test_methods_by_hand():
    first, middle = coarse.first, coarse.middle
    sample, majority = coarse.sample, coarse.majority
    row = np.array([[1, 2, 2, 2, 3, 3, 1]], np.uint8)

    def answer(*fields):
        method = Method(*fields, coarse.carried)
        return method(one_hot(row, method.void), 3)[0].tolist()

    assert answer(first, sample, False) == [1, 1, 1, 2, 2, 2, 1]
    assert answer(middle, sample, False) == [2, 2, 2, 3, 3, 3, 1]
    assert answer(first, majority, False) == [2, 2, 2, 3, 3, 3, 1]
    assert answer(first, sample, True) == [1, 1, 2, 2, 2, 1, 1]  # the larger weight of two
    void = np.array([[0, 0, 4, 255, 255, 255, 9]], np.uint8)
    assert coarse.filled(void).tolist()[0][3::2] == [4, 9]
    assert coarse.background(void).tolist() == [[0, 0, 4, 0, 0, 0, 9]]


def test_bilinear_weights_are_those_of_linear_interpolation():
    for centres in (coarse.first, coarse.middle, coarse.even, coarse.corners):
        for n, factor in [(17, 4), (16, 4), (5, 8)]:
            cells = centres(n, factor)
            found = coarse.interpolation(centres, n, factor) @ cells
            expected = np.interp(np.arange(n), cells, cells)
            np.testing.assert_allclose(found, expected, atol=1e-4)


def test_shares_are_means_over_the_pixels_of_each_cell():
    hot = one_hot(blobs(13, 18), coarse.carried).hot
    for centres in (coarse.first, coarse.middle, coarse.even, coarse.corners):
        found = coarse.share(hot, centres, 4)
        rows, columns = (coarse.nearest(centres, n, 4) for n in hot.shape[1:])
        for i, j in np.ndindex(*found.shape[1:]):
            expected = hot[:, rows == i][:, :, columns == j].mean((1, 2))
            np.testing.assert_allclose(found[:, i, j], expected, rtol=1e-6)


def test_void_answers_and_void_truth_count_as_documented():
    truth = np.array([[0, 0, 255, 1, 1, 1]], np.uint8)
    fields = coarse.first, coarse.sample, False
    carried, filled = (
        rows_of([Method(*fields, void)], [truth], [2])
        for void in (coarse.carried, coarse.background)
    )
    # 0 0 255 255 1 1: one pixel of class 1 has the answer void.
    assert [row.values[2] for row in carried] == pytest.approx([100 * (1 + 2 / 3) / 2, 100])
    # 0 0 0 0 1 1: wrong at that pixel; if all pixels count, the void one is right.
    expected = [100 * (2 / 3 + 2 / 3) / 2, 100 * (3 / 4 + 2 / 3) / 2]
    assert [row.values[2] for row in filled] == pytest.approx(expected)


def test_the_program_prints_its_table_and_saves_its_plot(tmp_path, capsys):
    folder = tmp_path / "VOC2012"
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True)
    names = [f"2007_{i:06}" for i in range(4)]
    (folder / "ImageSets/Segmentation/seg11valid.txt").write_text("\n".join(names) + "\n")
    for i, name in enumerate(names):
        Image.fromarray(blobs(40, 50, i)).save(folder / "SegmentationClass" / f"{name}.png")
    iu_upper_bound.main(data=tmp_path, out=tmp_path / "out", finalists=1)
    printed = capsys.readouterr().out
    assert "published" in printed and "factor 2" in printed
    ElementTree.parse(tmp_path / "out/iu_upper_bound.svg")


def test_a_chart_has_every_point_and_needs_one(tmp_path):
    series = {"a & b": [1.0, None, 3.0], "c": [0.0, 2.0, -1.0]}
    path = save_chart(tmp_path / "chart.svg", "title <x>", ["1", "2", "3"], series)
    assert {name: len(points(path, name)) for name in series} == {"a & b": 2, "c": 3}
    assert "title <x>" in ElementTree.parse(path).getroot().itertext()
    with pytest.raises(ValueError, match="one entry per tick"):
        save_chart(tmp_path / "chart.svg", "title", ["1"], series)
    with pytest.raises(ValueError, match="needs a value"):
        save_chart(tmp_path / "chart.svg", "title", ["1"], {"a": [None]})


def test_costs_count_operations():
    a = jnp.ones((16, 32))
    programs = {"one": lambda a: a @ a.T, "two": lambda a: (a @ a.T) @ (a @ a.T + 1)}
    one, two = costs(programs, a, repeats=1)
    assert one.flops == pytest.approx(2 * 16 * 32 * 16, rel=0.1)
    assert two.flops > one.flops and one.memory >= 4 * 16 * 16


def test_costs_are_median_processor_times_of_the_timed_runs(monkeypatch):
    assert studies.stopwatch() is time.process_time
    durations = [(100, 100), (1, 20), (5, 90), (3, 40)]  # of both programs, not timed at first
    ticks = itertools.accumulate(t for pair in durations for d in pair for t in (0, d))
    monkeypatch.setattr(studies, "stopwatch", lambda: lambda: next(ticks))
    programs = {"one": lambda a: a + 1, "two": lambda a: a + 2}
    one, two = costs(programs, jnp.ones(2), repeats=3)
    assert (one.seconds, two.seconds) == (3, 40)
    assert next(ticks, None) is None


class Trunk(nn.Module):
    """A cell sees 8 pixels; the stride is 2."""

    @nn.compact
    def __call__(self, x, *, train):
        x = Conv(16, 3, relu=True, name="conv1")(x)
        return {"conv2": Conv(16, 3, relu=True, name="conv2")(MaxPool(2, 2, name="pool1")(x))}


def test_patches_cost_a_multiple_of_the_image():
    net = Classifier(trunk=Trunk(), num_classes=3)
    variables = net.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    found = patch_cost.ratios(net, variables, size=40, patch=8, batch=2, repeats=1)
    times, count, operations = found
    assert count == 17 * 17 and set(times) == set(patch_cost.PUBLISHED)
    assert 4 < operations < 12  # a patch computes 36 cells of conv1, the image 4
