"""COCO's and labelme's files as labels."""

import json
from pathlib import Path

import numpy as np
import pytest
from layout_files import (
    SQUARE,
    H,
    W,
    annotation,
    coco,
    encoded,
    label_of,
    labelme,
    panoptic,
    save_image,
    shape,
)

from fcn_jax.data import COCOInstances, COCOPanoptic, DataError, LabelMe, check_labels
from fcn_jax.data.check import check_apart
from fcn_jax.data.coco_masks import mask_of, polygon_mask, run_length_mask
from fcn_jax.data.layouts import data_sets
from fcn_jax.labels import SetOptions

GOLDEN = json.loads((Path(__file__).parent / "goldens" / "coco_masks.json").read_text())


def test_polygons_and_compressed_runs_are_those_of_pycocotools():
    for case in GOLDEN:
        h, w = size = tuple(case["size"])
        bits = np.unpackbits(np.frombuffer(bytes.fromhex(case["mask"]), np.uint8))
        expected = bits[: h * w].reshape(h, w).astype(bool)
        np.testing.assert_array_equal(polygon_mask(case["polygon"], size), expected)
        runs = {"size": case["size"], "counts": case["counts"]}
        np.testing.assert_array_equal(run_length_mask(runs, size), expected)
    assert sum(np.any(case["mask"] != "00" * len(case["mask"])) for case in GOLDEN) > 30


def test_plain_runs_go_down_the_columns_and_begin_with_zeros():
    mask = run_length_mask({"size": [2, 3], "counts": [1, 2, 3]}, (2, 3))
    assert mask.astype(int).tolist() == [[0, 1, 0], [1, 0, 0]]
    assert run_length_mask({"size": [1, 2], "counts": [0, 2]}, (1, 2)).all()


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ({"size": [2, 3], "counts": [1, 2]}, "sum 6"),
        ({"size": [3, 2], "counts": [6]}, r"of size \[2, 3\], found \[3, 2\]"),
        ({"size": [2, 3], "counts": [-1, 7]}, "damaged"),
        ({"size": [2, 3], "counts": [2**62, 2**62, 2**62, 2**62, 6]}, "damaged"),
        ({"size": [2, 3], "counts": "@~"}, "damaged at"),
        ({"size": [2, 3], "counts": "P"}, "cut off"),
        ({"size": [2, 3], "counts": None}, "damaged"),
        ([], "no mask"),
        (None, "no mask"),
        ([[1, 2, 3]], "expected a polygon"),
        ([[1, 2, 3, "x", 1, 1]], "expected a polygon"),
        ([[1e9, 1, 2, 2, 3, 3]], "far outside"),
    ],
)
def test_masks_that_are_none_are_refused(segmentation, message):
    with pytest.raises(DataError, match=f"annotation 7.*{message}"):
        mask_of(segmentation, (2, 3), "f.json, annotation 7")


def sets(root, **options):
    train, validation, _ = data_sets(SetOptions(**options), root)
    return train.at(root), validation.at(root)


def square(values):
    """A label in which the square has one value and the rest another."""
    label = np.full((H, W), values[0], np.uint8)
    label[1:4, 1:5] = values[1]
    return label


def test_instances_become_labels_of_their_categories(tmp_path):
    runs = {"size": [H, W], "counts": [5 * H, 2, H - 2, 1, 2 * H - 1]}
    items = [
        annotation(1, [SQUARE], category=3),
        annotation(2, runs, category=1, crowd=1),
        annotation(3, [[0, 4, 2, 4, 2, 6, 0, 6]], category=1, image=11),
    ]
    train, _ = sets(coco(tmp_path, items))
    assert isinstance(train, COCOInstances)
    assert train.class_names == ("background", "person", "car")  # by their ids, 1 and 3
    expected = square((0, 2))
    expected[:2, 5] = 1
    expected[0, 6] = 1
    np.testing.assert_array_equal(train[0].label, expected)
    assert train[1].label[4:, :2].tolist() == [[1, 1], [1, 1]] and train[1].label.sum() == 4
    assert train.ids == ("000000000139", "000000000140")
    assert len(check_labels(train).sizes) == 2


def test_where_objects_of_two_classes_overlap_is_ignored(tmp_path):
    items = [annotation(n, [SQUARE], category=1) for n in (1, 2)]
    train, _ = sets(coco(tmp_path, items))
    np.testing.assert_array_equal(train[0].label, square((0, 1)))
    items.append(annotation(3, [[1, 1, 3, 1, 3, 4, 1, 4]], category=3))
    train, _ = sets(coco(tmp_path, items))
    expected = square((0, 1))
    expected[1:4, 1:3] = 255
    np.testing.assert_array_equal(train[0].label, expected)
    assert not train[1].label.any()  # an image without objects


def test_categories_are_mapped_by_name_or_id(tmp_path):
    root = coco(tmp_path, [annotation(1, [SQUARE], category=3)])
    file = tmp_path / "map.csv"
    for text in (
        "value,class,name\nbackground,1,other\ncar,0,vehicle\nperson,255,\n",
        "value,class,name\n0,1,other\n3,0,vehicle\n1,255,\n",
        "value,class,name\n*,1,other\ncar,0,vehicle\n_background_,1,\n",
    ):
        file.write_text(text)
        train, _ = sets(root, label_map=str(file))
        assert train.class_names == ("vehicle", "other")
        np.testing.assert_array_equal(train[0].label, square((1, 0)))
    for text, message in (
        ("value,name\ncar,car\nperson,person\n", "which class have pixels of no shape"),
        ("value,name\nbackground,b\ncat,cat\n", "names cat; .* has the categories person, car"),
        ("value,name\nbackground,b\ncar,car\n", "found the label 'person'"),
    ):
        file.write_text(text)
        with pytest.raises(DataError, match=message):
            sets(root, label_map=str(file))
    file.write_text("value,class\n0,0\n1,1\n")
    train, _ = sets(root, label_map=str(file))
    with pytest.raises(DataError, match="annotation 1: found 3, which the label map does not"):
        _ = train[0].label


def test_a_single_file_is_divided_and_other_exports_are_found(tmp_path):
    coco(tmp_path / "one", splits=("default",))
    (tmp_path / "one" / "default").rename(tmp_path / "one" / "images")
    train, validation = sets(tmp_path / "one")
    assert len(train) == len(validation) == 1 and set(train.ids).isdisjoint(validation.ids)
    coco(tmp_path / "two")
    for ours, theirs in (("train2017", "train"), ("val2017", "valid")):
        (tmp_path / "two" / ours).rename(tmp_path / "two" / theirs)
        source = tmp_path / "two" / "annotations" / f"instances_{ours}.json"
        source.rename(tmp_path / "two" / theirs / "_annotations.coco.json")
    train, validation = sets(tmp_path / "two")
    assert len(train) == 2 and validation.image_path(validation.ids[0]).parent.name == "valid"
    (tmp_path / "one" / "images" / "000000000139.jpg").unlink()
    with pytest.raises(DataError, match="000000000139.jpg: no such image.*--images FOLDER"):
        len(sets(tmp_path / "one")[0])


def test_panoptic_segments_become_labels_of_their_categories(tmp_path):
    ids = np.zeros((H, W), np.int64)
    ids[1:3], ids[3:5], ids[5] = 7, 256 * 3 + 1, 65536 * 2 + 5
    root = panoptic(tmp_path, ids, {7: 200, 256 * 3 + 1: 3, 65536 * 2 + 5: 1})
    train, _ = sets(root)
    assert isinstance(train, COCOPanoptic) and train.class_names == ("person", "car", "rug")
    expected = np.repeat([255, 2, 2, 1, 1, 0], W).reshape(H, W)
    np.testing.assert_array_equal(train[0].label, expected)
    np.testing.assert_array_equal(train.read_stored(train.ids[0]), ids)
    (tmp_path / "map.json").write_text('{"rug": "floor", "*": "thing"}')
    train, _ = sets(root, label_map=str(tmp_path / "map.json"))
    assert train.class_names == ("floor", "thing")
    assert np.unique(train[0].label).tolist() == [0, 1, 255]
    train, _ = sets(panoptic(tmp_path / "two", ids, {7: 200}))
    with pytest.raises(DataError, match=r"139\.png: found the segments 769, 131077"):
        _ = train[0]


def labels_of(root, **options):
    train, validation, _ = data_sets(SetOptions(layout="labelme", **options), root)
    kind = type(train)
    whole = kind(class_names=train.class_names, label_values=train.label_values, root=root)
    return train.class_names, {name: whole.read_label(name) for name in whole.ids}, whole


def test_labelme_shapes_are_painted_in_order(tmp_path):
    points = [[1, 1], [4, 1], [4, 3], [1, 3]]
    shapes = [shape("dog", points), shape("cat", [[2, 2], [6, 4]], "rectangle")]
    root = labelme(
        tmp_path, {"a": shapes, "b": [shape("__ignore__", [[4, 3], [1, 1]], "rectangle")]}
    )
    names, labels, source = labels_of(root)
    assert names == ("_background_", "cat", "dog")
    expected = square((0, 2))
    expected[2:5, 2:7] = 1
    np.testing.assert_array_equal(labels["a"], expected)
    np.testing.assert_array_equal(labels["b"], square((0, 255)))
    assert source.num_classes == 3 and len(check_labels(source).sizes) == 2


def test_labelme_circles_lines_points_and_masks(tmp_path):
    rows, columns = np.mgrid[:H, :W]
    part = label_of(0, (0, 1))[:3, :4].astype(bool)
    mask = np.zeros((H, W), bool)
    mask[1:4, 2:6] = part
    shapes = {
        "circle": shape("x", [[3, 2], [5, 2]], "circle"),
        "line": shape("x", [[0, 2], [7, 2]], "line"),
        "strip": shape("x", [[0, 2], [3, 2], [7, 2]], "linestrip"),
        "point": shape("x", [[3, 2]], "point"),
        "mask": shape("x", [[2, 1], [5, 3]], "mask", mask=encoded(part)),
    }
    found = labels_of(labelme(tmp_path, {k: [v] for k, v in shapes.items()}))[1]
    distance = np.hypot(rows - 2, columns - 3)
    assert (found["circle"] == 1)[distance < 1.8].all()
    assert not (found["circle"] == 1)[distance > 2.5].any()
    assert found["line"].all() and found["strip"].all()  # 10 pixels wide
    assert found["point"][distance < 4.5].all() and not found["point"][distance > 5.6].any()
    np.testing.assert_array_equal(found["mask"] == 1, mask)


def test_labelme_images_in_the_json_or_behind_backslashes(tmp_path):
    shapes = {name: [shape("x", [[1, 1], [5, 1], [5, 4]])] for name in "ab"}
    root = labelme(tmp_path, shapes, folder="..\\photos\\", inside="b")
    _, _, source = labels_of(root)
    assert source.image_path("a") == root / "a.jpg" and source.image_path("b") == root / "b.json"
    (tmp_path / "photos").mkdir()
    labelme(root / "json", {"c": shapes["a"]}, folder="..\\photos\\")
    (root / "json" / "c.jpg").rename(tmp_path / "photos" / "c.jpg")
    assert isinstance(source, LabelMe)
    again = LabelMe(class_names=source.class_names, label_values=source.label_values, images="json")
    assert again.at(root).image_path("c").resolve() == (tmp_path / "photos" / "c.jpg").resolve()
    assert source.size(source.ids.index("b")) == (H, W)
    pixels = save_image(tmp_path / "pixels.png", 1)
    np.testing.assert_array_equal(source[source.ids.index("b")].image, pixels)
    assert "b" in check_labels(source).contents


def test_labelme_labels_that_have_no_class_are_named(tmp_path):
    root = labelme(tmp_path, {"a": [shape("dog", [[1, 1], [5, 1], [5, 4]])]})
    names = tmp_path / "labels.txt"
    names.write_text("__ignore__\n_background_\ncat\n")
    with pytest.raises(DataError, match=r"a\.json, shape 0: found the label 'dog'.*--class-names"):
        labels_of(root, class_names=str(names))
    names.write_text("cat\ndog\n")
    with pytest.raises(DataError, match="which class have pixels of no shape"):
        labels_of(root, class_names=str(names))
    (tmp_path / "map.csv").write_text("value,name\n_background_,ground\ndog,animal\ncat,animal\n")
    found, labels, _ = labels_of(root, label_map=str(tmp_path / "map.csv"))
    assert found == ("ground", "animal") and labels["a"].max() == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"imageHeight": 7}, "was drawn on an image of 7 rows"),
        ({"imagePath": "gone.jpg"}, "names the image 'gone.jpg', which is not there"),
        ({"shapes": 3}, "expected `shapes` to be a list"),
        ({"shapes": [shape("x", [[1, 1]])]}, "shape 0: expected a polygon"),
        ({"shapes": [shape("x", [[1, 1], [2, 2], [3, "y"]])]}, "shape 0: expected a polygon"),
        ({"shapes": [shape("x", [[1, 1], [2, 2], [3, 3]], "blob")]}, "found 'blob'"),
        ({"shapes": [shape("x", [[1, 1], [2, 2]], "mask", mask="!")]}, "shape 0"),
        (
            {"shapes": [shape("x", [[7, 5], [9, 9]], "mask", mask=encoded(np.ones((5, 3), bool)))]},
            "the mask has 5 rows",
        ),
    ],
)
def test_labelme_files_that_are_wrong_are_named(tmp_path, change, message):
    root = labelme(tmp_path, {"a": [shape("x", [[1, 1], [5, 1], [5, 4]])]})
    content = json.loads((root / "a.json").read_text())
    (root / "a.json").write_text(json.dumps({**content, **change}))
    with pytest.raises(DataError, match=rf"a\.json.*{message}"):
        labels_of(root)


def two_files(root, categories, stems=("instances_train", "instances_val")):
    """Two files of COCO in `annotations`, with a square of `person`; images in `images`."""
    (root / "annotations").mkdir(parents=True)
    for n, (stem, ids) in enumerate(zip(stems, categories, strict=True)):
        item = annotation(1, [SQUARE], category=ids["person"])
        content = {
            "images": [{"id": 10, "file_name": f"{stem}.jpg", "height": H, "width": W}],
            "annotations": [item],
            "categories": [{"id": i, "name": name} for name, i in ids.items()],
        }
        (root / "annotations" / f"{stem}.json").write_text(json.dumps(content))
        save_image(root / "images" / f"{stem}.jpg", n)
    return root


@pytest.mark.parametrize("ids", [{"person": 2, "cat": 1}, {"cat": 5, "person": 9}, {"person": 7}])
def test_categories_of_both_parts_are_matched_by_name(tmp_path, ids):
    root = two_files(tmp_path, [{"person": 1, "cat": 2}, ids])
    for part in sets(root):
        assert part.class_names == ("background", "person", "cat")
        np.testing.assert_array_equal(part[0].label, square((0, 1)))
    for text in ("value,class,name\nbackground,1,o\ncat,255,\nperson,0,p\n", "0,1\n2,255\n1,0\n"):
        (tmp_path / "map.csv").write_text(text if "name" in text else f"value,class\n{text}")
        for part in sets(root, label_map=str(tmp_path / "map.csv")):
            np.testing.assert_array_equal(part[0].label, square((1, 0)))
    with pytest.raises(DataError, match="--ignore names ids of categories, which differ"):
        sets(root, ignore=(1,))


@pytest.mark.parametrize("name", ["dog", "Cat", "cat "])
def test_a_category_that_only_validation_has_is_named_with_both_files(tmp_path, name):
    root = two_files(tmp_path, [{"person": 1, "cat": 2}, {"person": 1, name: 2}])
    match = f"instances_val.json: has the categories {name}, which .*instances_train.json lacks"
    with pytest.raises(DataError, match=match):
        sets(root)


@pytest.mark.parametrize(
    "stems",
    [
        ("instances_carnaval_train", "instances_carnaval_val"),
        ("instances_strain-training", "instances_strain-validation"),
        ("instances_catTrain2017", "instances_catVal2017"),
        ("instances_TRAIN", "instances_VAL"),
    ],
)
def test_parts_are_whole_words_of_the_files_names(tmp_path, stems):
    root = two_files(tmp_path, [{"person": 1}] * 2, stems)
    assert tuple(part.ids[0] for part in sets(root)) == stems


@pytest.mark.parametrize("split", ["trainval", "train_val"])
def test_a_file_of_both_parts_holds_out_a_tenth(tmp_path, split):
    root = coco(tmp_path, splits=(split,))
    (root / split).rename(root / "images")
    train, validation = sets(root)
    assert len(train) == len(validation) == 1 and train.ids != validation.ids


def test_parts_of_any_layout_that_share_an_image_are_refused(tmp_path):
    train, validation = sets(two_files(tmp_path, [{"person": 1}] * 2))
    check_apart(train, validation)
    (tmp_path / "images" / "instances_val.jpg").unlink()
    (tmp_path / "images" / "instances_val.jpg").symlink_to("instances_train.jpg")
    with pytest.raises(DataError, match="in the training list and in the validation list"):
        check_apart(train, validation)


def test_a_labelme_rectangle_of_four_corners_is_that_of_two(tmp_path):
    corners = [[1, 1], [5, 1], [5, 4], [1, 4]]
    shapes = {
        "two": [shape("x", corners[::2], "rectangle")],
        "four": [shape("x", corners, "rectangle")],
        "turned": [shape("x", [[4, 0], [7, 3], [4, 5], [1, 3]], "rectangle")],
    }
    _, labels, _ = labels_of(labelme(tmp_path, shapes))
    assert labels["two"].sum() == 5 * 4
    np.testing.assert_array_equal(labels["four"], labels["two"])
    assert labels["turned"][3, 1:8].all() and not labels["turned"][0, 0]


@pytest.mark.parametrize(
    ("kind", "count"),
    [("rectangle", 3), ("rectangle", 5), ("circle", 3), ("line", 3), ("point", 2), ("mask", 4)],
)
def test_labelme_shapes_with_another_number_of_points_are_named(tmp_path, kind, count):
    points = [[n, n % 3] for n in range(count)]
    root = labelme(tmp_path, {"a": [shape("x", points, kind)]})
    with pytest.raises(DataError, match=rf"a\.json, shape 0: .*'{kind}' with {count} points"):
        labels_of(root)
