import dataclasses
import io

import numpy as np
import pytest
import rich.console
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fcn_jax.atomic import write_atomically
from fcn_jax.metrics import Absent, ByImage, Scores, score
from fcn_jax.report.palette import class_palette, voc_palette
from fcn_jax.report.pictures import contact_sheet, overlay, write_label_png
from fcn_jax.report.tables import class_table, metrics_table, reliability_table, scores_table


def test_voc_palette_equals_the_development_kit():
    palette = voc_palette()
    known = {
        0: (0, 0, 0),
        1: (128, 0, 0),
        2: (0, 128, 0),
        3: (128, 128, 0),
        4: (0, 0, 128),
        8: (64, 0, 0),
        15: (192, 128, 128),
        20: (0, 64, 128),
        255: (224, 224, 192),
    }
    assert {k: tuple(palette[k].tolist()) for k in known} == known
    assert len(np.unique(palette, axis=0)) == 256


@given(st.integers(1, 255))
def test_class_palettes_are_distinct(num_classes):
    palette = class_palette(num_classes)
    used = palette[[*range(num_classes), 255]]
    assert len(np.unique(used, axis=0)) == num_classes + 1
    assert palette[0].tolist() == [0, 0, 0] and palette[255].tolist() == [224, 224, 192]


def test_few_classes_have_clearly_different_colours():
    used = class_palette(7)[[*range(7), 255]].astype(int)
    apart = np.abs(used[:, None] - used[None]).max(-1) + 255 * np.eye(8, dtype=int)
    assert apart.min() > 60


@pytest.mark.parametrize("num_classes", [0, 256])
def test_class_palette_refuses(num_classes):
    with pytest.raises(ValueError, match=f"1..255.*{num_classes}"):
        class_palette(num_classes)


def test_label_png_keeps_every_index(tmp_path):
    label = np.arange(256, dtype=np.uint8).reshape(8, 32)
    path = write_label_png(tmp_path / "new" / "label.png", label)
    with Image.open(path) as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image), label)
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), voc_palette()[label])
    # Few values, an odd width: Pillow would pack these into fewer bits.
    small = np.array([[0, 1, 0]], np.uint8)
    with Image.open(write_label_png(path, small)) as image:
        np.testing.assert_array_equal(np.asarray(image), small)
    assert [p.name for p in path.parent.iterdir()] == ["label.png"]


def test_label_png_refuses_a_format_that_loses_indices(tmp_path):
    with pytest.raises(ValueError, match=r"label\.jpg.*\.png"):
        write_label_png(tmp_path / "label.jpg", np.zeros((2, 2), np.uint8))
    assert not list(tmp_path.iterdir())


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def half(draft):
        draft.write_text("ne")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, half)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_reader_sees_the_old_file_or_the_complete_new_one(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with open(path) as reader:
        write_atomically(path, lambda draft: draft.write_text("new"))
        assert reader.read() == "old"
    assert path.read_text() == "new"


def test_overlay_equals_the_reference():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (5, 7, 3)).astype(np.uint8)
    label = rng.choice(np.array([0, 1, 20, 255], np.uint8), (5, 7))
    laid = overlay(image, label)
    np.testing.assert_array_equal(laid[label == 0], image[label == 0])
    mean = (image.astype(float) + voc_palette()[label]) / 2
    assert np.abs(laid - mean)[label > 0].max() <= 0.5
    assert (overlay(image, label, background=True)[label == 0] < image[label == 0] / 2 + 1).all()
    np.testing.assert_array_equal(overlay(image, label, 0.0), image)
    with pytest.raises(ValueError, match=r"0\.\.1, found 2"):
        overlay(image, label, 2.0)


def test_contact_sheet_shows_every_cell_once():
    image = np.random.default_rng(0).integers(0, 256, (4, 130, 3)).astype(np.uint8)
    truth, prediction = np.zeros((4, 130), np.uint8), np.full((6, 120), 2, np.uint8)
    truth[0, 0], truth[2:, 70:] = 255, 1
    sheet = contact_sheet(
        [(image, truth, prediction)],
        ("image", "truth", "FCN-8s"),
        class_names=("background", "a", "b"),
        zoom=2,
    )
    for cell in (image, voc_palette()[truth], voc_palette()[prediction]):
        cell = cell.repeat(2, 0).repeat(2, 1)
        windows = np.lib.stride_tricks.sliding_window_view(sheet, cell.shape)[..., 0, :, :, :]
        assert sum((row == cell).all((1, 2, 3)).sum() for row in windows) == 1
    assert sheet[0, 0].tolist() == [255, 255, 255]
    without = contact_sheet([(image, truth, prediction)], ("image", "truth", "FCN-8s"), zoom=2)
    assert without.shape[0] < sheet.shape[0]


def test_contact_sheet_refuses_rows_that_do_not_fit():
    cell = np.zeros((2, 2), np.uint8)
    with pytest.raises(ValueError, match="row 1 has 1 cells for 2 titles"):
        contact_sheet([(cell, cell), (cell,)], ("a", "b"))
    with pytest.raises(ValueError, match="at least one row"):
        contact_sheet([], ("a", "b"))


def printed(table):
    out = io.StringIO()
    rich.console.Console(file=out, width=100).print(table)
    return out.getvalue()


def scores(**changes):
    values = dict(
        absent=Absent.IN_NEITHER,
        pixel_accuracy=0.9,
        mean_accuracy=0.8,
        mean_iu=0.7,
        frequency_weighted_iu=0.85,
        accuracy=np.array([0.95, 0.5, np.nan, np.nan]),
        iu=np.array([0.91, 0.4, 0.0, np.nan]),
    )
    return Scores(**(values | changes))


def test_metrics_table_prints_per_cents_by_stage():
    text = printed(metrics_table({"32s": scores(mean_iu=0.123), "8s": scores(mean_iu=np.nan)}))
    lines = [line for line in text.splitlines() if "90.0" in line]
    assert [line.split()[1] for line in lines] == ["32s", "8s"]
    assert "12.3" in lines[0] and "–" in lines[1]
    assert printed(metrics_table({}))


def test_class_table_marks_absent_classes():
    text = printed(class_table(scores(), "abcd", np.array([30, 10, 0, 0])))
    rows = {c: line.split()[3::2] for line in text.splitlines() for c in "abcd" if f" {c} " in line}
    assert rows == {
        "a": ["95.0", "91.0", "75.0"],
        "b": ["50.0", "40.0", "25.0"],
        "c": ["–", "0.0", "–"],
        "d": ["–", "–", "–"],
    }
    with pytest.raises(ValueError, match="3 class names, 4 accuracies"):
        class_table(scores(), "abc", np.array([30, 10, 0, 0]))


def test_tables_print_intervals_where_they_are_known():
    matrices = np.array([[[8, 2], [1, 9]], [[5, 5], [0, 10]], [[9, 1], [6, 4]]])
    places = np.argwhere(matrices)
    entries = np.column_stack([places, matrices[tuple(places.T)]])
    counted = ByImage(names=("a", "b", "c"), num_classes=2, entries=entries)
    known = dataclasses.replace(score(matrices.sum(axis=0)), by_image=counted)
    low, high = (f"{100 * end:.1f}" for end in known.intervals["mean_iu"])
    text = printed(metrics_table({"8s": known, "others": scores()}))
    assert f"{low} to {high}" in text and f"{100 * known.mean_iu:.1f}" in text
    table = printed(scores_table(known))
    [row] = [line for line in table.splitlines() if "mean IU" in line]
    assert f"{100 * known.mean_iu:.1f} │" in row and f"{low} to {high} │" in row
    assert "boundary" not in table
    low, high = (f"{100 * end:.1f}" for end in known.intervals["iu"][:, 1])
    assert f"({low} to {high})" in printed(class_table(known, "xy", np.array([30, 30])))
    bins = np.zeros((15, 3))
    bins[14] = 40, 38, 30
    rows = printed(reliability_table(bins)).splitlines()
    [row] = [line for line in rows if "75.0" in line]  # bins without a pixel are left out
    assert "93 to 100 │ 95.0 │  75.0 │" in row and len(rows) == 5
