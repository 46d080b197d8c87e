"""Any data set of TFDS as a source: pixels, palettes, names, threads, and what is refused."""

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
from PIL import Image
from test_data_sources import make_voc, save_list
from tfds_files import PALETTE, label_of, prepare

from fcn_jax.data import VOC, Batches, DataError, check_labels, read_ahead
from fcn_jax.data.tfds import TFDS
from fcn_jax.prepare.tfds import build

VOC_DATA = Path(__file__).parents[2] / "shared" / "data" / "voc"

SCRIPT = """
import sys
opencv = sys.argv[3] == "with OpenCV"
if not opencv:
    sys.modules["cv2"] = None  # importing it fails, as if it were not installed
from fcn_jax.data.tfds import TFDS
assert "tensorflow_datasets" not in sys.modules
import numpy as np
import tensorflow_datasets as tfds
from fcn_jax.prepare.tfds import build
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
ours = TFDS(builder="voc_segmentation/2012", split="train", root=out)
foreign = TFDS(builder="foreign", split="train", label="mask", root=out)
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
        pytest.importorskip("cv2", reason="without OpenCV there is nothing to test")
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


def test_data_sets_with_other_features(tmp_path):
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
    with pytest.raises(DataError, match="'segmentation_mask' does not name.*classes=21"):
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


def test_images_that_are_not_labels_are_refused(tmp_path):
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
    messages = {"small": "'small'.*2 columns", "broken": "'broken'.*of no known kind"}
    for label, message in messages.items():
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
        TFDS(builder="voc_segmentation", split="train").at(voc / "tfds"),
        VOC(split="train"),
    )
    for got, want in zip(
        read_ahead(reader(source), 0, 6, threads=8),
        read_ahead(reader(files.at(voc)), 0, 6, threads=0),
        strict=True,
    ):
        for key in want:
            np.testing.assert_array_equal(got[key], want[key])
    # No file is open before the threads start.
    source = dataclasses.replace(source)
    with ThreadPoolExecutor(8) as pool:
        labels = list(pool.map(lambda i: source[i % 20].label, range(60)))
    for i, label in enumerate(labels):
        np.testing.assert_array_equal(label, files.at(voc)[i % 20].label)


def test_names_splits_and_folders(voc):
    source = TFDS(builder="voc_segmentation/2012:1.0.0", split="train[50%:]", root=voc / "tfds")
    assert [e.name for e in source] == [f"i{n}" for n in range(10, 20)]
    assert source == eval(repr(source).replace("PosixPath", "Path")) and hash(source)
    with pytest.raises(IndexError):
        source[10]
    with pytest.raises(DataError, match="'test'.*Splits there: train, validation"):
        len(dataclasses.replace(source, split="test"))
    with pytest.raises(
        DataError, match="found voc_segmentation/2012/1.0.0.*fcn_jax.prepare.tfds.build"
    ):
        len(dataclasses.replace(source, builder="voc_segmentation/2011"))
    with pytest.raises(DataError, match="found nothing there"):
        len(source.at(voc / "VOC2012"))


def test_other_formats_are_named(voc):
    [info] = (voc / "tfds").glob("*/*/*/dataset_info.json")
    folder = voc / "records" / info.parent.relative_to(voc / "tfds")
    folder.mkdir(parents=True)
    text = json.loads(info.read_text())
    text["fileFormat"] = "tfrecord"
    (folder / info.name).write_text(json.dumps(text))
    (folder / "features.json").write_text((info.parent / "features.json").read_text())
    with pytest.raises(DataError, match="from array records.*TFRECORD(.|\n)*array_record"):
        len(TFDS(builder="voc_segmentation/2012", split="train", root=voc / "records"))


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
    source = TFDS(builder="voc_segmentation/2012", split="train", root=tmp_path / "tfds")
    for example, want in zip(source, VOC(split="train", root=tmp_path), strict=True):
        np.testing.assert_array_equal(example.image, want.image)
        np.testing.assert_array_equal(example.label, want.label)
    assert check_labels(source).pixels.sum() == sum(
        np.prod(source.size(i)) for i in range(len(ids))
    )
