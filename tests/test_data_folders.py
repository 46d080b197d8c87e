"""Your own images and labels in two folders."""

import dataclasses
import hashlib

import numpy as np
import pytest
from test_data_sources import label_of, save_image, save_index, save_list

from fcn_jax.data import DataError, Folders


def test_images_and_labels_match_by_name(tmp_path):
    save_image(tmp_path / "images" / "deep" / "x.JPG")
    save_image(tmp_path / "images" / "y.png")
    save_index(tmp_path / "labels" / "deep" / "x.png", label_of("x"))
    save_index(tmp_path / "labels" / "y.png", label_of("y"), palette=False)
    source = Folders(num_classes=21).at(tmp_path)
    assert source.ids == ("deep/x", "y") and source.class_names[20] == "class 20"
    np.testing.assert_array_equal(source[0].label, label_of("x"))
    np.testing.assert_array_equal(source[1].label, label_of("y"))
    save_image(tmp_path / "images" / "lonely.png")
    save_index(tmp_path / "labels" / "orphan.png", label_of("z"))
    with pytest.raises(DataError, match="no image.*orphan.*no label.*lonely"):
        len(Folders(num_classes=21).at(tmp_path))
    save_list(tmp_path / "train.txt", ["y"])
    assert Folders(num_classes=21, split="train.txt").at(tmp_path).ids == ("y",)
    with pytest.raises(DataError, match="class_names"):
        Folders(num_classes=3, class_names=("a", "b"))


def test_a_tenth_is_held_out_by_name(tmp_path):
    def halves(names):
        for name in names:
            save_image(tmp_path / "images" / f"{name}.png")
            save_index(tmp_path / "labels" / f"{name}.png", label_of("x"))
        whole = Folders(num_classes=21, root=tmp_path)
        tenth, rest = (dataclasses.replace(whole, held_out=h) for h in (True, False))
        assert sorted(tenth.ids + rest.ids) == list(whole.ids)
        return tenth.ids

    names = [f"image{i}" for i in range(20)]
    assert len(halves(names[:5])) == 1
    held_out = halves(names)
    assert len(held_out) == 2
    digests = {n: hashlib.sha256(n.encode()).digest() for n in names}
    assert set(held_out) == set(sorted(names, key=digests.__getitem__)[:2])
