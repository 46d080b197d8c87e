"""From what label files store to classes: values, colours, maps and names (docs/labels.md)."""

import json

import numpy as np
import pytest
from image_files import png, tiff
from PIL import Image

from fcn_jax.data import DataError, LabelValues
from fcn_jax.data.label_files import read_label, read_stored
from fcn_jax.data.label_map import read_class_names, read_label_map
from fcn_jax.runs.description import build, describe

VALUES = np.arange(12, dtype=np.uint8).reshape(3, 4)
ROAD, CAR = (128, 64, 128), (0, 0, 142)


def classes(values, stored, where="x.png"):
    return values.classes(np.asarray(stored), where).tolist()


def test_the_first_rule_that_fits_decides():
    stored = np.array([[0, 1, 11, 255]], np.uint8)
    assert classes(LabelValues(), stored) == [[0, 1, 11, 255]]
    assert classes(LabelValues(ignore=(0, 11)), stored) == [[255, 1, 255, 255]]
    assert classes(LabelValues(reduce_zero=True), stored) == [[255, 0, 10, 255]]
    assert classes(LabelValues(reduce_zero=True, ignore=(11,)), stored) == [[255, 0, 255, 255]]
    many = LabelValues(mapping=((0, 1), (1, 1), (11, 0)))
    assert classes(many, stored) == [[1, 1, 0, 255]] and many.num_classes == 2
    assert classes(LabelValues(mapping=((0, 0), (255, 1))), [[0, 255]]) == [[0, 1]]
    others = LabelValues(mapping=((1, 1), ("*", 0)), ignore=(0,))
    assert classes(others, stored) == [[255, 1, 0, 255]]


def test_every_value_of_a_byte_survives_the_reduction_as_numpy_says():
    stored = np.arange(256, dtype=np.uint8)[None]
    expected = np.where(np.isin(stored, (0, 255)), 255, stored.astype(int) - 1)
    np.testing.assert_array_equal(LabelValues(reduce_zero=True).classes(stored, "x"), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64, ">u2"])
def test_numbers_of_any_kind_are_looked_up(dtype):
    stored = np.array([[7, 33], [200, 7]], dtype)
    values = LabelValues(mapping=((7, 0), (33, 1), (200, 255)))
    np.testing.assert_array_equal(values.classes(stored, "x"), [[0, 1], [255, 0]])


def test_a_value_without_a_class_is_named_with_the_file_and_the_option():
    with pytest.raises(DataError, match=r"x\.png: .*found 300.*--label-map.*--ignore 300"):
        LabelValues().classes(np.array([[3, 300]], np.uint16), "x.png")
    assert classes(LabelValues(ignore=(300,)), np.array([[3, 300]], np.uint16)) == [[3, 255]]
    assert classes(LabelValues(ignore=(-1,)), [[-1, 2]]) == [[255, 2]]
    with pytest.raises(DataError, match=r"x\.png: found 3, 9.*it names 7.*--ignore 3 9"):
        LabelValues(mapping=((7, 0),)).classes(np.array([[3, 7, 9]], np.uint8), "x.png")
    colours = np.array([[ROAD, (1, 2, 3)]], np.uint8)
    with pytest.raises(DataError, match=r"x\.png: found \(1,2,3\), which the label map"):
        LabelValues(mapping=((ROAD, 0),)).classes(colours, "x.png")
    with pytest.raises(DataError, match=r"x\.png: holds colours.*\(1,2,3\), \(128,64,128\).*--lab"):
        LabelValues().classes(colours, "x.png")


def test_colours_and_gray_levels_are_found_by_colour():
    values = LabelValues(mapping=((ROAD, 0), (CAR, 1), ((9, 9, 9), 255)))
    assert classes(values, np.array([[CAR, ROAD, (9, 9, 9)]], np.uint8)) == [[1, 0, 255]]
    assert classes(values, np.full((1, 2), 9, np.uint8)) == [[255, 255]]
    white = LabelValues(mapping=(((0, 0, 0), 0), ((255, 255, 255), 1)))
    assert classes(white, np.array([[0, 255]], np.uint8)) == [[0, 1]]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mapping": ((1, 256),)}, "classes 0 to 254"),
        ({"mapping": ((1, 0), (ROAD, 1))}, "one kind"),
        ({"mapping": ((1, 0), (1, 1))}, "names 1 twice"),
        ({"mapping": ((1, 0),), "reduce_zero": True}, "leave --reduce-zero-label out"),
        ({"mapping": ((ROAD, 0),), "ignore": (3,)}, "--ignore names values"),
    ],
)
def test_options_that_contradict_each_other_are_refused(fields, message):
    with pytest.raises(DataError, match=message):
        LabelValues(**fields)


def test_label_values_are_recorded_and_built_again():
    for values in (
        LabelValues(ignore=(0, 11), reduce_zero=True),
        LabelValues(mapping=((ROAD, 0), (CAR, 255))),
        LabelValues(mapping=(("road", 0), ("*", 255))),
        LabelValues(mapping=((300, 1), (0, 0))),
    ):
        again = build(json.loads(json.dumps(describe(values))))
        assert again == values and hash(again) == hash(values)


def save(path, array, mode=None):
    image = Image.fromarray(np.asarray(array))
    (image.convert(mode) if mode else image).save(path)
    return path


def test_every_format_gives_the_stored_numbers(tmp_path):
    for name in ("x.png", "x.bmp", "x.tif", "x.gif"):
        np.testing.assert_array_equal(read_stored(save(tmp_path / name, VALUES)), VALUES)
    large = VALUES.astype(np.uint16) * 3000
    for name in ("x.png", "x.tif"):
        np.testing.assert_array_equal(read_stored(save(tmp_path / name, large)), large)
    for dtype in (np.uint8, np.int64, np.float32, ">i4", bool):
        np.save(tmp_path / "x.npy", VALUES.astype(dtype))
        stored = read_stored(tmp_path / "x.npy")
        assert stored.dtype.kind in "iu" and stored.dtype.isnative
        np.testing.assert_array_equal(stored, VALUES.astype(dtype))
    np.save(tmp_path / "x.npy", VALUES[..., None])
    np.testing.assert_array_equal(read_stored(tmp_path / "x.npy"), VALUES)
    np.testing.assert_array_equal(
        read_stored(tiff(tmp_path / "y.tif", large[..., None], photometric=1)), large
    )


@pytest.mark.parametrize("ending", ["png", "bmp", "tif"])
def test_one_bit_is_0_and_1(tmp_path, ending):
    bits = VALUES % 2
    save(tmp_path / f"x.{ending}", bits.astype(bool))
    np.testing.assert_array_equal(read_label(tmp_path / f"x.{ending}"), bits)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_few_bits_are_not_stretched(tmp_path, depth):
    stored = np.array([[0, 1, 2**depth - 1, 1]], np.uint8)
    packed = np.packbits(np.unpackbits(stored[0][:, None], axis=1)[:, -depth:].ravel())
    path = png(tmp_path / "x.png", packed[None, :, None], depth=depth)
    width = 4
    data = path.read_bytes()
    import zlib

    header = data[12:16] + width.to_bytes(4, "big") + data[20:29]
    path.write_bytes(data[:12] + header + zlib.crc32(header).to_bytes(4, "big") + data[33:])
    np.testing.assert_array_equal(read_stored(path), stored)


def test_a_palette_gives_indices_or_its_colours(tmp_path):
    image = Image.fromarray(VALUES % 2)
    image.putpalette([*ROAD, *CAR])
    image.save(tmp_path / "x.png")
    np.testing.assert_array_equal(read_label(tmp_path / "x.png"), VALUES % 2)
    by_colour = LabelValues(mapping=((ROAD, 5), (CAR, 6)))
    np.testing.assert_array_equal(read_label(tmp_path / "x.png", by_colour), 5 + VALUES % 2)


def test_what_does_not_keep_numbers_exactly_is_refused(tmp_path):
    refused = {
        "x.jpg": ("found a JPEG", Image.fromarray(VALUES)),
        "clear.png": ("transparent", Image.new("RGBA", (2, 2))),
        "pages.tif": ("several frames", Image.fromarray(VALUES)),
    }
    for name, (message, image) in refused.items():
        more = {"save_all": True, "append_images": [image]} if name == "pages.tif" else {}
        image.save(tmp_path / name, **more)
        with pytest.raises(DataError, match=f"{name}.*{message}"):
            read_stored(tmp_path / name)
    png(tmp_path / "deep.png", np.zeros((2, 2, 3), np.uint16))
    with pytest.raises(DataError, match=r"deep\.png: holds colours of 16 bits"):
        read_stored(tmp_path / "deep.png")
    for array, message in (
        (np.full((2, 2), 0.5), "whole numbers"),
        (np.full((2, 2), np.nan), "whole numbers"),
        (np.zeros(3), r"expected an array \(rows, columns\)"),
        (np.zeros((2, 2, 7)), r"expected an array \(rows, columns\)"),
        (np.array([["a"]]), "whole numbers"),
    ):
        np.save(tmp_path / "x.npy", array)
        with pytest.raises(DataError, match=rf"x\.npy: .*{message}"):
            read_stored(tmp_path / "x.npy")
    np.save(tmp_path / "x.npy", np.array([[{}]]), allow_pickle=True)
    with pytest.raises(DataError, match=r"x\.npy: cannot be read"):
        read_stored(tmp_path / "x.npy")
    Image.new("RGBA", (2, 2), (1, 2, 3, 255)).save(tmp_path / "opaque.png")
    assert read_stored(tmp_path / "opaque.png").tolist() == [[[1, 2, 3]] * 2] * 2


def test_a_label_is_turned_as_its_tag_says(tmp_path):
    image = Image.fromarray(VALUES)
    exif = image.getexif()
    exif[274] = 6
    image.save(tmp_path / "x.png", exif=exif)
    np.testing.assert_array_equal(read_stored(tmp_path / "x.png"), np.rot90(VALUES, -1))


EXPECTED = {(26, 0), (27, 0), (7, 1), (0, 255)}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.csv", "value,class,name\n26,0,car\n27,0,car\n7,1,road\n0,255,\n"),
        ("m.csv", "\ufeffValue; Class; Name\r\n26;0;car\r\n27;0;\r\n7;1;road\r\n0;ignore;\r\n"),
        ("m.csv", "value\tname\n26\tcar\n27\tcar\n7\troad\n0\tignore\n"),
        ("m.json", '{"26": 0, "27": 0, "7": 1, "0": 255}'),
        ("m.json", '{"26": "car", "27": "car", "7": "road", "0": null}'),
        (
            "m.json",
            '[{"value": 26, "class": 0, "name": "car"}, {"value": 27, "class": 0},'
            ' {"value": 7, "class": 1, "name": "road"}, {"value": 0, "class": "ignore"}]',
        ),
    ],
)
def test_maps_of_values_in_every_form(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    found = read_label_map(tmp_path / name)
    assert set(found.mapping) == EXPECTED
    assert found.names == () if '"26": 0,' in text else found.names == ("car", "road")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.csv", "r,g,b,class,name\n128,64,128,0,road\n0,0,142,1,car\n"),
        ("m.csv", "name,r,g,b\nroad,128,64,128\ncar,0,0,142\n"),
        ("m.csv", 'colour,name\n"128,64,128",road\n#00008e,car\n'),
        ("m.json", '{"128,64,128": "road", "(0, 0, 142)": "car"}'),
        ("m.json", '{"road": [128, 64, 128], "car": [0, 0, 142]}'),
        (
            "m.json",
            '[{"color": [128, 64, 128], "name": "road"}, {"r": 0, "g": 0, "b": 142,'
            ' "name": "car"}]',
        ),
    ],
)
def test_maps_of_colours_in_every_form(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    found = read_label_map(tmp_path / name)
    assert found.mapping == ((ROAD, 0), (CAR, 1)) and found.names == ("road", "car")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.csv", "7,0,road\n", "line 1: expected the columns"),
        ("m.csv", "value,class\n7,road\n", "line 2: expected a class from 0 to 254"),
        ("m.csv", "value,class\n7,256\n", "line 2: expected a class"),
        ("m.csv", "value,class\n7,\n", "line 2: expected a class"),
        ("m.csv", "value,class\n,0\n", "line 2: expected a value"),
        ("m.csv", "r,g,b,class\n300,0,0,0\n", "line 2: expected a colour"),
        ("m.csv", "value,class,name\n7,0,road\n8,,car\n", "8 has no class, others have"),
        ("m.csv", "value,class\n", "is empty"),
        ("m.csv", "value,class\n7,255\n", "no class; every key is ignored"),
        ("m.json", '{"7": 0, "7": 1}', "names '7' twice"),
        ("m.json", '{"7": 0', "is not JSON"),
        ("m.json", '{"7": 0.5}', "expected a class"),
        ("m.json", "[7]", "entry 0"),
        ("m.json", "3", "expected a JSON object"),
    ],
)
def test_a_map_that_is_none_is_refused_by_line(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message) as error:
        read_label_map(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)


def test_lists_of_class_names(tmp_path):
    (tmp_path / "n.txt").write_text("__ignore__\n_background_\r\ntraffic light\n\n")
    assert read_class_names(tmp_path / "n.txt") == ("_background_", "traffic light")
    (tmp_path / "n.json").write_text('["a", "b"]')
    assert read_class_names(tmp_path / "n.json") == ("a", "b")
    (tmp_path / "n.json").write_text('{"0": "a", "1": "b"}')
    assert read_class_names(tmp_path / "n.json") == ("a", "b")
    (tmp_path / "n.txt").write_text("a\nb\na\n")
    with pytest.raises(DataError, match="names a more than once"):
        read_class_names(tmp_path / "n.txt")
    (tmp_path / "n.json").write_text('{"1": "a"}')
    with pytest.raises(DataError, match="JSON list of names"):
        read_class_names(tmp_path / "n.json")
