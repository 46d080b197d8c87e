"""The papers' sets as TFDS builders, and any TFDS set as a source: the same pixels throughout."""

import dataclasses
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
import tyro
from PIL import Image
from test_data_sources import SCENES, make_sbd, make_sift, make_voc, save_image, save_list, save_mat

from fcn_jax.data import SBD, VOC, Batches, DataError, SIFTFlow, Source, check_labels, read_ahead
from fcn_jax.data.nyud import NYUDv2
from fcn_jax.data.pascal_context import PASCALContext
from fcn_jax.data.tfds_source import TFDS, parse
from fcn_jax.tfds import SIFTFlowSegmentation, build
from fcn_jax.tfds.__main__ import main

VOC_DATA = Path(__file__).parents[2] / "shared" / "data" / "voc"
PALETTE = [7 * v % 256 for v in range(768)]


@pytest.fixture(scope="module", autouse=True)
def no_progress_bars():
    tfds.disable_progress_bar()
    yield
    tfds.enable_progress_bar()


def label_of(seed, classes, h=6, w=8):
    label = np.random.default_rng(seed).integers(0, classes, (h, w)).astype(np.uint8)
    label[0] = 255
    return label


def make_nyud(root):
    for split, ids in {"train": ["5003", "5001"], "val": ["5002"]}.items():
        save_list(root / "nyud" / f"{split}.txt", ids)
        for i in ids:
            save_image(root / "nyud" / "data" / "images" / f"img_{i}.png", seed=int(i))
            stored = label_of(int(i), 40) + np.uint8(1)  # 255 wraps to 0 = void
            save_mat(root / "nyud" / "segmentation" / f"img_{i}.mat", {"segmentation": stored})


def make_context(root):
    names = [n for n in PASCALContext(split="train").class_names if n != "background"]
    stored_as = {"diningtable": "table", "bedcloth": "bedclothes", "clothes": "cloth"}
    known = [f"other{i}" for i in range(400)] + [stored_as.get(n, n) for n in names[::-1]]
    folder = root / "context"
    save_list(folder / "labels.txt", [f"{i}: {n}" for i, n in enumerate(known, 1)])
    save_list(folder / "59_labels.txt", [f"{i}: {n}" for i, n in enumerate(names, 1)])
    for split, ids in {"train": ["2008_000002"], "val": ["2008_000003"]}.items():
        save_list(root / "VOC2010" / "ImageSets" / "Main" / f"{split}.txt", ids)
        for i in ids:
            save_image(root / "VOC2010" / "JPEGImages" / f"{i}.jpg", seed=int(i[5:]))
            stored = np.random.default_rng(int(i[5:])).integers(1, 460, (6, 8))
            save_mat(folder / "trainval" / f"{i}.mat", {"LabelMap": stored.astype(np.uint16)})


def make_sift_both(root):
    ids = [f"scene{i:03}" for i in range(205)]
    rng = np.random.default_rng(0)
    labels = {i: rng.integers(0, 34, (4, 5)) for i in ids}
    make_sift(root / "sift-flow", labels, trainval=ids)
    for i in ids:
        geometric = rng.integers(-1, 4, (4, 5))
        save_mat(root / "sift-flow" / "GeoLabels" / SCENES / f"{i}.mat", {"S": geometric})


# Builder, what makes its folder, its splits with the reader of each.
SETS = {
    "voc_segmentation/2012": (
        lambda root: make_voc(root / "VOCdevkit", 2012, train=["b", "a"], val=["c"]),
        {"train": VOC(split="train"), "validation": VOC(split="val")},
    ),
    "voc_segmentation/2011": (
        lambda root: make_voc(root, 2011, train=["b", "a"], val=["c", "d"], seg11valid=["d"]),
        {
            "train": VOC(year=2011, split="train"),
            "validation": VOC(year=2011, split="val"),
            "seg11valid": VOC(year=2011, split="seg11valid"),
        },
    ),
    "sbd": (
        lambda root: make_sbd(root / "dataset", train=["y", "x"], val=["z"]),
        {"train": SBD(split="train"), "validation": SBD(split="val")},
    ),
    "nyud_v2_40": (
        make_nyud,
        {"train": NYUDv2(split="train"), "validation": NYUDv2(split="val")},
    ),
    "pascal_context": (
        make_context,
        {"train": PASCALContext(split="train"), "validation": PASCALContext(split="val")},
    ),
}


@pytest.mark.parametrize("name", SETS)
def test_a_built_set_equals_its_reader_pixel_for_pixel(tmp_path, name):
    make, splits = SETS[name]
    make(tmp_path / "data")
    builder = build(name, tmp_path / "data", tmp_path / "tfds")
    assert set(builder.info.splits) == set(splits)
    assert "255 = ignored" in builder.info.description and "@" in builder.info.citation
    for split, reader in splits.items():
        reader = reader.at(tmp_path / "data")
        source = TFDS(name=name, split=split).at(tmp_path / "tfds")
        records = builder.as_data_source(split)
        files = builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
        assert isinstance(source, Source) and len(source) == len(reader) == len(records) > 0
        assert source.class_names == tuple(reader.class_names)
        assert source.num_classes == reader.num_classes
        for i, (example, want) in enumerate(zip(source, reader, strict=True)):
            assert example.name == want.name and source.size(i) == want.label.shape
            np.testing.assert_array_equal(example.image, want.image)
            np.testing.assert_array_equal(example.label, want.label)
            assert example.label.dtype == example.image.dtype == np.uint8
            # What TFDS itself decodes, and the photograph's file as it was.
            np.testing.assert_array_equal(records[i]["segmentation_mask"][..., 0], want.label)
            assert files[i]["image"] == reader.image_path(want.name).read_bytes()


def test_sift_flow_has_both_labels_and_holds_200_images_out(tmp_path):
    make_sift_both(tmp_path)
    builder = build("sift_flow/both", tmp_path, tmp_path / "tfds")
    assert builder.info.splits["validation"].num_examples == 200
    for mask, labels in {"segmentation_mask": "semantic", "geometric_mask": "geometric"}.items():
        reader = SIFTFlow(split="train", labels=labels, root=tmp_path)
        source = TFDS(name="sift_flow/both", split="train", label=mask, root=tmp_path / "tfds")
        assert source.class_names == tuple(reader.class_names) and len(source) == 5
        for example, want in zip(source, reader, strict=True):
            assert example.name == want.name
            np.testing.assert_array_equal(example.image, want.image)
            np.testing.assert_array_equal(example.label, want.label)
    semantic = SIFTFlowSegmentation(config="semantic", data_dir=tmp_path / "tfds").info.features
    assert set(semantic) == {"image", "segmentation_mask", "file_name"}


SCRIPT = """
import sys
opencv = sys.argv[3] == "with OpenCV"
if not opencv:
    sys.modules["cv2"] = None  # importing it fails, as if it were not installed
from fcn_jax.data.tfds_source import TFDS
assert "tensorflow_datasets" not in sys.modules
import numpy as np
import tensorflow_datasets as tfds
from fcn_jax.tfds import build
tfds.disable_progress_bar()
data, out = sys.argv[1:3]

class Foreign(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")
    def _info(self):
        mask = tfds.features.LabeledImage(labels=21, shape=(None, None, 1))
        image = tfds.features.Image(shape=(None, None, 3))
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict({"image": image, "mask": mask}))
    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}
    def _generate_examples(self):
        yield "a", {"image": f"{data}/VOC2012/JPEGImages/a.jpg",
                    "mask": f"{data}/VOC2012/SegmentationClass/a.png"}

Foreign(data_dir=out, file_format="array_record").download_and_prepare()
records = build("voc_segmentation/2012", data, out).as_data_source("train")
ours = TFDS(name="voc_segmentation/2012", split="train", root=out)
foreign = TFDS(name="foreign", split="train", label="mask", root=out)
np.savez(f"{out}/got.npz", plain=records[0]["segmentation_mask"][..., 0], ours=ours[0].label,
         foreign=foreign[0].label, image=ours[0].image)
assert "tensorflow" not in sys.modules
assert bool(sys.modules.get("cv2")) == opencv
assert foreign[0].name == "000000"
"""


@pytest.mark.parametrize("opencv", [True, False])
def test_palette_indices_survive_with_and_without_opencv_and_nothing_needs_tensorflow(
    tmp_path, opencv
):
    if opencv:
        pytest.importorskip("cv2", reason="without OpenCV there is no trap")
    make_voc(tmp_path, train=["a"], val=["a"])
    path = tmp_path / "VOC2012" / "SegmentationClass" / "a.png"
    picture = Image.fromarray(label_of(0, 21)).convert("L")
    picture.putpalette(PALETTE)
    picture.save(path)
    which = "with OpenCV" if opencv else "without"
    subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT, tmp_path, tmp_path / "tfds", which],
        check=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
    )
    with Image.open(path) as stored:
        assert stored.mode == "P"
        want = np.asarray(stored)
    with np.load(tmp_path / "tfds" / "got.npz") as got:
        for reader in ("plain", "ours", "foreign"):
            np.testing.assert_array_equal(got[reader], want, err_msg=reader)
        with Image.open(tmp_path / "VOC2012" / "JPEGImages" / "a.jpg") as image:
            np.testing.assert_array_equal(got["image"], np.asarray(image))


def prepare(folder, name, features, examples, file_format="array_record"):
    """A prepared data set with these features."""

    class Made(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True
            )

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            yield from enumerate(examples)

    Made.name = name
    Made(data_dir=folder, file_format=file_format).download_and_prepare()
    return TFDS(name=name, split="train", root=folder)


def test_sets_of_other_shapes(tmp_path):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (5, 4, 3), dtype=np.uint8)
    label = rng.integers(0, 9, (5, 4), dtype=np.uint8)
    gray = Image.fromarray(image[..., 0])
    tensors = {
        "image": tfds.features.Tensor(shape=(None, None, 3), dtype=np.uint8, encoding="zlib"),
        "segmentation_mask": tfds.features.Tensor(shape=(5, 4), dtype=np.int64),
        "image_id": tfds.features.Text(),
        "boxes": tfds.features.Sequence(tfds.features.BBoxFeature()),
    }
    example = {
        "image": image,
        "segmentation_mask": label.astype(np.int64),
        "image_id": "é/1",
        "boxes": [],
    }
    source = prepare(tmp_path, "arrays", tensors, [example])
    got = source[0]
    assert got.name == "é/1" and source.size(0) == (5, 4) and got.label.dtype == np.uint8
    np.testing.assert_array_equal(got.image, image)
    np.testing.assert_array_equal(got.label, label)
    with pytest.raises(DataError, match="'segmentation_mask' does not say.*classes=21"):
        len(source.class_names)
    assert dataclasses.replace(source, classes=9).class_names[8] == "class 8"

    pictures = {
        "photo": tfds.features.Image(shape=(None, None, 1)),
        "mask": tfds.features.Image(shape=(None, None, 1)),
        "depth": tfds.features.Image(shape=(None, None, 1), dtype=np.uint16),
    }
    example = {"photo": gray, "mask": Image.fromarray(label), "depth": gray}
    source = prepare(tmp_path, "pictures", pictures, [example] * 3)
    source = dataclasses.replace(source, image="photo", label="mask", classes=("x", "y"))
    assert source.num_classes == 2 and [e.name for e in source][2] == "000002"
    np.testing.assert_array_equal(source[2].image, np.repeat(image[..., :1], 3, axis=2))
    np.testing.assert_array_equal(source[-1].label, label)
    assert source[-1].name == "000002"
    with pytest.raises(DataError, match="uint8 images.*'depth'.*uint16"):
        dataclasses.replace(source, image="depth")[0]
    with pytest.raises(DataError, match="no feature 'segmentation_mask'.*photo"):
        dataclasses.replace(source, label="segmentation_mask")[0]


def test_values_are_mapped_to_classes(tmp_path):
    stored = np.array([[0, 1, 2, 255], [3, 3, 1, 0]], np.uint8)
    features = {
        "image": tfds.features.Image(shape=(None, None, 3)),
        "segmentation_mask": tfds.features.Image(shape=(None, None, 1)),
    }
    image = Image.new("RGB", (4, 2))
    example = {"image": image, "segmentation_mask": Image.fromarray(stored)}
    source = prepare(tmp_path, "trimap", features, [example])
    mapped = dataclasses.replace(source, classes=3, values=(255, 0, 1, 2))
    assert mapped[0].label.tolist() == [[255, 0, 1, 255], [2, 2, 0, 255]]
    assert check_labels(mapped).pixels.tolist() == [2, 1, 2, 3]
    with pytest.raises(DataError, match="trimap.*found 3.*0 to 2 only"):
        dataclasses.replace(source, classes=2, values=(255, 0, 1))[0]
    with pytest.raises(DataError, match=r"each 0 to 1 or 255.*\[2\]"):
        dataclasses.replace(source, classes=2, values=(0, 1, 2))
    with pytest.raises(DataError, match="`classes`"):
        dataclasses.replace(source, values=(0, 1))
    with pytest.raises(DataError, match="1 to 255 classes"):
        dataclasses.replace(source, classes=0)


def test_labels_that_are_none_are_refused(tmp_path):
    image = Image.new("RGB", (4, 2))
    features = {
        "image": tfds.features.Image(shape=(None, None, 3)),
        "segmentation_mask": tfds.features.Image(shape=(None, None, 1)),
        "small": tfds.features.Image(shape=(None, None, 1)),
        "broken": tfds.features.Image(shape=(None, None, 1)),
    }
    example = {
        "image": image,
        "segmentation_mask": image,
        "small": Image.new("L", (2, 2)),
        "broken": b"\x89PNG\r\n\x1a\n",
    }
    source = prepare(tmp_path, "wrong", features, [example])
    with pytest.raises(DataError, match="wrong, train example 0, 'segmentation_mask'.*colours"):
        source[0]
    for label, message in {"small": "'small'.*2 columns", "broken": "'broken'.*cannot be"}.items():
        with pytest.raises(DataError, match=message):
            dataclasses.replace(source, label=label)[0]


@pytest.fixture(scope="module")
def voc(tmp_path_factory):
    root = tmp_path_factory.mktemp("voc")
    make_voc(root, train=[f"i{n}" for n in range(20)], val=["v"])
    build("voc_segmentation/2012", root, root / "tfds")
    return root


def test_threads_read_the_same(voc):
    def reader(source):
        return Batches(source, batch_size=4, seed=1, with_replacement=False)

    source, files = (
        TFDS(name="voc_segmentation", split="train").at(voc / "tfds"),
        VOC(split="train"),
    )
    for got, want in zip(
        read_ahead(reader(source), 0, 6, threads=8),
        read_ahead(reader(files.at(voc)), 0, 6, threads=0),
        strict=True,
    ):
        for key in want:
            np.testing.assert_array_equal(got[key], want[key])
    # Nothing has been opened before the threads start.
    source = dataclasses.replace(source)
    with ThreadPoolExecutor(8) as pool:
        labels = list(pool.map(lambda i: source[i % 20].label, range(60)))
    for i, label in enumerate(labels):
        np.testing.assert_array_equal(label, files.at(voc)[i % 20].label)


def test_names_splits_and_folders(voc):
    source = TFDS(name="voc_segmentation/2012:1.0.0", split="train[50%:]", root=voc / "tfds")
    assert [e.name for e in source] == [f"i{n}" for n in range(10, 20)]
    assert source == eval(repr(source).replace("PosixPath", "Path")) and hash(source)
    with pytest.raises(IndexError):
        source[10]
    with pytest.raises(DataError, match="'test'.*Splits there: train, validation"):
        len(dataclasses.replace(source, split="test"))
    with pytest.raises(DataError, match="found voc_segmentation/2012/1.0.0.*fcn_jax.tfds.build"):
        len(dataclasses.replace(source, name="voc_segmentation/2011"))
    with pytest.raises(DataError, match="found nothing there"):
        len(source.at(voc / "VOC2012"))
    assert parse("tfds:voc_segmentation/2011", split="train", classes=3) == TFDS(
        name="voc_segmentation/2011", split="train", classes=3
    )
    for text in ("voc_segmentation", "tfds:", "tfds:kaggle:voc", "tfds:a/b/c", "tfds:../a"):
        with pytest.raises(DataError, match="expected"):
            parse(text, split="train")


def test_other_formats_are_named(voc):
    [info] = (voc / "tfds").glob("*/*/*/dataset_info.json")
    folder = voc / "records" / info.parent.relative_to(voc / "tfds")
    folder.mkdir(parents=True)
    text = json.loads(info.read_text())
    text["fileFormat"] = "tfrecord"
    (folder / info.name).write_text(json.dumps(text))
    (folder / "features.json").write_text((info.parent / "features.json").read_text())
    with pytest.raises(DataError, match="from array records.*TFRECORD(.|\n)*array_record"):
        len(TFDS(name="voc_segmentation/2012", split="train", root=voc / "records"))


def test_a_build_that_fails_leaves_nothing_and_can_be_repeated(tmp_path):
    make_voc(tmp_path, train=["a", "b"], val=["c"])
    missing = tmp_path / "VOC2012" / "JPEGImages" / "b.jpg"
    image, out = missing.read_bytes(), tmp_path / "tfds"
    missing.unlink()
    with pytest.raises(DataError, match="b.jpg: no such file"):
        build("voc_segmentation/2012", tmp_path, out)
    with pytest.raises(DataError, match="not prepared"):
        len(TFDS(name="voc_segmentation/2012", split="train", root=out))
    missing.write_bytes(image)
    label = tmp_path / "VOC2012" / "SegmentationClass" / "a.png"
    good = label.read_bytes()
    for wrong, message in {
        "values": "a.png: expected labels 0 to 20.*found 21",
        "size": "a.png.*columns",
    }.items():
        h, w = (6, 8) if wrong == "values" else (3, 3)
        Image.fromarray(np.full((h, w), 21, np.uint8)).save(label)
        with pytest.raises(DataError, match=message):
            build("voc_segmentation/2012", tmp_path, out)
    label.write_bytes(good)
    build("voc_segmentation/2012", tmp_path, out)
    assert len(TFDS(name="voc_segmentation/2012", split="train", root=out)) == 2
    label.unlink()  # not looked at again
    assert build("voc_segmentation/2012", tmp_path, out).info.splits["train"].num_examples == 2


def test_building_what_is_not_there(tmp_path):
    with pytest.raises(DataError, match="nowhere: no such folder"):
        build("sbd", tmp_path / "nowhere", tmp_path / "tfds")
    with pytest.raises(DataError, match="voc_segmentation/2011.*pascal_context.*got 'voc'"):
        build("voc", tmp_path, tmp_path / "tfds")
    with pytest.raises(DataError, match="no cls found"):
        build("sbd", tmp_path, tmp_path / "tfds")


def test_command_line(tmp_path, capsys):
    make_voc(tmp_path, train=["a", "b"], val=["c"])
    rest = ["--data-dir", str(tmp_path / "tfds")]
    tyro.cli(main, args=["voc_segmentation/2012", "--data", str(tmp_path), *rest])
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == "voc_segmentation/2012/1.0.0: train 2, validation 1"
    with pytest.raises(SystemExit, match="error: .*nowhere: no such folder"):
        tyro.cli(main, args=["sbd", "--data", str(tmp_path / "nowhere"), *rest])


@pytest.mark.skipif(not VOC_DATA.is_dir(), reason="needs the real data beside the repository")
def test_real_photographs(tmp_path):
    real = VOC_DATA / "VOC2012"
    folder = tmp_path / "VOC2012"
    (folder / "ImageSets" / "Segmentation").mkdir(parents=True)
    for name in ("JPEGImages", "SegmentationClass"):
        (folder / name).symlink_to(real / name)
    ids = VOC(split="train", root=VOC_DATA).ids
    save_list(folder / "ImageSets" / "Segmentation" / "train.txt", ids)
    save_list(folder / "ImageSets" / "Segmentation" / "val.txt", ids[:1])
    build("voc_segmentation/2012", tmp_path, tmp_path / "tfds")
    source = TFDS(name="voc_segmentation/2012", split="train", root=tmp_path / "tfds")
    for example, want in zip(source, VOC(split="train", root=tmp_path), strict=True):
        np.testing.assert_array_equal(example.image, want.image)
        np.testing.assert_array_equal(example.label, want.label)
    assert check_labels(source).pixels.sum() == sum(
        np.prod(source.size(i)) for i in range(len(ids))
    )
