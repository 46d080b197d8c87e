"""Model cards of runs, exports and conversions."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from smallest_recipe import RECIPE

from fcn_jax.commands.convert import convert as convert_command
from fcn_jax.commands.export import export as export_command
from fcn_jax.report.card import FORMAT, MARK, Card, write_card
from fcn_jax.runs.cards import run_card
from fcn_jax.runs.place import Place
from fcn_jax.runs.report import shown
from fcn_jax.runs.run import run
from fcn_jax.training.run_folder import RunFolder
from fcn_jax.weights.foreign.convert import Conversion
from fcn_jax.weights.weights_file import Metadata

STORED = Path(__file__).with_name("run_of_0_1")
ORIGIN = {"module": "smallest_recipe", "arguments": {}, "overrides": {}}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "small"
    run(RECIPE, Place(workdir=folder), origin=ORIGIN, say=lambda _: None)
    return folder


@pytest.fixture
def folder(trained, tmp_path):
    return Path(shutil.copytree(trained, tmp_path / "small"))


def front_matter(path):
    """The head of a card; each line is a name and JSON, which is YAML too."""
    _, head, _ = path.read_text("utf-8").split("---\n", 2)
    return {
        key: json.loads(text) for key, text in (line.split(": ", 1) for line in head.splitlines())
    }


def code(path):
    return re.findall(r"```python\n(.*?)```", path.read_text("utf-8"), re.S)[0]


def test_a_run_has_a_card_in_the_form_of_model_hubs(trained):
    head = front_matter(trained / "README.md")
    line = RunFolder(trained).metrics()[-1]
    assert head["pipeline_tag"] == "image-segmentation" and head["library_name"] == "fcn_jax"
    [entry] = head["model-index"]
    [result] = entry["results"]
    assert entry["name"] == "small" and set(result) == {"task", "dataset", "metrics"}
    assert result["dataset"] == {"type": "Scenes", "name": "Scenes, 4 images"}
    found = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert found["mean_iou"] == line["mean_iu"] and found["accuracy"] == line["pixel_accuracy"]
    said = json.loads((trained / "README.json").read_text())
    assert said["format"] == FORMAT and said["class_names"][""] == list(
        RECIPE.validation_set.class_names
    )
    low, high = said["scores"]["mean_iu"]["interval"]
    assert low <= line["mean_iu"] <= high
    text = (trained / "README.md").read_text()
    for what in ("## Licence", "## Input", "0 background, 1 ", "smallest_recipe", '"mean": [120.0'):
        assert what in text


def test_the_three_lines_of_a_card_work(folder, tmp_path, monkeypatch):
    old = Path(shutil.copytree(STORED, tmp_path / "run"))
    write_card(old / "README.md", run_card(RunFolder(old), shown(RunFolder(old))))
    names = {"image": np.zeros((20, 30, 3), np.uint8)}
    monkeypatch.chdir(tmp_path)
    exec(code(old / "README.md").replace('"photo.jpg"', "image"), names)
    assert names["label"].shape == (20, 30)
    export_command(folder, Path("out.npz"), recipe="smallest_recipe")
    exec(code(tmp_path / "out.md").replace("conv1_1", "conv1"), names)
    assert names["kernel"].shape == (4, 3, 3, 3)


def test_an_export_has_the_scores_of_its_own_step_only(folder, tmp_path):
    out = tmp_path / "out" / "net.safetensors"
    net = {"recipe": "smallest_recipe"}
    export_command(folder, out, **net)
    assert {p.name for p in out.parent.iterdir()} == {"net.safetensors", "net.md", "net.json"}
    assert json.loads(out.with_suffix(".json").read_text())["scores"]
    assert "load_file(" in code(out.with_suffix(".md"))
    line = {"step": 1, "split": "x", "mean_iu": 0.99}
    before = (folder / "metrics.jsonl").read_text()
    (folder / "metrics.jsonl").write_text(json.dumps(line) + "\n" + before)
    export_command(folder, out, step=2, **net)
    said = json.loads(out.with_suffix(".json").read_text())
    assert said["scores"] == {} and "step 2;" in said["source"]


def test_a_conversion_says_source_classes_and_licence(tmp_path, monkeypatch):
    target = tmp_path / "a.safetensors"
    about = Metadata(
        architecture="FCN",
        num_classes=2,
        preprocessing=RECIPE.start.preprocessing,
        source="torchvision 0.29",
        source_sha256="ab" * 32,
        net="FCN(trunk=VGG16())",
        class_names=("sky", "sea"),
    )
    done = Conversion(
        target=target,
        metadata=about,
        layers=1,
        parameters=2,
        notes=("aux: unused",),
        remarks=("BSD 3-Clause",),
    )
    monkeypatch.setattr("fcn_jax.weights.foreign.convert.convert", lambda *_: done)
    convert_command("torchvision", tmp_path / "in.pth", target)
    text = (tmp_path / "a.md").read_text()
    for what in ("torchvision 0.29", "ab" * 32, "0 sky, 1 sea", "left out: aux", "BSD 3-Clause"):
        assert what in text
    assert 'fcn.load("a.safetensors")' in code(tmp_path / "a.md")
    about = dataclasses.replace(about, net="", class_names=(), architecture="VGG16")
    done = dataclasses.replace(done, metadata=about)
    monkeypatch.setattr("fcn_jax.weights.foreign.convert.convert", lambda *_: done)
    convert_command("torchvision", tmp_path / "in.pth", target)
    assert "--init a.safetensors" in code(tmp_path / "a.md")
    assert front_matter(tmp_path / "a.md")["pipeline_tag"] == "image-classification"


def test_files_of_others_and_changed_cards_stay(tmp_path):
    path = tmp_path / "README.md"
    card = Card(name='a "b"\nc', net="n", source="日本", preprocessing={}, use=["x = 1"])
    path.write_text("my notes")
    assert write_card(path, card) == [tmp_path / "README.json"]
    assert path.read_text() == "my notes"
    path.unlink()
    assert write_card(path, card) == [path, tmp_path / "README.json"]
    assert write_card(path, dataclasses.replace(card, net="m")) == [path, tmp_path / "README.json"]
    assert "m, for fcn_jax" in path.read_text("utf-8")
    path.write_text(path.read_text("utf-8").replace(MARK, "").replace("m, for", "mine, for"))
    (tmp_path / "README.json").write_text("{}")
    assert write_card(path, card) == [] and "mine, for" in path.read_text()
