"""Every row of the table in docs/check.md: the mistake is made, found, and mended."""

import re
from pathlib import Path

import pytest
from check_mistakes import MISTAKES
from check_sets import write

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
        fields[name] = (
            True if not texts else tuple(map(int, texts)) if name == "ignore" else texts[0]
        )
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
