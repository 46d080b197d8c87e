"""Published layouts: CamVid, Cityscapes, ADE20K; which one a folder has, and its options."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import layout_files
import numpy as np
import pytest
from layout_files import label_of, save_image, save_label
from PIL import Image

from fcn_jax.data import (
    ADE20K,
    CamVid,
    Cityscapes,
    DataError,
    Folders,
    LabelValues,
    Source,
    check_labels,
)
from fcn_jax.data.check import check_apart
from fcn_jax.data.layouts import data_sets, recognised
from fcn_jax.data.reread import reread
from fcn_jax.labels import SetOptions
from fcn_jax.runs.description import build, describe


def labels(source):
    return {name: source.read_label(name) for name in source.ids}


def stored(source):
    return {name: np.asarray(Image.open(source.label_path(name))) for name in source.ids}


def test_camvid_void_is_ignored(tmp_path):
    source = CamVid(split="train").at(layout_files.camvid(tmp_path))
    assert len(source) == 4 and isinstance(source, Source) and source.num_classes == 11
    assert source.class_names[0] == "sky" and source.class_names[10] == "bicyclist"
    for name, label in labels(source).items():
        found = stored(source)[name]
        assert set(np.unique(found)) == set(range(12))
        np.testing.assert_array_equal(label, np.where(found == 11, 255, found))
    assert source[0].image.shape == (6, 8, 3)
    assert CamVid(split="val").at(tmp_path.parent / tmp_path.name).ids[0] == "0001TP_006690"
    (tmp_path / "trainannot" / "0001TP_006690.png").unlink()
    with pytest.raises(DataError, match="1 of 4 images have no label: 0001TP_006690"):
        len(CamVid(split="train").at(tmp_path))
    with pytest.raises(DataError, match="no testannot found(.|\n)*CamVid/{train,val,test}/ID.png"):
        len(CamVid(split="test").at(tmp_path / "nowhere"))


def test_camvid_files_of_one_name_in_sub_folders_are_all_read(tmp_path):
    for n, name in enumerate(("seq0/0000", "seq1/0000", "seq1/0001")):
        save_image(tmp_path / "train" / f"{name}.png", n)
        save_label(tmp_path / "trainannot" / f"{name}.png", np.full((6, 8), n))
    source = CamVid(split="train").at(tmp_path)
    assert source.ids == ("seq0/0000", "seq1/0000", "seq1/0001")
    assert [int(label[0, 0]) for label in labels(source).values()] == [0, 1, 2]
    save_image(tmp_path / "train" / "seq1" / "0000.jpg")
    with pytest.raises(DataError, match=r"seq1/0000\.jpg and .*seq1/0000\.png have one name"):
        len(CamVid(split="train").at(tmp_path))


def test_camvid_labels_may_lie_in_other_sub_folders_where_names_are_unlike(tmp_path):
    save_image(tmp_path / "train" / "a.png")
    save_label(tmp_path / "trainannot" / "seq0" / "a.png", label_of(0, range(12)))
    assert CamVid(split="train").at(tmp_path).ids == ("a",)


def test_camvid_lists_of_segnet_choose_and_order(tmp_path):
    root = layout_files.camvid(tmp_path / "CamVid")
    names = [f"0001TP_{6690 + 30 * n:06d}.png" for n in (2, 0)]
    lines = [f"/SegNet/CamVid/train/{name} /SegNet/CamVid/trainannot/{name}" for name in names]
    (root / "train.txt").write_text("\n".join(lines))
    source = CamVid(split="train").at(tmp_path)
    assert [f"{name}.png" for name in source.ids] == names
    assert source.label_path(source.ids[0]) == root / "trainannot" / names[0]
    (root / "train.txt").write_text(f"{lines[0]}\n/SegNet/CamVid/train/x.png /y.png\n")
    with pytest.raises(DataError, match=r"train\.txt, line 2: expected the paths"):
        len(CamVid(split="train").at(tmp_path))


def test_cityscapes_label_ids_become_train_ids(tmp_path):
    # helpers/labels.py of cityscapesScripts: the trainId of each labelId, 0 to 33.
    train_ids = [255] * 7 + [0, 1, 255, 255, 2, 3, 4, 255, 255, 255, 5, 255, 6, 7, 8, 9, 10, 11]
    train_ids += [12, 13, 14, 15, 255, 255, 16, 17, 18]
    root = layout_files.cityscapes(tmp_path, values=(*range(34), 255))
    source = Cityscapes(split="train").at(root)
    assert source.ids[0] == "aachen/aachen_000000_000019" and len(source) == 4
    table = np.array([*train_ids, *[99] * 221, 255])
    for name, label in labels(source).items():
        np.testing.assert_array_equal(label, table[stored(source)[name]])
    assert source.num_classes == 19 and source.class_names[18] == "bicycle"
    assert source.image_path(source.ids[0]).name == "aachen_000000_000019_leftImg8bit.png"
    assert Cityscapes(split="val").at(root).ids[0].startswith("lindau/")
    save_label(source.label_path(source.ids[1]), np.full((6, 8), 34))
    with pytest.raises(DataError, match=r"000001_000019_gtFine_labelIds\.png: found 34"):
        check_labels(source)


def test_ade20k_counts_from_one_and_255_survives(tmp_path):
    root = layout_files.ade20k(tmp_path, values=(0, 1, 2, 150, 255))
    source = ADE20K(split="training").at(root)
    assert source.ids == ("ADE_train_00000001", "ADE_train_00000002")
    for name, label in labels(source).items():
        expected = {0: 255, 1: 0, 2: 1, 150: 149, 255: 255}
        np.testing.assert_array_equal(label, np.vectorize(expected.get)(stored(source)[name]))
    assert (source.num_classes, source.class_names[149]) == (150, "flag")
    assert len(set(source.class_names)) == 150
    assert len(ADE20K(split="validation").at(root / "ADEChallengeData2016")) == 2


def test_ade20k_images_of_any_ending_and_a_folder_one_level_off(tmp_path):
    root = layout_files.ade20k(tmp_path / "a").joinpath("ADEChallengeData2016")
    images = sorted((root / "images" / "training").iterdir())
    images[0].rename(images[0].with_suffix(".JPG"))
    save_image(images[1].with_suffix(".png"), 3)
    images[1].unlink()
    source = ADE20K(split="training").at(root)
    assert [source[i].image.shape for i in range(len(source))] == [(6, 8, 3)] * 2
    save_image(images[1], 3)
    with pytest.raises(DataError, match=r"2\.jpg and .*2\.png have one name"):
        len(ADE20K(split="training").at(root))
    for path in (root / "images" / "training").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="ADE20K training has no images there") as error:
        len(ADE20K(split="training").at(root))
    assert len(str(error.value)) < 300
    (tmp_path / "b").mkdir()
    root.rename(tmp_path / "b" / "one")
    with pytest.raises(DataError, match=r"It is in .*/b/one; give that folder"):
        len(ADE20K(split="training").at(tmp_path / "b"))


LAYOUTS = {
    "camvid": (layout_files.camvid, 11),
    "cityscapes": (layout_files.cityscapes, 19),
    "ade20k": (layout_files.ade20k, 150),
    "coco": (layout_files.coco, 3),
    "coco-panoptic": (lambda r: layout_files.panoptic(r, np.ones((6, 8), int), {1: 3}), 3),
    "labelme": (
        lambda r: layout_files.labelme(
            r, {n: [layout_files.shape("cat", [[1, 1], [5, 1], [5, 4]])] for n in "ab"}
        ),
        2,
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_download_is_recognised_with_its_classes_and_parts(tmp_path, layout):
    make, count = LAYOUTS[layout]
    root = make(tmp_path)
    assert recognised(root) == layout
    train, validation, found = data_sets(SetOptions(), root)
    assert found == layout and train.num_classes == validation.num_classes == count
    for part in (train, validation):
        assert "label_values" in {field.name for field in dataclasses.fields(part)}
        again = build(json.loads(json.dumps(describe(part))))
        assert again == part and hash(again) == hash(part)
        assert len(check_labels(part.at(root), learned=False).sizes) > 0
    train, validation = train.at(root), validation.at(root)
    check_apart(train, validation)
    overlap = {str(train.image_path(n)) for n in train.ids} & {
        str(validation.image_path(n)) for n in validation.ids
    }
    assert not overlap


def test_folders_stay_folders_and_two_layouts_are_refused(tmp_path):
    assert recognised(tmp_path) == "folders"
    assert recognised(tmp_path / "nowhere") == "folders"
    save_image(tmp_path / "images" / "a.png")
    save_label(tmp_path / "labels" / "a.png", label_of(0, (0, 1)))
    (tmp_path / "classes.json").write_text('["a", "b"]')
    assert recognised(tmp_path) == "folders"
    layout_files.camvid(tmp_path)
    with pytest.raises(DataError, match="looks like folders, camvid. Choose one: --layout"):
        recognised(tmp_path)
    assert data_sets(SetOptions(layout="camvid"), tmp_path).layout == "camvid"
    chosen = data_sets(SetOptions(images="images", num_classes=2), tmp_path)
    assert isinstance(chosen.train, Folders)


def test_options_change_the_classes_of_a_layout(tmp_path):
    root = layout_files.camvid(tmp_path)
    train = data_sets(SetOptions(ignore=(0,)), root).train
    assert train.label_values == LabelValues(ignore=(11, 0)) and train.num_classes == 11
    file = tmp_path / "map.csv"
    file.write_text("value,class,name\n0,0,sky\n3,1,road\n*,255,\n")
    train, validation, _ = data_sets(SetOptions(label_map=str(file)), root)
    assert train.class_names == validation.class_names == ("sky", "road")
    label = train.at(root).read_label("0001TP_006690")
    assert set(np.unique(label)) == {0, 1, 255}
    (tmp_path / "names.txt").write_text("a\nb\n")
    with pytest.raises(DataError, match="--num-classes 3: there are 2 classes"):
        options = SetOptions(label_map=str(file), num_classes=3)
        data_sets(options, root)
    for options, option in (
        (SetOptions(layout="camvid", labels="x"), "--labels"),
        (SetOptions(layout="camvid", train_list="x"), "--train-list"),
        (SetOptions(layout="cityscapes", images="x"), "--images"),
    ):
        with pytest.raises(DataError, match=f"{option}: the layout c.* says itself"):
            data_sets(options, root)


def test_how_many_classes_there_are_comes_from_the_options(tmp_path):
    file = tmp_path / "map.json"
    file.write_text('{"0": 0, "7": 4}')
    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    count = lambda **o: data_sets(SetOptions(**o), tmp_path).train.num_classes  # noqa: E731
    assert count(label_map=str(file)) == 5 and count(num_classes=3) == 3
    assert count(class_names=str(tmp_path / "names.txt")) == 3
    with pytest.raises(DataError, match="how many classes are there.*--num-classes N"):
        count()
    with pytest.raises(DataError, match="there is no such folder"):
        data_sets(SetOptions(), tmp_path / "nowhere")
    assert data_sets(SetOptions(), tmp_path, unknown=255).train.num_classes == 255
    with pytest.raises(DataError, match="--num-classes 5"):
        count(label_map=str(file), num_classes=2)


def test_parts_in_folders_of_their_own(tmp_path):
    for split, count in (("train", 3), ("valid", 2)):
        for n in range(count):
            save_image(tmp_path / split / "images" / f"{n}.png", n)
            save_label(tmp_path / split / "masks" / f"{n}.png", label_of(n, (0, 1)))
    options = SetOptions(images="{split}/images", labels="{split}/masks", num_classes=2)
    train, validation, _ = data_sets(options, tmp_path)
    assert (len(train.at(tmp_path)), len(validation.at(tmp_path))) == (3, 2)
    with pytest.raises(DataError, match="no folder parts/train"):
        data_sets(dataclasses.replace(options, images="parts/{split}/x"), tmp_path)


def test_a_run_s_data_set_is_read_with_other_options(tmp_path):
    own = Folders(num_classes=3, held_out=True, label_values=LabelValues(ignore=(9,)))
    assert reread(own, SetOptions(), tmp_path) is own
    changed = reread(own, SetOptions(ignore=(11,), labels="masks/{stem}.bmp"), tmp_path)
    expected = {"labels": "masks/{stem}.bmp", "label_values": LabelValues(ignore=(9, 11))}
    assert changed == dataclasses.replace(own, **expected)
    listed = reread(own, SetOptions(train_list="a.txt", validation_list="b.txt"), tmp_path)
    assert isinstance(listed, Folders) and (listed.split, listed.held_out) == ("b.txt", None)
    camvid = CamVid(split="val")
    changed = reread(camvid, SetOptions(ignore=(0,), bands="3,2,1"), tmp_path)
    assert changed == CamVid(split="val", label_values=LabelValues(ignore=(11, 0)), bands=(3, 2, 1))
    with pytest.raises(DataError, match="CamVid has no validation_list"):
        reread(camvid, SetOptions(train_list="x", validation_list="x"), tmp_path)
    with pytest.raises(DataError, match="has 19 classes, with these options there are 7"):
        reread(Cityscapes(split="val"), SetOptions(num_classes=7), tmp_path)
    root = layout_files.coco(tmp_path / "coco")
    coco = data_sets(SetOptions(), root).validation
    (tmp_path / "m.csv").write_text("value,class\nbackground,0\ncar,1\nperson,2\n")
    again: Any = reread(coco, SetOptions(label_map=str(tmp_path / "m.csv")), root)
    assert dict(again.label_values.mapping) == {-1: 0, 3: 1, 1: 2}
    with pytest.raises(DataError, match="has 3 classes, with these options there are 19"):
        reread(own, SetOptions(layout="cityscapes", num_classes=19), tmp_path)
    from fcn_jax.data import VOC

    with pytest.raises(DataError, match="VOC says itself how its labels are read"):
        reread(VOC(split="val"), SetOptions(ignore=(3,)), Path("data"))


def test_label_options_with_tfds_are_refused():
    from fcn_jax.data.location import located

    with pytest.raises(DataError, match="--ignore.*values=255,0,1,2"):
        located(Folders(num_classes=2, label_values=LabelValues(ignore=(1,))), "tfds:x", "train")
