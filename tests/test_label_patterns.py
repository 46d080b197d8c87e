"""Images and labels found by patterns, and matched (docs/labels.md)."""

import numpy as np
import pytest
from layout_files import label_of, save_image, save_label

from fcn_jax.data import DataError, Folders, LabelValues


def make(root, images, labels):
    for n, name in enumerate(images):
        save_image(root / name, n)
    for n, name in enumerate(labels):
        save_label(root / name, label_of(n, range(3)))


def pairs(root, images, labels, **options):
    source = Folders(num_classes=3, images=images, labels=labels, **options).at(root)
    found = {}
    for name in source.ids:
        paths = source.image_path(name), source.label_path(name)
        found[name] = [path.relative_to(root).as_posix() for path in paths]
    return found, source


CASES = {
    "a flat pattern and one beside it": (
        ("train/*.png", "{stem}_gtFine_labelIds.png"),
        ["train/a.png", "train/b.png"],
        ["train/a_gtFine_labelIds.png", "train/b_gtFine_labelIds.png"],
    ),
    "another folder and ending": (
        ("images", "labels/{stem}_mask.bmp"),
        ["images/a.png", "images/b.png"],
        ["labels/a_mask.bmp", "labels/b_mask.bmp"],
    ),
    "sub-folders": (
        ("images", "labels/{stem}_mask.bmp"),
        ["images/x/a.png", "images/y/a.png"],
        ["labels/x/a_mask.bmp", "labels/y/a_mask.bmp"],
    ),
    "flat labels of images in sub-folders": (
        ("images/**/*.png", "labels/{stem}.png"),
        ["images/x/a.png", "images/y/b.png"],
        ["labels/a.png", "labels/b.png"],
    ),
    "cities, stars on both sides": (
        ("left/train/*/*_left.png", "gt/train/*/*_labelIds.png"),
        ["left/train/aachen/a_0_left.png", "left/train/ulm/a_0_left.png"],
        ["gt/train/aachen/a_0_labelIds.png", "gt/train/ulm/a_0_labelIds.png"],
    ),
    "cities, the stem alone": (
        ("left/train/*/*_left.png", "{stem}_labelIds.png"),
        ["left/train/aachen/a_0_left.png", "left/train/ulm/a_0_left.png"],
        ["gt/train/aachen/a_0_labelIds.png", "gt/train/ulm/a_0_labelIds.png"],
    ),
    "a folder for each example": (
        ("*/image.png", "*/label.png"),
        ["one/image.png", "two/image.png"],
        ["one/label.png", "two/label.png"],
    ),
    "labels among images": (
        ("*.png", "{stem}_mask.png"),
        ["a.png", "b.png"],
        ["a_mask.png", "b_mask.png"],
    ),
    "a suffix of the images": (
        ("all/*_rgb.png", "all/{stem}.png"),
        ["all/a_rgb.png", "all/b_rgb.png"],
        ["all/a.png", "all/b.png"],
    ),
    "any ending": (
        ("train/*", "masks/{stem}.*"),
        ["train/a.png", "train/b.jpg"],
        ["masks/a.bmp", "masks/b.npy"],
    ),
    "a pattern and a folder": (
        ("train/*.png", "labels"),
        ["train/a.png", "train/b.png"],
        ["labels/a.tif", "labels/b.png"],
    ),
    "brackets and dots in names": (
        ("t[1]/*.png", "l(1)/{stem}_m.png"),
        ["t[1]/a.b.png", "t[1]/c+.png"],
        ["l(1)/a.b_m.png", "l(1)/c+_m.png"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_patterns_match_as_a_person_would(tmp_path, case):
    patterns, images, labels = CASES[case]
    make(tmp_path, images, labels)
    found, source = pairs(tmp_path, *patterns)
    assert sorted(found.values()) == sorted([i, m] for i, m in zip(images, labels, strict=True))
    assert source.unmatched == ([], []) and not source.left_out
    assert len(source) == 2 and source[0].label.shape == source.size(0)


def test_images_without_a_label_are_refused_and_labels_without_an_image_said(tmp_path):
    make(tmp_path, ["train/a.png", "train/b.png"], ["gt/a_m.png", "gt/c_m.png"])
    patterns = {"images": "train/*.png", "labels": "gt/{stem}_m.png"}
    source = Folders(num_classes=3, **patterns).at(tmp_path)
    assert source.unmatched[0] == ["b"] and len(source.unmatched[1]) == 1
    with pytest.raises(DataError, match="1 with no label in .*: b"):
        len(source)
    (tmp_path / "list.txt").write_text("a\n")
    source = Folders(num_classes=3, split="list.txt", **patterns).at(tmp_path)
    assert source.ids == ("a",)
    assert source.left_out == ["gt/{stem}_m.png: left out 1 labels without an image"]


def test_what_could_be_two_things_is_refused(tmp_path):
    make(tmp_path, ["i/a.png"], ["l/x/a_m.png", "l/y/a_m.png"])
    with pytest.raises(DataError, match="two labels fit: .*x.a_m.png, .*y.a_m.png"):
        pairs(tmp_path, "i/*.png", "l/{stem}_m.png")
    make(tmp_path / "two", ["i/x/a.png", "i/y/a.png"], ["l/a_m.png"])
    with pytest.raises(DataError, match="is the label of two images"):
        pairs(tmp_path / "two", "i", "l/{stem}_m.png")
    with pytest.raises(DataError, match=r"no such folder; it is that of the pattern 'n/\*\.png'"):
        pairs(tmp_path, "n/*.png", "l")
    with pytest.raises(DataError, match="expected {stem}, found {name}"):
        pairs(tmp_path, "i/*.png", "l/{name}.png")
    with pytest.raises(DataError, match="no images there"):
        pairs(tmp_path, "i/*.bmp", "l/{stem}_m.png")


def test_folders_read_labels_of_any_kind_and_prefer_png(tmp_path):
    make(tmp_path, ["images/a.png", "images/b.jpg"], ["labels/a.bmp", "labels/b.npy"])
    found, source = pairs(tmp_path, "images", "labels")
    assert [paths[1] for paths in found.values()] == ["labels/a.bmp", "labels/b.npy"]
    save_image(tmp_path / "labels" / "a.jpg")
    save_label(tmp_path / "labels" / "a.png", label_of(0, range(3)))
    found, source = pairs(tmp_path, "images", "labels")
    assert found["a"][1] == "labels/a.png" and len(source.left_out) == 1
    assert "beside a PNG" in source.left_out[0]


def test_folders_apply_their_label_values_and_refuse_too_few_classes(tmp_path):
    make(tmp_path, ["images/a.png"], [])
    stored = save_label(tmp_path / "labels" / "a.png", label_of(0, (0, 7, 500)), np.uint16)
    values = LabelValues(mapping=((0, 255), (7, 1), (500, 0)))
    source = Folders(num_classes=2, label_values=values).at(tmp_path)
    expected = np.select([stored == 0, stored == 7], [255, 1], 0)
    np.testing.assert_array_equal(source[0].label, expected)
    np.testing.assert_array_equal(source.read_stored("a"), stored)
    with pytest.raises(DataError, match="--num-classes 2"):
        Folders(num_classes=1, label_values=values)
