"""The FCN papers' data sets as TFDS builders: every pixel equals the reader's."""

import numpy as np
import pytest
import tensorflow_datasets as tfds
import tyro
from PIL import Image
from test_data_sources import SCENES, make_sbd, make_sift, make_voc, save_image, save_list, save_mat
from tfds_files import label_of

from fcn_jax.commands.tfds import tfds as tfds_command
from fcn_jax.data import SBD, VOC, DataError, SIFTFlow, Source
from fcn_jax.data.nyud import NYUDv2
from fcn_jax.data.pascal_context import PASCALContext
from fcn_jax.data.tfds import TFDS
from fcn_jax.prepare.tfds import SIFTFlowSegmentation, build


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


# By builder: a function that makes its folder, and the reader of each of its splits.
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
        source = TFDS(builder=name, split=split).at(tmp_path / "tfds")
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
            # What TFDS itself decodes; the photograph's file is unchanged.
            np.testing.assert_array_equal(records[i]["segmentation_mask"][..., 0], want.label)
            assert files[i]["image"] == reader.image_path(want.name).read_bytes()


def test_sift_flow_has_both_labels_and_holds_200_images_out(tmp_path):
    make_sift_both(tmp_path)
    builder = build("sift_flow/both", tmp_path, tmp_path / "tfds")
    assert builder.info.splits["validation"].num_examples == 200
    for mask, labels in {"segmentation_mask": "semantic", "geometric_mask": "geometric"}.items():
        reader = SIFTFlow(split="train", labels=labels, root=tmp_path)
        source = TFDS(builder="sift_flow/both", split="train", label=mask, root=tmp_path / "tfds")
        assert source.class_names == tuple(reader.class_names) and len(source) == 5
        for example, want in zip(source, reader, strict=True):
            assert example.name == want.name
            np.testing.assert_array_equal(example.image, want.image)
            np.testing.assert_array_equal(example.label, want.label)
    semantic = SIFTFlowSegmentation(config="semantic", data_dir=tmp_path / "tfds").info.features
    assert set(semantic) == {"image", "segmentation_mask", "file_name"}


def test_a_build_that_fails_leaves_nothing_and_can_be_repeated(tmp_path):
    make_voc(tmp_path, train=["a", "b"], val=["c"])
    missing = tmp_path / "VOC2012" / "JPEGImages" / "b.jpg"
    image, out = missing.read_bytes(), tmp_path / "tfds"
    missing.unlink()
    with pytest.raises(DataError, match="b.jpg: there is no such file"):
        build("voc_segmentation/2012", tmp_path, out)
    with pytest.raises(DataError, match="not prepared"):
        len(TFDS(builder="voc_segmentation/2012", split="train", root=out))
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
    assert len(TFDS(builder="voc_segmentation/2012", split="train", root=out)) == 2
    label.unlink()  # a prepared data set does not need it
    assert build("voc_segmentation/2012", tmp_path, out).info.splits["train"].num_examples == 2


def test_missing_folders_and_builders_are_named(tmp_path):
    with pytest.raises(DataError, match="nowhere: no such folder"):
        build("sbd", tmp_path / "nowhere", tmp_path / "tfds")
    with pytest.raises(DataError, match="no builder 'voc'.*voc_segmentation/2011.*pascal_context"):
        build("voc", tmp_path, tmp_path / "tfds")
    with pytest.raises(DataError, match="no cls found"):
        build("sbd", tmp_path, tmp_path / "tfds")


def test_command_line(tmp_path, capsys):
    make_voc(tmp_path, train=["a", "b"], val=["c"])
    rest = ["--data-dir", str(tmp_path / "tfds")]
    tyro.cli(tfds_command, args=["voc_segmentation/2012", "--data", str(tmp_path), *rest])
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == "voc_segmentation/2012/1.0.0: train 2, validation 1"
    with pytest.raises(SystemExit) as end:
        tyro.cli(tfds_command, args=["sbd", "--data", str(tmp_path / "nowhere"), *rest])
    assert end.value.code == 1
    assert f"error: {tmp_path / 'nowhere'}: no such folder" in capsys.readouterr().err
