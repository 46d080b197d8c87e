"""The page that a run leaves behind, without a browser (test_run_page_browser.py has one)."""

import base64
import dataclasses
import io
import json
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from smallest_recipe import RECIPE

from fcn_jax.commands.evaluate import evaluate as evaluate_command
from fcn_jax.commands.report import report as report_command
from fcn_jax.metrics import ByImage
from fcn_jax.report.plots import Line, confusion_plot, line_plot
from fcn_jax.report.run_page import Output
from fcn_jax.report.shown import Example, ShownRun, flat
from fcn_jax.runs.kept_counts import read_kept
from fcn_jax.runs.kept_examples import choose, read_examples, write_examples
from fcn_jax.runs.place import Place
from fcn_jax.runs.report import write_page, write_report
from fcn_jax.runs.run import run
from fcn_jax.training.run_folder import RunFolder

STORED = Path(__file__).with_name("run_of_0_1")
ORIGIN = {"module": "smallest_recipe", "arguments": {}, "overrides": {}}


def go(folder, **changes):
    said = []
    recipe = dataclasses.replace(RECIPE, **changes)
    run(recipe, Place(workdir=folder), origin=ORIGIN, say=said.append)
    return said


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of 3 evaluations."""
    folder = tmp_path_factory.mktemp("runs") / "first <run>"
    go(folder, steps=6, evaluate_every=2)
    return folder


@pytest.fixture
def folder(trained, tmp_path):
    return Path(shutil.copytree(trained, tmp_path / "run"))


class Read(HTMLParser):
    """What a page holds: every element's attributes, its text, and elements that do not match."""

    VOID = {"meta", "link", "img"}

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.text = [], [], ""
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self.text += " " if tag in ("td", "th", "p", "h3", "summary") else ""

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def read(path):
    return Read(path.read_text("utf-8"))


def test_training_writes_a_page_that_says_what_was_run_and_measured(trained):
    page = read(trained / "report.html")
    text = " ".join(page.text.split())
    line = max(
        (x for x in RunFolder(trained).metrics() if "mean_iu" in x), key=lambda x: x["mean_iu"]
    )
    assert f"Mean IU {100 * line['mean_iu']:.1f} (" in text and "4 images of Scenes" in text
    for what in ("first <run>", "smallest_recipe", "FCN on SmallestTrunk", "6 of 6, of 2 x 1"):
        assert what in text
    for field, value in (
        ("seed", "3"),
        ("model.num_classes", "4"),
        ("loss.normalization", "VALID"),
    ):
        assert f"{field} {value}" in text
    environment = RunFolder(trained).described()["environment"]
    assert environment["machine"] in text and f"jax {environment['jax']}" in text
    for name in RECIPE.validation_set.class_names:
        assert name in text
    assert [x["aria-label"] for x in page.all("svg")][:3] == [
        *("loss", "scores, per cent", "confusion matrix"),
    ]


def test_a_page_needs_nothing_from_outside_and_names_are_unique(trained):
    page = read(trained / "report.html")
    assert not page.all("script")
    for _, attrs in page.elements:
        for name in ("src", "href", "xlink:href"):
            value = attrs.get(name) or "#"
            assert value.startswith(("data:", "#")), value
    assert not re.search(r"@import|url\((?!#)", (trained / "report.html").read_text())
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = [a["href"][1:] for a in page.all("a")]
    assert links and set(links) <= set(ids)
    assert all(x.get("alt") for x in page.all("img"))
    assert all(x.get("aria-label") for x in page.all("svg"))


def test_examples_are_the_best_and_worst_images_with_the_nets_own_predictions(trained):
    folder = RunFolder(trained)
    step = folder.best_step()
    examples = read_examples(folder.pictures_file(step))
    images = read_kept(folder.counts_file(step)).images
    right = dict(zip(images.names, images.pixel_accuracy(), strict=True))
    every = [RECIPE.validation_set[i] for i in range(4)]
    assert [e.kind for e in examples] == ["best", "median", "worst"]
    assert right[examples[0].name] == max(right.values())
    assert right[examples[-1].name] == min(right.values())
    for example in examples:
        labelled = example.truth != 255
        share = (example.truth == example.prediction)[labelled].mean()
        assert example.right == right[example.name] == pytest.approx(share)
        source = next(e for e in every if e.name == example.name)
        np.testing.assert_array_equal(example.image, source.image)
        np.testing.assert_array_equal(example.truth, source.label)


def of_accuracies(*right):
    entries = [
        entry
        for i, r in enumerate(right)
        if r is not None
        for entry in ((i, 0, 0, r), (i, 0, 1, 100 - r))
    ]
    return ByImage(
        names=tuple(map(str, range(len(right)))), num_classes=2, entries=np.array(entries)
    )


def test_which_images_are_chosen():
    rng = np.random.default_rng(0)
    right = rng.permutation(101)[:21]
    order = np.argsort(-right)
    chosen = choose(of_accuracies(*right.tolist()))
    kinds = {
        kind: [i for i, k in chosen if k == kind] for kind in dict.fromkeys(k for _, k in chosen)
    }
    assert kinds == {
        "best": order[:3].tolist(),
        "median": order[9:12].tolist(),
        "worst": order[-3:].tolist(),
    }
    assert choose(of_accuracies(7)) == [(0, "worst")]
    assert choose(of_accuracies(7, 3)) == [(0, "best"), (1, "worst")]
    assert choose(of_accuracies(5, None, 9, 1)) == [(2, "best"), (0, "median"), (3, "worst")]


def test_the_page_changes_neither_metrics_nor_the_next_evaluation(trained, tmp_path, monkeypatch):
    monkeypatch.setattr("fcn_jax.runs.run.show_run", lambda *_: True)
    monkeypatch.setattr("fcn_jax.runs.kept_examples.ExampleMaker.keep", lambda *_: None)
    go(tmp_path / "run", steps=6, evaluate_every=2)
    assert not list((tmp_path / "run").glob("*.html")) + list((tmp_path / "run").glob("pict*"))
    for name in ("metrics.jsonl",):
        assert (tmp_path / "run" / name).read_bytes() == (trained / name).read_bytes()


def test_a_run_goes_on_where_its_page_cannot_be_drawn(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(
        "fcn_jax.runs.kept_examples.ExampleMaker.keep",
        lambda *_: (_ for _ in ()).throw(MemoryError),
    )
    go(tmp_path / "run", steps=1)
    said = capsys.readouterr().out
    assert re.search(r"report.html was not written: ModuleNotFoundError: .*matplotlib", said)
    assert "pictures_1.npz was not written: MemoryError" in said
    assert RunFolder(tmp_path / "run").metrics()[-1]["step"] == 1


def test_only_pictures_of_the_last_and_the_best_evaluation_stay(trained):
    folder = RunFolder(trained)
    steps = {folder.best_step(), 6}
    assert set(trained.glob("pictures_*")) == {folder.pictures_file(step) for step in steps}


def test_a_run_of_version_0_1_has_a_page_before_and_after_it_is_evaluated(tmp_path, capsys):
    folder = Path(shutil.copytree(STORED, tmp_path / "run"))
    report_command((folder,))
    page = read(folder / "report.html")
    assert "Not evaluated yet; step 2 of 4." in page.text and "VGG16" in page.text
    evaluate_command(folder)
    assert "page: " in capsys.readouterr().out
    line = {"step": 2, "split": "Scenes", "pixel_accuracy": 0.5, "mean_accuracy": 0.5}
    line |= {"mean_iu": 0.25, "frequency_weighted_iu": 0.5}
    for file in folder.glob("*.npz"):
        file.rename(tmp_path / file.name)
    with (folder / "metrics.jsonl").open("a") as lines:
        lines.write(json.dumps(line) + "\n")
    report_command((folder,))
    page = read(folder / "report.html")
    assert "Mean IU 25.0 on Scenes" in page.text
    assert "no intervals and classes and no images" in page.text
    assert f"python -m fcn_jax evaluate {folder}" in page.text
    for file in tmp_path.glob("*.npz"):
        file.rename(folder / file.name)
    report_command((folder,))
    page = read(folder / "report.html")
    assert "boundary IU" in page.text and "right pixels of each confidence, per cent" in [
        x["aria-label"] for x in page.all("svg")
    ]
    assert page.all("img") and "has no" not in page.text


@pytest.mark.parametrize("name", ["validation", "pictures", "speed"])
def test_a_damaged_file_is_named_on_the_page(folder, name):
    [path, *_] = sorted(folder.glob(f"{name}*"))
    for path in folder.glob(f"{name}*"):
        path.write_bytes(path.read_bytes()[:40] + b"\n")
    write_report([folder])
    page = read(folder / "report.html")
    assert f"{name}" in page.text and str(folder) in page.text
    assert "evaluate" in page.text or "damaged" in page.text


def test_what_is_no_run_is_refused(folder, tmp_path, capsys):
    for runs, message in (
        ((), "needs a run or more"),
        ((tmp_path,), "not the folder of a run"),
        ((folder, tmp_path / "none"), "not the folder of a run"),
    ):
        with pytest.raises(SystemExit):
            report_command(runs)
        assert message in capsys.readouterr().err
    (folder / "metrics.jsonl").write_text("{\n")
    with pytest.raises(ValueError, match=r"metrics.jsonl, line 1 is damaged"):
        write_report([folder])


def test_several_runs_side_by_side(folder, tmp_path, monkeypatch):
    other = tmp_path / "other"
    go(other, steps=2, seed=4)
    monkeypatch.chdir(tmp_path)
    page = read(write_report([folder, other]))
    assert (tmp_path / "report.html").exists()
    text = " ".join(page.text.split())
    start = text.index("What differs between the recipes")
    differing = text[start : text.index("The whole recipes")]
    assert (
        "steps 6 2" in differing and "seed 3 4" in differing and "evaluate_every 2 0" in differing
    )
    assert "batch_size" not in differing
    assert "A: run." in text and "B: other." in text and "the same 4 images" in text
    three = go(
        tmp_path / "three",
        steps=1,
        validation_set=dataclasses.replace(RECIPE.validation_set, length=3),
    )
    assert three
    text = read(write_report([folder, tmp_path / "three"])).text
    assert "were evaluated on other images" in text


def hostile(k, names):
    """A run whose examples are noise, the largest that pictures get, with k classes."""
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, k, (300, 300), np.uint8) for _ in range(2)]
    image = rng.integers(0, 256, (300, 300, 3), np.uint8)
    examples = [
        Example(n, kind, 0.5, image, *noise)
        for kind in ("best", "median", "worst")
        for n in names[:3]
    ]
    entries = np.array([(i, a, b, 1 + a) for i in range(3) for a in range(k) for b in range(k)])
    images = ByImage(names=tuple(names[:3]), num_classes=k, entries=entries)
    lines = [{"step": s, "loss": float(s)} for s in range(1, 3000)]
    lines += [{"step": 2999, "split": "x", "mean_iu": 0.5, "pixel_accuracy": float("nan")}]
    return ShownRun(
        folder="runs/a",
        facts=[("net", "<b>&")],
        recipe={"a": "b"},
        steps=3000,
        lines=lines,
        speed=[],
        step=2999,
        images={"": images},
        class_names={"": names[:k]},
        examples=examples,
    )


def test_any_names_and_the_largest_page(tmp_path):
    names = ["<script>alert(1)</script>", "日本語", "$x_", 'a"b', *map(str, range(251))]
    path = write_page([hostile(255, names)], tmp_path / "a.html")
    assert path.stat().st_size < 5e6
    page = read(path)
    assert not page.all("script") and names[0] in page.text and "日本語" in page.text
    assert "195 classes with the fewest pixels are left out" in page.text
    assert write_page([hostile(3, names)] * 8, tmp_path / "b.html").stat().st_size < 5e6


def test_classes_are_in_order_of_their_iu_and_those_that_are_nowhere_come_last():
    entries = np.array([(0, 0, 0, 5), (0, 1, 0, 5), (0, 3, 3, 9)])
    images = ByImage(names=("a",), num_classes=4, entries=entries)
    shown = dataclasses.replace(hostile(4, ["p", "q", "none", "s"]), images={"": images})
    rows = Output("", [shown]).classes
    assert [row.name for row in rows] == ["s", "p", "q", "none"]
    assert [row.cells[0].text for row in rows] == ["100.0", "50.0", "0.0", "–"]
    assert [row.share for row in rows] == ["47.4", "26.3", "26.3", "–"]


def test_examples_that_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "pictures_1.npz"
    one = np.zeros((4, 6), np.uint8)
    image = np.zeros((4, 6, 3), np.uint8)
    write_examples(path, [Example("a", "best", 1.0, image, one, one)])
    assert read_examples(path)[0].name == "a"
    for wrong, label in (
        (image, one.T),
        (image, one.astype(np.int16)),
        (np.zeros((4, 999, 3), np.uint8), one),
    ):
        write_examples(path, [Example("a", "best", 1.0, wrong, label, label)])
        with pytest.raises(ValueError, match="pictures_1.npz: cannot be read as examples of a run"):
            read_examples(path)


def test_plots_are_the_same_each_time_and_take_the_pages_colours():
    lines = [
        Line("a", [1, 2], [3.0, 4.0], np.array([[2, 4], [np.nan, np.nan]])),
        Line("", [1], [2.0]),
    ]
    first = line_plot("loss", lines)
    assert first == line_plot("loss", lines)
    assert (
        "var(--s0)" in first
        and "var(--ink)" in first
        and "#0" not in re.sub("url.#|href=.#", "", first)
    )
    matrix = np.array([[8, 2, 0], [1, 1, 0], [0, 0, 0]])
    svg = confusion_plot(matrix, ["sky", "sea", "never"])
    assert "sky" in svg and "never" not in svg
    assert re.findall(r">(\d+)</text>", svg)[:4] == ["80", "20", "50", "50"]


def test_a_recipe_is_flattened():
    described = {"class": "a.Recipe", "model": {"class": "x.FCN", "skips": ["pool4", "pool3"]}}
    described |= {"many": [{"class": "c.D", "e": 1}], "none": None, "empty": []}
    assert flat(described) == {
        "class": "Recipe",
        "model": "FCN",
        "model.skips": "pool4, pool3",
        "many[0]": "D",
        "many[0].e": "1",
        "none": "none",
        "empty": "none",
    }


def test_pictures_of_a_page_are_pictures(trained):
    images = read(trained / "report.html").all("img")
    assert len(images) == 3 * 5
    for attrs in images:
        data = base64.b64decode(attrs["src"].split(",")[1])
        with Image.open(io.BytesIO(data)) as picture:
            assert picture.convert("RGB").size == (300, 300)


def test_outputs_that_are_no_classes_have_their_scores_in_their_own_units(folder):
    for file in folder.glob("*.npz"):
        file.unlink()
    lines = [
        {"step": step, "split": "x", "best_by": "depth_accuracy", "depth_accuracy": 0.1 * step}
        | {"depth_rmse": 3.25 - step}
        for step in (1, 2)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = read(write_report([folder]))
    text = " ".join(page.text.split())
    assert "Depth accuracy 0.2 on x, at step 2" in text
    assert "depth rmse 1.25" in text and "Scores, per cent" not in text
    assert "This page has no" not in text
    assert "depth accuracy" in [x["aria-label"] for x in page.all("svg")]
