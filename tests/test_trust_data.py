"""The data that a run has read are a part of what it is."""

import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from fcn_jax.data import Folders, check_labels
from fcn_jax.data.scenes import Scenes
from fcn_jax.runs.data_sets import data_differences
from fcn_jax.training.run_folder import RunFolder


def write(folder, n, seed=0):
    draw = np.random.default_rng((seed, n))
    pixels = draw.integers(0, 255, (20, 30, 3)).astype(np.uint8)
    label = draw.integers(0, 3, (20, 30)).astype(np.uint8)
    for part, array, suffix in (("images", pixels, "jpg"), ("labels", label, "png")):
        (folder / part).mkdir(exist_ok=True)
        Image.fromarray(array).save(folder / part / f"n{n}.{suffix}")


def edit_image(folder):
    """As many bytes, and another last pixel."""
    file = folder / "images" / "n2.jpg"
    data = io.BytesIO()
    Image.open(file).rotate(180).save(data, "jpeg")
    file.write_bytes(data.getvalue()[: file.stat().st_size].ljust(file.stat().st_size, b"\0"))


def edit_label(folder):
    file = folder / "labels" / "n4.png"
    label = np.array(Image.open(file))
    label[3, 4] = (label[3, 4] + 1) % 3
    Image.fromarray(label).save(file)


def swap(folder, part, suffix):
    first, second = (folder / part / f"n{n}.{suffix}" for n in (1, 3))
    first_bytes = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(first_bytes)


def remove(folder):
    for name in ("images/n5.jpg", "labels/n5.png"):
        (folder / name).unlink()


CHANGES = {
    "an image is edited": (edit_image, ["train: 1 of 6 examples have another image: n2"]),
    "a label is edited": (edit_label, ["train: 1 of 6 examples have another label: n4"]),
    "images are swapped": (
        lambda folder: swap(folder, "images", "jpg"),
        ["train: 2 of 6 examples have another image: n1, n3"],
    ),
    "labels are swapped": (
        lambda folder: swap(folder, "labels", "png"),
        ["train: 2 of 6 examples have another label: n1, n3"],
    ),
    "one is gone": (remove, ["train: 1 of 6 examples are gone: n5"]),
    "one is new": (lambda folder: write(folder, 6), ["train: 1 of 6 examples are new: n6"]),
    "nothing but the file of a label": (
        lambda folder: Image.open(folder / "labels" / "n0.png").save(
            folder / "labels" / "n0.png", compress_level=0
        ),
        [],
    ),
}


@pytest.fixture
def data(tmp_path):
    for n in range(6):
        write(tmp_path, n)
    return tmp_path


def contents(folder, **fields):
    source = Folders(num_classes=3, **fields).at(folder)
    return {"train": check_labels(source, threads=2).contents}


@pytest.mark.parametrize("change", CHANGES)
def test_what_has_changed_is_named(data, change):
    edit, lines = CHANGES[change]
    before = json.loads(json.dumps(contents(data)))
    assert list(data_differences(before, contents(data))) == []
    edit(data)
    assert list(data_differences(before, contents(data))) == lines


def test_another_order_is_another_run(data):
    for name, order in (("a.txt", "n0 n1 n2"), ("b.txt", "n0 n2 n1")):
        (data / name).write_text("\n".join(order.split()))
    lines = data_differences(contents(data, split="a.txt"), contents(data, split="b.txt"))
    assert list(lines) == ["train: the examples come in another order"]


def test_the_same_data_elsewhere_are_the_same(data, tmp_path):
    shutil.copytree(data, tmp_path / "copy")
    assert list(data_differences(contents(data), contents(tmp_path / "copy"))) == []


def test_what_is_drawn_and_not_read_is_not_recorded():
    assert check_labels(Scenes(length=2, seed=0)).contents == {}


@pytest.mark.parametrize("there", [None, [], {"n0": "x"}, {"n0": 3}, {"n0": ["a"]}])
def test_a_damaged_record_is_a_difference(there):
    lines = list(data_differences({"train": there}, {"train": {"n0": ["a", "b"]}}))
    assert lines == ["train: the record in data.json is damaged"]


def test_changed_data_are_refused_unless_they_are_accepted(tmp_path):
    folder = RunFolder(tmp_path)

    def claim(label, **options):
        said = []
        data = {"train": {"n0": ["image", label]}}
        folder.claim_data(data, data_differences, say=said.append, **options)
        return said

    for label in ("a", "b"):  # nothing was trained yet
        assert claim(label, accept=False) == []
    (tmp_path / "checkpoints" / "4").mkdir(parents=True)
    assert claim("b", accept=False) == []
    with pytest.raises(ValueError, match="(?s)step 4 on other data.*another label: n0.*--accept"):
        claim("c", accept=False)
    (said,) = claim("c", accept=True)
    assert "accepted" in said and "another label: n0" in said
    assert claim("c", accept=False) == []
    (note,) = json.loads((tmp_path / "data.json").read_text())["accepted"]
    assert note == {"step": 4, "differences": ["train: 1 of 1 examples have another label: n0"]}
    (tmp_path / "data.json").unlink()  # a run of an earlier version
    assert claim("d", accept=False) == []
    with pytest.raises(ValueError, match="other data"):
        claim("e", accept=False)
