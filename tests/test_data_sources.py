"""Sources over tiny data sets in each set's own layout."""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from fcn_jax import data
from fcn_jax.data import SBD, VOC, DataError, Folders, Joined, SIFTFlow, Source
from fcn_jax.data.readers import as_indices, read_image, read_index_png, read_mat

SHARED = Path(__file__).parents[2] / "shared" / "data"
SCENES = "spatial_envelope_256x256_static_8outdoorcategories"


def save_image(path, h=6, w=8, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def save_index(path, label, palette=True):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(label.astype(np.uint8))
    if palette:
        image = image.convert("L")
        image.putpalette([7 * v % 256 for v in range(768)])
    image.save(path)


def save_mat(path, contents):
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, contents)


def save_list(path, ids):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}\n" for name in ids))


def label_of(name, h=6, w=8):
    """A label that depends on its image's name."""
    label = np.full((h, w), int(hashlib.md5(name.encode()).hexdigest(), 16) % 21, np.uint8)
    label[0] = 255
    return label


def make_voc(root, year=2012, **splits):
    folder = root / f"VOC{year}"
    for split, ids in splits.items():
        save_list(folder / "ImageSets" / "Segmentation" / f"{split}.txt", ids)
        for name in ids:
            save_image(folder / "JPEGImages" / f"{name}.jpg")
            save_index(folder / "SegmentationClass" / f"{name}.png", label_of(name))
    return root


def make_sbd(root, value=None, **splits):
    for split, ids in splits.items():
        save_list(root / f"{split}.txt", ids)
        for name in ids:
            save_image(root / "img" / f"{name}.jpg")
            label = label_of(name) if value is None else np.full((6, 8), value, np.uint8)
            save_mat(
                root / "cls" / f"{name}.mat", {"GTcls": {"Boundaries": [0], "Segmentation": label}}
            )
    return root


def make_sift(root, labels, **splits):
    for split, ids in splits.items():
        save_list(root / f"{split}.txt", ids)
    for name, label in labels.items():
        h, w = label.shape
        save_image(root / "Images" / SCENES / f"{name}.jpg", h, w)
        save_mat(root / "SemanticLabels" / SCENES / f"{name}.mat", {"S": label.astype(np.uint16)})
    return root


@pytest.mark.parametrize("below", ["VOCdevkit", ".", "VOCdevkit/VOC2012"])
def test_voc_is_found_from_each_folder_and_keeps_palette_indices(tmp_path, below):
    make_voc(tmp_path / "VOCdevkit", train=["b", "a"], val=["c"])
    root = tmp_path if below == "." else tmp_path / below
    source = VOC(split="train").at(root)
    assert [example.name for example in source] == ["b", "a"]
    for example in source:
        np.testing.assert_array_equal(example.label, label_of(example.name))
        assert example.image.shape == (6, 8, 3) and example.image.dtype == np.uint8
    assert isinstance(source, Source) and source.size(0) == (6, 8)
    assert source.num_classes == len(source.class_names) == 21


def test_voc_years_are_not_confused(tmp_path):
    make_voc(tmp_path, 2012, train=["a"])
    with pytest.raises(DataError, match="VOC2011"):
        len(VOC(year=2011, split="train").at(tmp_path / "VOC2012"))


def test_images_are_rgb_rows_by_columns(tmp_path):
    pixels = save_image(tmp_path / "noise.png")
    np.testing.assert_array_equal(read_image(tmp_path / "noise.png"), pixels)
    Image.new("RGB", (3, 2), (200, 100, 50)).save(tmp_path / "x.png")
    assert read_image(tmp_path / "x.png")[0, 0].tolist() == [200, 100, 50]
    Image.new("L", (3, 2), 9).save(tmp_path / "gray.png")
    assert read_image(tmp_path / "gray.png")[1, 2].tolist() == [9, 9, 9]


def test_sbd_reads_the_struct(tmp_path):
    make_sbd(tmp_path / "benchmark_RELEASE" / "dataset", train=["x", "y"])
    source = SBD(split="train").at(tmp_path)
    assert source.ids == SBD(split="train").at(tmp_path / "benchmark_RELEASE" / "dataset").ids
    for example in source:
        np.testing.assert_array_equal(example.label, label_of(example.name))


def test_joined_takes_the_first_and_never_an_excluded_image(tmp_path):
    make_voc(tmp_path / "VOCdevkit", train=["a", "b"], val=["v", "w"])
    make_sbd(tmp_path / "sbdd" / "dataset", value=20, train=["b", "c", "v"], val=["d", "w"])
    source = Joined(
        sources=(VOC(split="train"), SBD(split="train"), SBD(split="val")),
        excluding=(VOC(split="val"),),
    )
    bound = source.at(tmp_path)
    assert bound.ids == ("a", "b", "c", "d")
    np.testing.assert_array_equal(bound[1].label, label_of("b"))  # VOC's mask, not SBD's
    assert (bound[2].label == 20).all()
    assert bound.num_classes == 21 and hash(source) != hash(bound)
    with pytest.raises(DataError, match="nothing is left"):
        len(Joined(sources=(VOC(split="val"),), excluding=(VOC(split="val"),)).at(tmp_path))
    with pytest.raises(DataError, match="same classes"):
        Joined(sources=(VOC(split="val"), SIFTFlow(split="train")))


def test_sift_flow_counts_from_zero_and_void_is_255(tmp_path):
    labels = {"a": np.arange(34).reshape(2, 17), "b": np.ones((3, 4))}
    root = make_sift(tmp_path / "sift-flow", labels, trainval=["a", "b"])
    source = SIFTFlow(split="trainval").at(tmp_path)
    assert source.folder == root and source.size(1) == (3, 4)
    assert source[0].label.ravel().tolist() == [255, *range(33)]
    assert source.class_names[32] == "window" and source.num_classes == 33


def test_sift_flow_held_out_images_do_not_depend_on_the_list_order(tmp_path):
    ids = [f"scene{i}" for i in range(30)]
    for folder, order in (("one", ids), ("two", ids[::-1])):
        save_list(tmp_path / folder / "trainval.txt", order)
        (tmp_path / folder / "SemanticLabels").mkdir()
    splits = {
        (folder, split): SIFTFlow(split=split, held_out=7, root=tmp_path / folder).ids
        for folder in ("one", "two")
        for split in ("train", "holdout")
    }
    assert set(splits["one", "holdout"]) == set(splits["two", "holdout"])
    assert len(splits["one", "holdout"]) == 7
    assert sorted(splits["one", "train"] + splits["one", "holdout"]) == sorted(ids)
    # The rule is fixed: smallest SHA-256, in the order of the list.
    assert splits["one", "holdout"] == tuple(f"scene{i}" for i in (2, 7, 8, 15, 17, 19, 21))


@pytest.mark.parametrize("value", [-1, 256, 300, 2.5, np.nan])
def test_mat_labels_that_uint8_would_change_are_refused(tmp_path, value):
    save_mat(tmp_path / "x.mat", {"S": np.array([[1, value]])})
    with pytest.raises(DataError, match="x.mat.*integer labels"):
        as_indices(read_mat(tmp_path / "x.mat", "S"), tmp_path / "x.mat")


def test_sources_are_values_and_read_nothing_early():
    recipes = [VOC(split="val"), SBD(split="train"), SIFTFlow(split="test"), Folders(num_classes=2)]
    recipes.append(Joined(sources=(recipes[0], recipes[1])))
    for source in recipes:
        assert source == dataclasses.replace(source)
        assert hash(source) == hash(dataclasses.replace(source))
        assert eval(repr(source), vars(data)) == source
        with pytest.raises(DataError, match="--data"):
            len(source)


def test_missing_things_are_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere(.|\n)*not a folder(.|\n)*layout"):
        len(VOC(split="train").at(tmp_path / "nowhere"))
    make_voc(tmp_path, train=["a"])
    with pytest.raises(DataError, match="val.txt.*train.txt"):
        len(VOC(split="val").at(tmp_path))
    with pytest.raises(DataError, match="seg11valid.txt.*Copy"):
        len(VOC(split="seg11valid").at(tmp_path))
    source = VOC(split="train").at(tmp_path)
    source.image_path("a").unlink()
    for use in (lambda: source[0], lambda: source.size(0)):
        with pytest.raises(DataError, match="a.jpg: there is no such file"):
            use()
    save_list(tmp_path / "VOC2012/ImageSets/Segmentation/val.txt", ["a", "a"])
    with pytest.raises(DataError, match="more than once"):
        len(VOC(split="val").at(tmp_path))


def test_wrong_labels_are_refused(tmp_path):
    path = tmp_path / "label.png"
    Image.new("RGB", (4, 3)).save(path)
    with pytest.raises(DataError, match="label.png.*colours(.|\n)*Convert"):
        read_index_png(path)
    Image.new("1", (4, 3)).save(path)
    with pytest.raises(DataError, match="'1'"):
        read_index_png(path)
    Image.fromarray(np.full((3, 4), 300, np.uint16)).save(path)
    with pytest.raises(DataError, match="8-bit"):
        read_index_png(path)
    Image.new("L", (4, 3)).save(tmp_path / "label.jpg")
    with pytest.raises(DataError, match="JPEG"):
        read_index_png(tmp_path / "label.jpg")


def test_gray_png_of_few_bits_is_refused_not_stretched(tmp_path):
    import struct
    import zlib

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    path = tmp_path / "four.png"
    header = struct.pack(">IIBBBBB", 2, 1, 4, 0, 0, 0, 0)  # 2 x 1, 4 bits, gray
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\x00\x12"))
        + chunk(b"IEND", b"")
    )
    assert np.asarray(Image.open(path)).tolist() == [[17, 34]]  # as Pillow reads it
    with pytest.raises(DataError, match="four.png.*8 bits"):
        read_index_png(path)


def test_damaged_files_are_named(tmp_path):
    save_image(tmp_path / "x.jpg", 64, 64)
    save_index(tmp_path / "x.png", np.random.default_rng(0).integers(0, 256, (64, 64)))
    save_mat(tmp_path / "x.mat", {"S": np.random.default_rng(0).integers(0, 9, (64, 64))})
    readers = {"x.jpg": read_image, "x.png": read_index_png, "x.mat": lambda p: read_mat(p, "S")}
    for name, read in readers.items():
        whole = (tmp_path / name).read_bytes()
        for kept in (0, 3, 40, len(whole) // 2, len(whole) - 30):
            (tmp_path / name).write_bytes(whole[:kept])
            with pytest.raises(DataError, match=name):
                read(tmp_path / name)
    with pytest.raises(DataError, match="y.mat: there is no such file"):
        read_mat(tmp_path / "y.mat", "S")
    save_mat(tmp_path / "z.mat", {"T": np.zeros(3), "G": {"A": 1}})
    for key in ("S", "G.B", "T.A"):
        with pytest.raises(DataError, match=f"z.mat.*'{key}'"):
            read_mat(tmp_path / "z.mat", key)


def test_label_of_another_size_is_refused(tmp_path):
    make_voc(tmp_path, train=["a"])
    source = VOC(split="train").at(tmp_path)
    save_index(source.label_path("a"), np.zeros((8, 6)))
    with pytest.raises(DataError, match="a.png.*swapped"):
        source[0]


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the real data beside the repository")
def test_real_data():
    sift = SIFTFlow(split="trainval").at(SHARED)
    assert len(sift) == 2486 and sift.size(0) == (256, 256)
    assert sift[0].label.shape == (256, 256) and sift[0].image.shape == (256, 256, 3)
    train, held = (SIFTFlow(split=s, root=SHARED) for s in ("train", "holdout"))
    assert len(train) == 2286 and len(held) == 200 and not set(train.ids) & set(held.ids)
    voc = VOC(split="seg11valid").at(SHARED / "voc")
    assert len(voc) == 736
    assert set(np.unique(voc.label(0))) <= {*range(21), 255}
    assert len(VOC(split="val").at(SHARED / "voc")[0].image.shape) == 3
