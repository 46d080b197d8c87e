"""The check before training finds what is wrong and names it."""

import numpy as np
import pytest
from PIL import Image

from fcn_jax.data import DataError, Example, Folders, check_labels


def make(root, labels):
    for i, label in enumerate(labels):
        for folder, array in (("images", np.zeros((*np.shape(label), 3))), ("labels", label)):
            (root / folder).mkdir(exist_ok=True)
            Image.fromarray(np.asarray(array, np.uint8)).save(root / folder / f"x{i}.png")
    return Folders(num_classes=3, class_names=("ground", "car", "tree")).at(root)


GOOD = np.array([[0, 1], [1, 255]])


def test_a_sound_set_is_counted(tmp_path):
    source = make(tmp_path, [GOOD, np.full((3, 5), 255), [[1, 1, 0]]])
    calls = []
    checked = check_labels(source, threads=2, progress=lambda done, n: calls.append((done, n)))
    assert checked.pixels.tolist() == [2, 4, 0, 16] and checked.pixels.dtype == np.int64
    assert checked.sizes.tolist() == [[2, 2], [3, 5], [1, 3]]
    assert checked.unlabelled == ("x1",) and checked.absent == ("tree",)
    assert calls[-1] == (3, 3)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ([[1, 2], [3, 0]], r"x1.png.*found 3 .*count from 1.*num_classes is 4"),
        ([[0, 200], [200, 0]], r"x1.png.*found 200 .*gray levels"),
        ([[0, 1, 7, 2]], r"x1.png.*found 7 .*255 to ignore"),
    ],
)
def test_values_that_are_not_a_class_are_refused(tmp_path, label, message):
    source = make(tmp_path, [GOOD, label, GOOD])
    with pytest.raises(DataError, match=message):
        check_labels(source)


def test_masks_of_0_and_255_are_refused(tmp_path):
    with pytest.raises(DataError, match="drawn with 0 and 255"):
        check_labels(make(tmp_path, [[[0, 255]], [[255, 0]]]))


def test_nothing_to_learn_is_refused(tmp_path):
    with pytest.raises(DataError, match="nothing to learn"):
        check_labels(make(tmp_path, [[[255, 255]]]))


def test_files_that_are_wrong_are_named(tmp_path):
    source = make(tmp_path, [GOOD] * 3)
    label, image = source.label_path("x1"), source.image_path("x1")
    good_label, good_image = label.read_bytes(), image.read_bytes()

    Image.new("RGB", (2, 2)).save(label)
    with pytest.raises(DataError, match="x1.png.*colours"):
        check_labels(source)
    Image.new("L", (3, 2)).save(label)
    with pytest.raises(DataError, match="x1.png.*2 rows and 3 columns"):
        check_labels(source)
    label.write_bytes(good_label[:45])
    with pytest.raises(DataError, match="labels.x1.png.*cut off"):
        check_labels(source)
    label.write_bytes(good_label)

    image.write_bytes(b"not an image")
    with pytest.raises(DataError, match="images.x1.png"):
        check_labels(source)
    image.write_bytes(good_image[:45])
    check_labels(source)  # the header is complete
    with pytest.raises(DataError, match="images.x1.png"):
        check_labels(source, decode_images=True)
    image.unlink()
    with pytest.raises(DataError, match="images.x1.png: there is no such file"):
        check_labels(source)


class Generated:
    num_classes = 2
    class_names = ("a", "b")

    def __len__(self):
        return 3

    def at(self, root):
        return self

    def size(self, i):
        return (2, 3)

    def __getitem__(self, i):
        return Example(np.zeros((2, 3, 3), np.uint8), np.full((2, 3), i, np.uint8), f"made{i}")


def test_generated_sources_are_checked_too():
    with pytest.raises(DataError, match="made2.*found 2"):
        check_labels(Generated())
