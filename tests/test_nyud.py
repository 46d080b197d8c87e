"""NYUDv2 in the reference's layout, and SIFT Flow's two labels."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from fcn_jax.data import (
    Batches,
    DataError,
    NYUDv2,
    SIFTFlow,
    Source,
    check_labels,
    evaluation_batches,
)
from fcn_jax.data.readers import read_depth

SHARED = Path(__file__).parents[2] / "shared" / "data"
needs_nyud = pytest.mark.skipif(
    not (SHARED / "nyud").is_dir(), reason="needs NYUDv2 beside the repository"
)
needs_sift = pytest.mark.skipif(
    not (SHARED / "sift-flow").is_dir(), reason="needs SIFT Flow beside the repository"
)
SCENES = "spatial_envelope_256x256_static_8outdoorcategories"


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def save_mat(path, key, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {key: array})


def content(name, h=6, w=7):
    rng = np.random.default_rng(int(name))
    color, hha = rng.integers(0, 256, (2, h, w, 3), dtype=np.uint8)
    depth = rng.integers(0, 65536, (h, w), dtype=np.uint16)
    return color, depth, hha, rng.integers(0, 41, (h, w), dtype=np.uint8)


def make(root, hha=True, **lists):
    for split, ids in lists.items():
        root.mkdir(parents=True, exist_ok=True)
        (root / f"{split}.txt").write_text("\n".join(ids))
        for name in ids:
            color, depth, angles, label = content(name)
            save(root / "data" / "images" / f"img_{name}.png", color)
            save(root / "data" / "depth" / f"img_{name}.png", depth)
            if hha:
                save(root / "data" / "hha" / f"img_{name}.png", angles)
            save_mat(root / "segmentation" / f"img_{name}.mat", "segmentation", label)
    return root


@pytest.mark.parametrize("folder", ["nyud", "NYUDv2", "."])
def test_each_input_alone_and_all_by_name(tmp_path, folder):
    make(tmp_path / folder, train=["7", "3"])
    source = NYUDv2(split="train", inputs=("hha", "color", "depth")).at(tmp_path)
    assert isinstance(source, Source) and source.ids == ("7", "3")
    for example in source:
        color, depth, hha, label = content(example.name)
        assert list(example.image) == ["hha", "color", "depth"]
        for name, wanted in (("color", color), ("depth", depth[..., None]), ("hha", hha)):
            np.testing.assert_array_equal(example.image[name], wanted)
            assert example.image[name].dtype == wanted.dtype
            alone = NYUDv2(split="train", inputs=(name,), root=tmp_path)
            np.testing.assert_array_equal(alone[alone.ids.index(example.name)].image, wanted)
            assert alone.size(0) == (6, 7)
        np.testing.assert_array_equal(example.label, np.where(label == 0, 255, label - 1.0))
    assert source.num_classes == len(set(source.class_names)) == 40
    checked = check_labels(source, decode_images=True)
    stored = np.concatenate([content(name)[3].ravel() for name in ("7", "3")])
    assert checked.pixels.tolist() == [*np.bincount(stored, minlength=41)[1:], (stored == 0).sum()]


def test_photographs_may_be_jpegs(tmp_path):
    make(tmp_path, train=["1"])
    (tmp_path / "data/images/img_1.png").unlink()
    save(tmp_path / "data/images/img_1.jpg", np.full((6, 7, 3), 80, np.uint8))
    assert (NYUDv2(split="train", root=tmp_path)[0].image == 80).all()


def test_splits(tmp_path):
    train, val = [str(i) for i in range(20, 0, -1)], [str(i) for i in range(30, 40)]
    for name, ids in (("train", train), ("val", val), ("test", ["50"])):
        (tmp_path / "segmentation").mkdir(exist_ok=True)
        (tmp_path / f"{name}.txt").write_text("\n".join(ids))

    def ids(split):
        return NYUDv2(split=split, held_out=5, root=tmp_path).ids

    assert (list(ids("train")), list(ids("val")), ids("test")) == (train, val, ("50",))
    assert list(ids("trainval")) == train + val
    # The rule is fixed: smallest SHA-256, in the order of the list.
    digest = {name: hashlib.sha256(name.encode()).hexdigest() for name in train + val}
    fifth = sorted(digest.values())[4]
    assert list(ids("holdout")) == [n for n in train + val if digest[n] <= fifth]
    assert list(ids("rest")) == [n for n in train + val if digest[n] > fifth]
    (tmp_path / "trainval.txt").write_text("\n".join(val))  # is read if it exists
    assert list(ids("trainval")) == val and set(ids("holdout")) | set(ids("rest")) == set(val)
    (tmp_path / "trainval.txt").unlink()
    (tmp_path / "val.txt").write_text("30\n20")
    with pytest.raises(DataError, match="both name 20"):
        ids("trainval")
    with pytest.raises(DataError, match="cannot hold out 22 of 22"):
        (tmp_path / "val.txt").write_text("30\n31")
        len(NYUDv2(split="rest", held_out=22, root=tmp_path))


def test_missing_hha_says_how_to_make_it(tmp_path):
    root = make(tmp_path / "nyud", train=["1", "2"], hha=False)
    source = NYUDv2(split="train", inputs=("color", "hha"), root=tmp_path)
    command = f"python -m fcn_jax hha {root}/data/depth --out {root}/data/hha"
    with pytest.raises(DataError, match=f"img_1.png.*2 of 2 images.*{command}"):
        len(source)
    len(NYUDv2(split="train", inputs=("color", "depth"), root=tmp_path))


def test_inputs_of_different_sizes_are_refused(tmp_path):
    make(tmp_path, train=["1"])
    save(tmp_path / "data/hha/img_1.png", np.zeros((8, 8, 3), np.uint8))
    source = NYUDv2(split="train", inputs=("color", "hha"), root=tmp_path)
    for use in (lambda: source[0], lambda: check_labels(source)):
        with pytest.raises(DataError, match="hha.img_1.png: the hha has 8 rows and 8 columns"):
            use()


def test_depth_is_read_as_stored_or_refused(tmp_path):
    depth = np.array([[0, 1], [40000, 65535]])
    for mode, dtype in (("I;16", np.uint16), ("I", np.int32)):
        image = Image.fromarray(depth.astype(dtype))
        assert image.mode == mode
        names = ("d.png", "d.tif") if mode == "I;16" else ("d.tif",)  # newer Pillows write no I
        for name in names:
            image.save(tmp_path / name)
            got = read_depth(tmp_path / name)
            assert got.dtype == np.uint16 and got.shape == (2, 2, 1)
            np.testing.assert_array_equal(got[..., 0], depth)
    Image.fromarray(depth.astype(np.int32) - 1).save(tmp_path / "d.tif")
    with pytest.raises(DataError, match="d.tif.*found -1 to"):
        read_depth(tmp_path / "d.tif")
    Image.new("L", (2, 2)).save(tmp_path / "d.png")
    with pytest.raises(DataError, match="d.png.*16-bit.*'L'"):
        read_depth(tmp_path / "d.png")
    (tmp_path / "d.png").write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match="d.png.*cut off"):
        read_depth(tmp_path / "d.png")


def test_sift_flow_has_two_labels(tmp_path):
    (tmp_path / "trainval.txt").write_text("a")
    save(tmp_path / "Images" / SCENES / "a.jpg", np.zeros((1, 5, 3), np.uint8))
    geometric = np.array([[-1, 0, 1, 2, 3]], np.int16)
    save_mat(tmp_path / "GeoLabels" / SCENES / "a.mat", "S", geometric)
    save_mat(tmp_path / "SemanticLabels" / SCENES / "a.mat", "S", np.arange(5)[None])
    wanted = {"semantic": [255, 0, 1, 2, 3], "geometric": [255, 255, 0, 1, 2]}
    for labels in ("semantic", ("semantic",), "geometric", ("geometric",)):
        source = SIFTFlow(split="trainval", labels=labels, root=tmp_path)
        name = labels if isinstance(labels, str) else labels[0]
        assert source[0].label.tolist() == [wanted[name]]
        assert source.num_classes == len(source.class_names) == {"s": 33, "g": 3}[name[0]]
    both = SIFTFlow(split="trainval", labels=("geometric", "semantic"), root=tmp_path)
    assert {name: label[0].tolist() for name, label in both[0].label.items()} == wanted
    assert list(both.num_classes.items()) == [("geometric", 3), ("semantic", 33)]
    assert list(both.class_names) == ["geometric", "semantic"]
    assert both.class_names["geometric"] == ("sky", "horizontal", "vertical")
    save_mat(tmp_path / "SemanticLabels" / SCENES / "a.mat", "S", np.full((1, 5), -1))
    with pytest.raises(DataError, match="SemanticLabels.*integer labels"):
        both[0]
    save_mat(tmp_path / "SemanticLabels" / SCENES / "a.mat", "S", np.ones((1, 5)))
    save_mat(tmp_path / "GeoLabels" / SCENES / "a.mat", "S", np.full((1, 5), 4))
    with pytest.raises(DataError, match=r"GeoLabels.*a.mat: expected labels 1 to 3.*found 4"):
        check_labels(both)


def loaded(path, key):
    return scipy.io.loadmat(path)[key].astype(int)


@needs_nyud
def test_real_nyud():
    root = SHARED / "nyud"
    source = NYUDv2(split="trainval", inputs=("color", "depth"), root=SHARED)
    parts = [NYUDv2(split=s, root=SHARED) for s in ("train", "val", "holdout", "rest")]
    assert [len(part) for part in parts] == [381, 414, 100, 695]
    assert set(parts[2].ids) | set(parts[3].ids) == set(source.ids)
    assert " ".join(source.class_names) == " ".join(
        (root / "classes.txt").read_text().split("\n\n")[0].split("\n")
    )
    batch = evaluation_batches(source, batch_size=2)[0]
    for row, i in enumerate(batch["index"]):
        stem = f"img_{source.ids[i]}"
        with Image.open(root / f"data/depth/{stem}.png") as depth:
            np.testing.assert_array_equal(batch["image"]["depth"][row, ..., 0], np.array(depth))
        with Image.open(root / f"data/images/{stem}.jpg") as color:
            np.testing.assert_array_equal(batch["image"]["color"][row], np.array(color))
        stored = loaded(root / f"segmentation/{stem}.mat", "segmentation")
        np.testing.assert_array_equal(batch["label"][row], np.where(stored > 0, stored - 1, 255))


@needs_sift
def test_real_sift_flow_with_two_labels():
    source = SIFTFlow(split="holdout", labels=("semantic", "geometric"), root=SHARED)
    loader = Batches(source, batch_size=4, seed=0, with_replacement=False)
    batch = loader[0]
    for row, (i, _) in enumerate(loader.plan(0)):
        for name, folder in (("semantic", "SemanticLabels"), ("geometric", "GeoLabels")):
            path = SHARED / "sift-flow" / folder / SCENES / f"{source.ids[i]}.mat"
            stored = loaded(path, "S")
            wanted = np.where(stored > 0, stored - 1, 255)
            np.testing.assert_array_equal(batch["label"][name][row], wanted)


@pytest.mark.slow
@needs_nyud
def test_every_label_of_real_nyud():
    """All values and sizes, against counts by scipy alone."""
    source = NYUDv2(split="trainval", inputs=("color", "depth"), root=SHARED)
    checked = check_labels(source)
    assert (checked.sizes == (425, 560)).all() and checked.absent == ("otherprop",)
    assert checked.pixels.tolist() == counted(SHARED / "nyud/segmentation", "segmentation", 40)


@pytest.mark.slow
@needs_sift
def test_every_label_of_real_sift_flow():
    source = SIFTFlow(split="trainval", labels=("semantic", "geometric"), root=SHARED)
    checked = check_labels(source)
    assert (checked.sizes == 256).all() and checked.absent["geometric"] == ()
    for name, folder, k in (("semantic", "SemanticLabels", 33), ("geometric", "GeoLabels", 3)):
        path = SHARED / "sift-flow" / folder / SCENES
        assert checked.pixels[name].tolist() == counted(path, "S", k)


def counted(folder, key, classes):
    """Pixels of 1 .. classes, then all others."""
    total = np.zeros(classes + 1, int)
    for path in folder.glob("*.mat"):
        stored = np.maximum(loaded(path, key), 0)
        total += np.bincount(stored.ravel(), minlength=classes + 1)
    return [*total[1:].tolist(), int(total[0])]
