"""PASCAL-Context: the mapping from 459 labels to 59 classes is read from the set's lists."""

import dataclasses

import numpy as np
import pytest
import scipy.io
from PIL import Image

from fcn_jax.data import DataError, PASCALContext, Source, check_labels
from fcn_jax.data.pascal_context import CLASSES

ALIASES = {"diningtable": "table", "bedcloth": "bedclothes", "clothes": "cloth"}
SPACED = {"pottedplant": "potted plant", "tvmonitor": "tv monitor"}


def names_of_459():
    """In alphabetical order, as in the real list, which has other names for three classes."""
    chosen = [ALIASES.get(name, name) for name in CLASSES[1:]]
    others = [f"other thing {i}" for i in range(459 - 59)]
    return sorted([SPACED.get(name, name) for name in chosen] + others)


def make(root, labels, everything=None, voc="VOC2010", context="context"):
    folder = root / context
    (folder / "trainval").mkdir(parents=True)
    everything = names_of_459() if everything is None else everything
    lines = [f"{i}: {name}\n" for i, name in enumerate(everything, 1)]
    (folder / "labels.txt").write_text("".join(lines))
    (folder / "59_labels.txt").write_text(
        "".join(f"{i}: {name}\n" for i, name in enumerate(CLASSES[1:], 1))
    )
    (root / voc / "ImageSets" / "Main").mkdir(parents=True)
    (root / voc / "JPEGImages").mkdir()
    (root / voc / "ImageSets" / "Main" / "train.txt").write_text("\n".join(labels))
    for name, label in labels.items():
        Image.new("RGB", label.shape[::-1]).save(root / voc / "JPEGImages" / f"{name}.jpg")
        scipy.io.savemat(folder / "trainval" / f"{name}.mat", {"LabelMap": label})
    return root


def every_label():
    return np.arange(460, dtype=np.uint16).reshape(20, 23)


@pytest.mark.parametrize(
    ("voc", "context"), [("VOC2010", "context"), ("VOCdevkit/VOC2010", "pascal-context")]
)
def test_every_label_has_its_class_and_the_rest_is_background(tmp_path, voc, context):
    make(tmp_path, {"x": every_label()}, voc=voc, context=context)
    source = PASCALContext(split="train").at(tmp_path)
    assert isinstance(source, Source) and source.size(0) == (20, 23)
    assert source.num_classes == len(set(source.class_names)) == 60
    label = source[0].label.ravel()
    assert label.dtype == np.uint8
    back = {alias: name for name, alias in ALIASES.items()}
    for index, name in enumerate(names_of_459(), 1):
        name = name.replace(" ", "")
        name = back.get(name, name)
        wanted = CLASSES.index(name) if name in CLASSES else 0
        assert label[index] == wanted, name
    assert label[0] == 0 and np.bincount(label).tolist() == [401] + [1] * 59
    assert check_labels(source).pixels.tolist() == [401] + [1] * 59 + [0]  # nothing is ignored

    without = dataclasses.replace(source, ignore_background=True)
    assert without.num_classes == 59 and without.class_names == CLASSES[1:]
    np.testing.assert_array_equal(without[0].label.ravel(), np.where(label, label - 1.0, 255))
    check_labels(without)


def test_the_mapping_follows_the_lists(tmp_path):
    """Another order of the 459 labels gives another mapping."""
    make(tmp_path, {"x": every_label()}, everything=names_of_459()[::-1])
    label = PASCALContext(split="train", root=tmp_path)[0].label.ravel()
    at = len(names_of_459()) - names_of_459().index("bedclothes")
    assert label[at] == CLASSES.index("bedcloth") == 52


def test_a_background_line_is_not_a_class(tmp_path):
    make(tmp_path, {"x": every_label()})
    path = tmp_path / "context" / "59_labels.txt"
    before = PASCALContext(split="train", root=tmp_path)[0].label
    path.write_text("0: background\n" + path.read_text())
    np.testing.assert_array_equal(PASCALContext(split="train", root=tmp_path)[0].label, before)


def test_lists_that_do_not_fit_are_refused(tmp_path):
    make(tmp_path, {"x": every_label()})
    labels, chosen = (tmp_path / "context" / n for n in ("labels.txt", "59_labels.txt"))

    def refused(path, text, message):
        before = path.read_text()
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            PASCALContext(split="train", root=tmp_path)[0]
        path.write_text(before)

    lines = chosen.read_text().splitlines()
    refused(chosen, "\n".join(lines[1:]), "59_labels.txt.*found 58 lines.*aeroplane")
    swapped = chosen.read_text().replace("wood", "wool")
    refused(chosen, swapped, "59_labels.txt.*wood.*wool")
    renamed = labels.read_text().replace("bedclothes", "duvet")
    refused(labels, renamed, "labels.txt.*'bedclothes'")
    refused(labels, "1: a\n1: b", "labels.txt.*'1: b'")
    refused(labels, "aeroplane", "labels.txt.*'aeroplane'")


@pytest.mark.parametrize("value", [460, -1, 2.5])
def test_labels_beyond_the_list_are_refused(tmp_path, value):
    make(tmp_path, {"x": np.array([[1, value]])})
    with pytest.raises(DataError, match="x.mat.*0 to 459.*labels.txt"):
        PASCALContext(split="train", root=tmp_path)[0]


def test_missing_parts_are_named(tmp_path):
    with pytest.raises(DataError, match="--data"):
        len(PASCALContext(split="train"))
    with pytest.raises(DataError, match=r"ImageSets/Main(.|\n)*VOC2010"):
        len(PASCALContext(split="train", root=tmp_path))
    make(tmp_path, {"x": every_label()})
    with pytest.raises(DataError, match="val.txt.*train.txt"):
        len(PASCALContext(split="val", root=tmp_path))
    (tmp_path / "context" / "59_labels.txt").unlink()
    with pytest.raises(DataError, match=r"59_labels.txt(.|\n)*context/{labels.txt"):
        PASCALContext(split="train", root=tmp_path)[0]
