"""What `check` advises where names of images and labels do not match."""

import shlex

import layout_files
import pytest
from layout_files import save_image, save_label

from fcn_jax.check.inspect import inspect
from fcn_jax.check.naming import line
from fcn_jax.check.pairs import pairs
from fcn_jax.data import CamVid, Folders


def advised(root, images, labels, folder="images"):
    for name in images:
        save_image(root / folder / f"{name}.jpg")
    for name in labels:
        save_label(root / "labels" / f"{name}.png", [[0, 1]])
    source = Folders(images=folder, num_classes=2).at(root)
    return pairs({"train": source}).findings[0]


@pytest.mark.parametrize("odd", [("x ", "x"), ("x_a", "x"), ("x", "x_mask"), ("s/x", "t/y")])
def test_two_odd_names_of_six_are_no_pattern(tmp_path, odd):
    good = ["a", "b", "c", "d"]
    finding = advised(tmp_path, [*good, odd[0], f"z{odd[0]}"], [*good, odd[1], f"z{odd[1]}"])
    assert finding.options == () and "4 images have a label" in finding.found


def test_a_pattern_is_advised_with_the_number_of_images_that_it_matches(tmp_path):
    names = ["a", "b", "c", "d", "e"]
    finding = advised(tmp_path, [*names, "f"], [f"{name}_mask" for name in names])
    assert finding.options == ("--labels", "labels/{stem}_mask.png")
    assert "5 of 6 images have a label" in finding.means


def test_sub_folders_are_left_out_only_where_names_stay_unlike(tmp_path):
    finding = advised(tmp_path / "one", ["a/x", "b/y"], ["x", "y"])
    assert "2 of 2 images" in finding.means and "labels/{stem}" in finding.options
    finding = advised(tmp_path / "two", ["a/x", "b/x"], ["x"])
    assert finding.options == ()


def test_advice_can_be_pasted_into_a_shell(tmp_path):
    names = ["a", "b"]
    finding = advised(tmp_path, [f"{n}_im" for n in names], names, folder="Bob's pics $HOME")
    assert shlex.split(finding.mend)[1:] == [*finding.options]
    assert finding.options[1] == "Bob's pics $HOME/{stem}_im.jpg"
    assert line(("--images", "images")) == "--images images"


def test_copies_in_both_parts_of_a_layout_name_the_folders_to_change(tmp_path):
    root = layout_files.camvid(tmp_path)  # whose parts have the same pictures
    parts = {s: CamVid(split=s).at(root) for s in ("train", "val")}
    [finding] = [f for f in inspect(parts).findings if f.kind == "copies in both parts"]
    assert finding.options == () and "list" not in finding.mend
    assert f"change {root / 'train'} or {root / 'val'}" in finding.mend
    parts = {
        s: Folders(
            images="train", labels="trainannot", num_classes=12, split=None, held_out=s == "val"
        ).at(root)
        for s in ("train", "val")
    }
    for path in (root / "train").iterdir():
        save_image(path)
    [finding] = [f for f in inspect(parts).findings if f.kind.startswith("copies in both")]
    assert "--train-list FILE" in finding.mend
