"""Every row of the table in docs/check.md: the mistake is made, found, and mended."""

import re
from pathlib import Path

import numpy as np
import pytest
from check_mistakes import MISTAKES, as_files, between, colours, mask, void
from check_sets import image, names, relabel, write
from PIL import Image

from fcn_jax.check.inspect import inspect
from fcn_jax.commands.check import of_options
from fcn_jax.labels import SetOptions

PAGE = Path(__file__).parents[1] / "docs" / "check.md"


def checked(folder, **options):
    sources, known = of_options(SetOptions(**options), folder)
    return inspect(sources, known=known, threads=2)


def rows():
    found = re.findall(
        r"^\| (.+?) \| \*\*(.+?)\*\*, (wrong|look) \| (.+) \|$", PAGE.read_text(), re.M
    )
    return {mistake: (kind, severity, mend) for mistake, kind, severity, mend in found}


def given(finding, folder):
    """The options that a finding names, as fields of `SetOptions`; its label map is written."""
    fields, values = {}, None
    for text in finding.options:
        if text.startswith("--"):
            values = fields[text[2:].replace("-", "_")] = []
        elif values is not None:
            values.append(text)
    for name, texts in fields.items():
        numbers = {
            "ignore": lambda texts: tuple(map(int, texts)),
            "num_classes": lambda t: int(t[0]),
        }
        fields[name] = numbers.get(name, lambda texts: texts[0])(texts) if texts else True
    if fields.get("label_map") == "FILE" and finding.label_map:
        file = folder / "map.csv"
        file.write_text(finding.label_map)
        fields["label_map"] = str(file)
    return fields


def test_the_table_has_every_mistake():
    assert {name: row[:2] for name, row in rows().items()} == {
        name: (kind, severity) for name, (_, _, kind, severity) in MISTAKES.items()
    }


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found_and_its_option_mends_it(mistake, tmp_path):
    make, options, kind, severity = MISTAKES[mistake]
    make(write(tmp_path))
    report = checked(tmp_path, **options)
    found = {finding.kind: finding for finding in report.findings}
    assert kind in found, found
    assert found[kind].severity == severity
    assert report.wrong == any(one.severity == "wrong" for one in report.findings)
    others = {one.kind for one in report.findings if one.severity == "wrong"} - {kind}
    assert not others, others  # one mistake is told once
    text = f"{found[kind].found} {found[kind].means} {found[kind].mend}"
    for option in re.findall(r"`(--[a-z-]+)", rows()[mistake][2]):
        assert option in text
    fields = given(found[kind], tmp_path)
    if fields and "FILE" not in fields.values():
        kept = {name: value for name, value in options.items() if name != "num_classes"}
        again = checked(tmp_path, **kept, **fields)
        assert kind not in [finding.kind for finding in again.findings]
        assert not again.wrong, again.findings


@pytest.mark.parametrize("mistake", ["a mirrored label", "two labels swapped", "a shifted label"])
def test_single_labels_are_named(mistake, tmp_path):
    make, _, kind, _ = MISTAKES[mistake]
    make(write(tmp_path, n=12))
    (finding,) = [one for one in checked(tmp_path).findings if one.kind == kind]
    assert {name.split(": ")[1] for name in finding.examples} == {"n03", "n07"}


def test_the_shift_is_in_pixels_of_the_label(tmp_path):
    make, _, _, _ = MISTAKES["a shifted label"]
    make(write(tmp_path))
    (finding,) = [one for one in checked(tmp_path).findings if one.kind == "label shifted"]
    moves = re.findall(r"moved (\d+) pixels up and (\d+) pixels to the right", finding.found)
    assert len(moves) == 2
    for up, right in moves:
        assert abs(int(up) - 9) <= 1 and abs(int(right) - 12) <= 1


def found_in(folder, **options):
    return {finding.kind: finding for finding in checked(folder, **options).findings}


def test_a_background_that_was_not_counted_is_no_void(tmp_path):
    """0 fills areas and is most of the pixels: the likelier mend is one class more."""
    finding = found_in(write(tmp_path), num_classes=3)["values beyond the classes"]
    assert finding.means.startswith("There are 4 classes: the background counts")
    assert finding.options == ("--num-classes", "4")
    assert finding.mend.index("--num-classes 4") < finding.mend.index("--reduce-zero-label")


LEVELS = {
    "a level and void": ([0, 100], 2, [0, 1]),
    "levels and void": ([0, 60, 120, 180], 4, [0, 1, 2, 3]),
    "the classes are not known": ([0, 50, 100], None, [0, 1, 2]),
    "a level is missing": ([0, 60, 180], 4, [0, 1, 3]),
    "the number of classes counts 255": ([0, 100, 200, 255], 4, [0, 1, 2, 3]),
    "255 could be the last level": ([0, 64, 128, 192], 4, [0, 1, 2, 3]),
}


@pytest.mark.parametrize("kind", LEVELS)
def test_gray_levels_with_void_255_get_a_map_and_are_never_ignored(kind, tmp_path):
    levels, count, classes = LEVELS[kind]
    table = np.array(levels, np.uint8)
    corner = void(255) if 255 not in levels else np.array
    relabel(write(tmp_path, classes=len(levels)), lambda a: corner(table[a]))
    finding = found_in(tmp_path, num_classes=count)["gray levels"]
    rows = [line.split(",")[:2] for line in finding.label_map.splitlines()[1:]]
    read = {int(value): int(number) for value, number in rows}
    assert [read[value] for value in levels] == classes
    assert read[255] == (255 if 255 not in levels else len(levels) - 1)
    fields = given(finding, tmp_path)
    assert set(fields) == {"label_map"}
    assert not checked(tmp_path, num_classes=count, **fields).wrong  # the user's N still holds


def test_a_map_keeps_the_numbers_of_classes_that_are_given(tmp_path):
    """Smoothed labels of the classes 0, 5, 10 and 19 of 21: the map renumbers none."""
    table = np.array([0, 5, 10, 19], np.uint8)

    def blended(array):
        big = Image.fromarray(table[array])
        small = big.resize((64, 48), Image.Resampling.NEAREST)
        out = np.array(small.resize(big.size, Image.Resampling.BILINEAR))
        return np.where(np.arange(128) < 20, 255, out).astype(np.uint8)

    relabel(write(tmp_path), blended)
    finding = found_in(tmp_path, num_classes=21)["smoothed edges"]
    fields = given(finding, tmp_path)
    rows = [line.split(",")[:2] for line in finding.label_map.splitlines()[1:]]
    assert [row for row in rows if row[0] == row[1]] == [
        [str(k), str(k)] for k in [*range(21), 255]
    ]
    assert not checked(tmp_path, num_classes=21, **fields).wrong


@pytest.mark.parametrize("kind", ["values", "colours"])
def test_void_that_a_map_takes_for_a_class_is_told(kind, tmp_path):
    lines = between  # 0 between classes from 1
    change = (lambda a: colours(lines(a) % 4)) if kind == "colours" else lines
    relabel(write(tmp_path, classes=3), change)
    rows = (
        [f"{','.join(map(str, row))},{k},c" for k, row in enumerate(colours(np.arange(4)))]
        if kind == "colours"
        else [f"{k},{k},c" for k in range(4)]
    )
    (tmp_path / "map.csv").write_text(
        "\n".join(["r,g,b,class,name" if kind == "colours" else "value,class,name", *rows])
    )
    finding = found_in(tmp_path, label_map=str(tmp_path / "map.csv"))["another value for void"]
    assert ("0,0,0" if kind == "colours" else "0,255,") in finding.mend
    if kind == "colours":  # the draft says so from the start
        assert "0,0,0,255," in found_in(tmp_path)["colours"].label_map


ARRAYS = {
    "structured": (lambda a: a.astype([("x", "u1")]), "whole numbers, found one of"),
    "complex": (lambda a: a.astype(complex), "found one of complex128"),
    "too large": (
        lambda a: np.where(a == 0, 2**64 - 1, a.astype(np.uint64)),
        "numbers of labels end",
    ),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_of_other_numbers_are_one_clear_message(kind, tmp_path):
    change, text = ARRAYS[kind]
    as_files(write(tmp_path, n=2), change, "npy")
    finding = found_in(tmp_path)["labels unreadable"]
    assert text in finding.found and "cut off" not in finding.found
    assert not finding.options


def test_what_alpha_hides_is_not_counted_as_labelled(tmp_path):
    """The objects are the only pixels that are not transparent."""
    for name in names(write(tmp_path)):
        shapes = np.array(Image.open(tmp_path / "labels" / f"{name}.png"))
        picture = Image.open(image(tmp_path, name)).convert("RGBA")
        picture.putalpha(Image.fromarray(np.where(shapes > 0, 255, 0).astype(np.uint8)))
        picture.save(tmp_path / "images" / f"{name}.png")
        image(tmp_path, name).unlink()
    report = checked(tmp_path, num_classes=4)
    assert sum(look.classes[0] for look in report.looks) == 0
    assert "much is ignored" in {finding.kind for finding in report.findings}


def test_void_0_in_lines_is_told_where_the_classes_are_given(tmp_path):
    relabel(write(tmp_path), between)
    finding = found_in(tmp_path, num_classes=5)["counting from 1"]
    assert finding.severity == "wrong" and "--num-classes 4" in finding.mend


def test_levels_of_which_255_is_the_largest_object_are_classes(tmp_path):
    table = np.array([0, 255, 255, 100], np.uint8)
    relabel(write(tmp_path), lambda array: table[array])
    finding = found_in(tmp_path)["gray levels"]
    assert finding.label_map.splitlines()[1:] == [
        "0,0,class 0",
        "100,1,class 100",
        "255,2,class 255",
    ]


@pytest.mark.parametrize("value", [100, 65535])
def test_masks_of_0_and_1_in_which_some_objects_are_far_away_are_not_ignored(value, tmp_path):
    """--ignore 100 would ignore all objects of these files."""
    relabel(write(tmp_path), mask)
    relabel(tmp_path, lambda array: mask(array, value), ["n03", "n07"])
    found = found_in(tmp_path, num_classes=2)
    assert "another value for void" not in found
    finding = found["masks of two kinds"]
    assert finding.severity == "wrong" and {n[-3:] for n in finding.examples} == {"n03", "n07"}
    again = checked(tmp_path, num_classes=2, **given(finding, tmp_path))
    assert not again.wrong and sum(look.classes[2:].sum() for look in again.looks) == 0


def test_more_classes_than_given_are_counted_as_the_options_read_them(tmp_path):
    finding = found_in(write(tmp_path), num_classes=2, reduce_zero_label=True)[
        "values beyond the classes"
    ]
    assert finding.options == ("--num-classes", "3")
    assert "--num-classes 4 without --reduce-zero-label" in finding.mend
    fields = given(finding, tmp_path)
    assert not checked(tmp_path, reduce_zero_label=True, **fields).wrong
