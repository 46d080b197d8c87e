"""A run on labels as they come: trained, evaluated and resumed without giving its options again."""

import dataclasses
import functools
import json
import re
import sys

import layout_files
import numpy as np
import pytest
import smallest_recipe
import tyro
from layout_files import label_of, save_image, save_label

from experiments import folders
from fcn_jax import FCN
from fcn_jax.commands.evaluate import evaluate
from fcn_jax.data import CamVid, Folders, LabelValues
from fcn_jax.runs import experiment
from fcn_jax.runs.place import Place
from fcn_jax.runs.run import run
from fcn_jax.runs.stored import StoredRun
from fcn_jax.training.run_folder import RunFolder
from fcn_jax.weights.surgery import transplant

RECIPE = "folders_recipe"


@functools.wraps(folders.recipe)
def recipe(**options):
    """The recipe of `experiments.folders` with the smallest net."""
    made = folders.recipe(**options)
    small = smallest_recipe.RECIPE
    net = dataclasses.replace(small.model, num_classes=made.train_set.num_classes)
    return dataclasses.replace(
        small, model=net, train_set=made.train_set, validation_set=made.validation_set
    )


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    """A module that `--recipe` finds, because the smallest net is not part of fcn_jax."""
    file = tmp_path / f"{RECIPE}.py"
    file.write_text("from test_label_runs import recipe\n")
    for name in ("join", "use_compile_cache", "own_process"):  # which are for a whole process
        monkeypatch.setattr(experiment, name, lambda *_, **__: None)
    return file


def train(monkeypatch, *options):
    monkeypatch.setattr(sys, "argv", ["folders.py", *map(str, options)])
    experiment.main(recipe)


def evaluated(capsys, *options):
    capsys.readouterr()
    tyro.cli(evaluate, args=[*map(str, options)])
    return capsys.readouterr().out


def test_a_camvid_download_trains_with_one_command(tmp_path, monkeypatch, capsys, module):
    root = layout_files.camvid(tmp_path / "CamVid", train=4, val=3)
    train(monkeypatch, "--data", root, "--workdir", tmp_path / "run")
    printed = capsys.readouterr().out
    assert "CamVid train: 4 images to train on; CamVid val: 3 to validate on" in printed
    assert re.search("start: .*\ncompiling the training step, which may take minutes", printed)
    last = [f"page: {tmp_path}/run/report.html"]
    last += [f"predict: python -m fcn_jax predict {tmp_path}/run IMAGE"]
    assert printed.splitlines()[-2:] == last
    described = RunFolder(tmp_path / "run").described()
    stored = described["recipe"]["train_set"]
    assert stored["class"].endswith("CamVid") and stored["label_values"]["ignore"] == [11]
    assert described["arguments"]["layout"] == "auto"
    text = evaluated(capsys, tmp_path / "run", "--data", root, "--recipe", module, "--ignore", 0, 3)
    assert "CamVid val: 3 images" in text and "bicyclist" in text
    assert "9 of 11 classes" in text or "left out" in text


def make_masks(root):
    """Gray labels of 0, 7, 33 (16 bits), in BMP and PNG, one value of them void."""
    for n in range(4):
        save_image(root / "photos" / f"{n}.jpg", n)
        save_label(root / "masks" / f"{n}_mask.png", label_of(n, (0, 7, 400, 9)), np.uint16)
    file = root / "map.csv"
    file.write_text("value,class,name\n0,0,ground\n7,1,tree\n400,1,tree\n")
    options = ["--images", "photos/*.jpg", "--labels", "masks/{stem}_mask.png"]
    return [*options, "--label-map", file, "--ignore", 9]


def test_the_options_of_a_run_are_recorded_and_used_again(tmp_path, monkeypatch, capsys, module):
    options = make_masks(tmp_path)
    place = ["--data", tmp_path, "--workdir", tmp_path / "run"]
    train(monkeypatch, *place, *options)
    stored = StoredRun(tmp_path / "run").validation_set
    mapping = ((0, 0), (7, 1), (400, 1))
    assert isinstance(stored, Folders)
    assert stored.label_values == LabelValues(mapping=mapping, ignore=(9,))
    assert stored.class_names == ("ground", "tree") and stored.images == "photos/*.jpg"
    train(monkeypatch, *place, *options)
    assert "already" in capsys.readouterr().out
    (tmp_path / "map.csv").rename(tmp_path / "other.csv")
    same = ["--data", tmp_path, "--recipe", tmp_path / "none.py"]
    with pytest.raises(SystemExit):  # the recipe is needed for the net alone
        evaluated(capsys, tmp_path / "run", *same)
    (tmp_path / "other.csv").rename(tmp_path / "map.csv")
    text = evaluated(capsys, tmp_path / "run", "--data", tmp_path, "--recipe", module)
    assert "Folders: 1 images" in text and "ground" in text and "tree" in text
    with pytest.raises(SystemExit) as end:  # other values are another recipe
        train(monkeypatch, *place, *options[:-1], 9, 7)
    assert end.value.code == 1
    assert "label_values.ignore" in capsys.readouterr().err


def test_an_evaluation_of_other_labels_or_data_leaves_the_run_s_files(
    tmp_path, monkeypatch, capsys, module
):
    root = layout_files.camvid(tmp_path / "CamVid", train=2, val=2)
    other = layout_files.camvid(tmp_path / "other", train=2, val=3)
    run = tmp_path / "run"
    train(monkeypatch, "--data", root, "--workdir", run)

    def files():
        return {p.name: p.read_bytes() for p in run.iterdir() if p.suffix in (".npz", ".html")}

    before = files()
    assert "report.html" in before and any(name.startswith("validation_") for name in before)
    for options, unlike in ((["--ignore", 3], True), (["--data", other], False)):
        capsys.readouterr()
        command = [run, "--data", root, "--recipe", module, *options]
        tyro.cli(evaluate, args=[*map(str, command)])
        printed = capsys.readouterr()
        assert "its page and kept counts are unchanged" in printed.out and files() == before
        assert ("labels are read unlike in the run" in printed.err) == unlike
    text = evaluated(capsys, run, "--data", root, "--recipe", module)
    assert "page: " in text and "unchanged" not in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--num-classes", 2], "found values|expected values 0 to 254|found 7"),
        (["--num-classes", 9, "--ignore", 400, 7], "expected labels 0 to 8, or 255.*found 9"),
        ([], "how many classes are there"),
        (["--label-map", "gone.csv"], "gone.csv"),
        (["--label-map", "MAP", "--reduce-zero-label"], "leave --reduce-zero-label out"),
        (["--label-map", "MAP"], "found 9, which the label map does not name.*--ignore 9"),
    ],
)
def test_a_mistake_is_one_message_and_status_1(tmp_path, monkeypatch, capsys, options, message):
    patterns = make_masks(tmp_path)[:4]
    options = [tmp_path / "map.csv" if option == "MAP" else option for option in options]
    with pytest.raises(SystemExit) as end:
        train(monkeypatch, "--data", tmp_path, "--workdir", tmp_path / "run", *patterns, *options)
    printed = capsys.readouterr().err
    assert end.value.code == 1 and "Traceback" not in printed
    assert re.search(message, " ".join(printed.split())), printed
    assert not list((tmp_path / "run").glob("checkpoints/*"))


def test_the_recipe_looks_into_the_data_folder_only_where_it_is_named(tmp_path, monkeypatch):
    layout_files.camvid(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    assert isinstance(folders.recipe(num_classes=2).train_set, Folders)
    made = folders.recipe(data=tmp_path / "data")
    assert made.train_set == CamVid(split="train") and made.validation_set == CamVid(split="val")
    assert isinstance(made.model, FCN) and made.model.num_classes == 11
    arguments = json.loads(json.dumps({"data": str(tmp_path / "data"), "ignore": [0, 3]}))
    again = folders.recipe(**arguments)
    assert again.train_set.label_values == LabelValues(ignore=(11, 0, 3))


def test_another_number_of_classes_keeps_the_trunk_and_says_so(tmp_path):
    origin = {"module": "smallest_recipe", "arguments": {}, "overrides": {}}
    first = smallest_recipe.RECIPE
    run(first, Place(workdir=tmp_path / "four"), origin=origin, say=lambda _: None)
    for n in range(4):
        save_image(tmp_path / "images" / f"{n}.png", n)
        save_label(tmp_path / "labels" / f"{n}.png", label_of(n, range(6)))
    six = recipe(num_classes=6, data=tmp_path)
    six = dataclasses.replace(six, frozen=("conv1",))  # so that the trunk can be compared
    said = []
    place = Place(workdir=tmp_path / "six", data=tmp_path, init=tmp_path / "four")
    run(six, place, origin=origin, say=said.append)
    (line,) = [line for line in said if line.startswith("start:")]
    assert "1 layers copied, new because they have another shape: score_fr" in line
    from fcn_jax.runs.start import read_variables

    old, new = (read_variables(tmp_path / name)[0]["params"] for name in ("four", "six"))
    for name, value in old["trunk"]["conv1"].items():
        np.testing.assert_array_equal(new["trunk"]["conv1"][name], value)
    assert new["score_fr"]["kernel"].shape[-1] == 6 and np.any(new["score_fr"]["kernel"])


def test_only_layers_beyond_the_trunk_may_be_new():
    def net(width, classes, decoder=2):
        return {
            "params": {
                "trunk": {"conv1": {"kernel": np.full((3, 3, 3, width), 1.0)}},
                "decoder": {"fuse": {"kernel": np.full((1, 1, width, decoder), 2.0)}},
                "score": {"kernel": np.zeros((1, 1, decoder, classes)), "bias": np.zeros(classes)},
            }
        }

    target = net(4, 6, decoder=3)
    target["params"]["decoder"]["fuse"]["kernel"] += 5
    donor = net(4, 21)
    merged, report = transplant(target, donor, other_classes=True)
    assert report.copied == ("conv1",)
    assert report.reshaped == report.kept == ("decoder/fuse", "score")
    assert np.all(merged["params"]["decoder"]["fuse"]["kernel"] == 7)
    same, report = transplant(net(4, 6), donor, other_classes=True)
    assert report.copied == ("conv1", "decoder/fuse") and report.reshaped == ("score",)
    assert not np.any(same["params"]["score"]["kernel"])
    with pytest.raises(ValueError, match="misshapen: params/score/kernel"):
        transplant(net(4, 6), donor)
    with pytest.raises(ValueError, match="misshapen: params/trunk/conv1"):
        transplant(net(5, 6), donor, other_classes=True)
