"""What `check` prints and draws, and how it ends."""

import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from check_mistakes import MISTAKES
from check_sets import image, label, relabel, write
from test_check_mistakes import checked

from fcn_jax.check import edges
from fcn_jax.check.copies import copy_findings
from fcn_jax.check.page import write_page
from fcn_jax.check.pictures import turned_label
from fcn_jax.check.summary import summary
from fcn_jax.check.text import page_of_text
from fcn_jax.commands.check import check
from fcn_jax.labels import SetOptions


class Reader(HTMLParser):
    """The tags of a page, and all that it refers to; refuses tags that do not match."""

    EMPTY = ("meta", "img", "link", "br")

    def __init__(self):
        super().__init__()
        self.open, self.refers, self.text, self.count = [], [], [], {}

    def handle_starttag(self, tag, attrs):
        self.count[tag] = self.count.get(tag, 0) + 1
        self.refers += [value for name, value in attrs if name in ("src", "href")]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read(page):
    reader = Reader()
    reader.feed(page.read_text(encoding="utf-8"))
    assert reader.open == []
    return reader


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """`run(**options)`: the exit status and what is printed, in a folder with the set `set`."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "set")

    def call(*, options=SetOptions(), **more):  # noqa: B008 - a frozen value
        with pytest.raises(SystemExit) as end:
            check(tmp_path / "set", options=options, **more)
        return end.value.code, capsys.readouterr().out

    return call


def test_a_sound_set_ends_with_0_and_a_wrong_one_with_1(run, tmp_path):
    status, text = run()
    assert status == 0 and "Nothing wrong was found." in text
    relabel(tmp_path / "set", lambda a: (a > 0).astype(np.uint8) * 255)
    status, text = run()
    assert status == 1 and "--label-map FILE" in text and "255,1,object" in text
    status, text = run(options=SetOptions(ignore=(255,)))
    assert status == 1  # a single class is left


def test_values_between_gray_levels_are_not_shown_as_classes(run, tmp_path):
    relabel(tmp_path / "set", lambda a: np.where(a == 255, 0, a) * np.uint8(85))
    keys = re.findall(r"^ *(\d+)  .* %", run(page=None)[1], re.M)
    assert keys == ["0", "85", "170", "255"]


def test_without_a_page(run, tmp_path):
    assert run(page=None)[0] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_the_page_stands_alone(run, tmp_path):
    for mistake in ("a mirrored label", "two labels swapped", "an empty label"):
        MISTAKES[mistake][0](tmp_path / "set")
    status, text = run()
    page = tmp_path / "check.html"
    assert status == 1 and "check.html" in text
    reader = read(page)
    assert reader.refers and all(one.startswith(("data:", "#f")) for one in reader.refers)
    assert "http" not in "".join(re.findall(r"url\(.*?\)|@import.*", page.read_text()))
    assert page.stat().st_size < 5e6
    told = " ".join(" ".join(reader.text).split())
    assert "labels unreadable" in told and "What mends it" in told


def test_names_with_signs_of_html_are_shown(tmp_path):
    write(tmp_path)
    for part in (image, label):
        part(tmp_path, "n03").rename(part(tmp_path, "<b>&n"))
    relabel(tmp_path, lambda a: a[:, ::-1], ["<b>&n"])
    report = checked(tmp_path)
    reader = read(write_page(tmp_path / "p.html", "<i>", report, summary(report)))
    assert "train: <b>&n" in "".join(reader.text) and "i" not in reader.count


def test_many_findings_and_large_images_stay_small(tmp_path):
    write(tmp_path, n=14, size=(700, 900), large=200)
    relabel(tmp_path, lambda a: a[:, ::-1])
    report = checked(tmp_path)
    page = write_page(tmp_path / "p.html", "set", report, summary(report))
    assert page.stat().st_size < 1.5e6


def test_the_text_is_one_page(tmp_path):
    report = checked(write(tmp_path))
    text = page_of_text("set", report, summary(report))
    assert len(text.splitlines()) < 50 and max(map(len, text.splitlines())) <= 100
    shares = [float(one) for one in re.findall(r"([\d.]+) %", text)]
    assert sum(shares) == pytest.approx(100, abs=0.3)


def test_a_folder_that_is_not_there_is_one_message(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        check(tmp_path / "none")
    assert end.value.code == 1
    assert "no such folder" in capsys.readouterr().err


def test_a_recipes_sets_are_checked(tmp_path):
    """In a process of its own, as a recipe imports JAX."""
    (tmp_path / "VOC2012" / "ImageSets" / "Segmentation").mkdir(parents=True)
    command = [sys.executable, "-m", "fcn_jax", "check", str(tmp_path), "--page", "None"]
    command += ["--recipe", "experiments.nyud_fcn32s_color"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "no segmentation found" in " ".join(done.stdout.split())
    assert "Traceback" not in done.stderr


def test_a_turn_of_edges_is_that_of_the_label():
    rng = np.random.default_rng(0)
    classes = np.kron(rng.integers(0, 3, (16, 16)), np.ones((8, 8), int)).astype(np.uint8)
    for steps in (*edges.TURNS.values(), "x", "yt"):
        np.testing.assert_allclose(
            edges.turn(edges.label_edges(classes), steps),
            edges.label_edges(np.ascontiguousarray(turned_label(classes, steps))),
            atol=1e-5,
        )


@pytest.mark.parametrize("how", edges.TURNS)
def test_the_steps_undo_what_they_are_named_after(how):
    done = {
        "mirrored left to right": np.fliplr,
        "upside down": np.flipud,
        "turned by 180 degrees": lambda a: np.rot90(a, 2),
        "mirrored along its diagonal": np.transpose,
        "turned by 90 degrees to the left": np.rot90,
        "turned by 90 degrees to the right": lambda a: np.rot90(a, -1),
    }
    array = np.arange(12).reshape(3, 4)
    np.testing.assert_array_equal(turned_label(done[how](array), edges.TURNS[how]), array)


def test_agreement_is_the_sum_of_products_for_each_shift():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 3, edges.SIDE, edges.SIDE)).astype(np.float32)
    found = edges.agreement(edges.spectrum(a), edges.spectrum(b))
    for rows, columns in ((0, 0), (3, -5), (-32, 32), (32, 17)):
        expected = 0.0
        for y in range(max(0, rows), edges.SIDE + min(0, rows)):
            xs = np.arange(max(0, columns), edges.SIDE + min(0, columns))
            expected += (a[:, y, xs] * b[:, y - rows, xs - columns]).sum()
        assert found[edges.REACH + rows, edges.REACH + columns] == pytest.approx(expected, abs=0.1)


def test_no_looks_have_no_copies():
    assert list(copy_findings([])) == []
