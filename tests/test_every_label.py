"""A recipe with labels of all kinds: it trains, resumes, scores, is loaded, and predicts."""

import csv
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import fcn_jax as fcn
import fcn_jax.runs.run as run_module
from fcn_jax.commands.evaluate import evaluate as evaluate_command
from fcn_jax.commands.predict import predict
from fcn_jax.data.scene_labels import SceneLabels
from fcn_jax.data.scenes import Scenes
from fcn_jax.metrics import AttributeAccuracy, ClassAccuracy, DepthErrors
from fcn_jax.report.palette import coloured
from fcn_jax.runs.description import build, describe
from fcn_jax.runs.lookup import import_recipe_module
from fcn_jax.runs.place import Place
from fcn_jax.runs.run import run
from fcn_jax.runs.scoring import score_line
from fcn_jax.training.checkpoints import Checkpoints
from fcn_jax.training.run_folder import RunFolder, deciding_score

EVERY = Path(__file__).with_name("every_label.py")
ORIGIN = {"module": str(EVERY), "overrides": {}}
SCENES = Scenes(length=7, seed=0, largest=(24, 20), smallest=(9, 9), num_classes=4)


@pytest.fixture(scope="module")
def recipe():
    return import_recipe_module(str(EVERY)).RECIPE


@pytest.fixture(scope="module")
def trained(recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    run(recipe, Place(workdir=folder, threads=2), origin=ORIGIN, say=lambda _: None)
    return folder


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_scores_are_those_of_each_image_for_any_batch(recipe, random_variables, batch_size):
    net, preprocessing = recipe.model, recipe.start.preprocessing
    variables = random_variables(net, size=16)
    source = SceneLabels(scenes=SCENES, labels=("depth", "scene", "shapes", "semantic"))
    found = fcn.evaluate(net, variables, preprocessing, source, batch_size=batch_size)
    assert list(found) == ["depth", "scene", "shapes", "semantic"]
    model = fcn.Model(net, variables, preprocessing)
    evaluators = {
        "depth": DepthErrors(),
        "scene": ClassAccuracy(num_classes=4),
        "shapes": AttributeAccuracy(num_attributes=3),
    }
    for name, evaluator in evaluators.items():
        rows = []
        for i in range(len(source)):
            example = source[i]
            label = np.asarray(example.label[name])
            rows.append(evaluator.measure(label, model.scores(example.image)[name]))
        assert found[name].evaluator == evaluator
        np.testing.assert_allclose(found[name].values, rows, rtol=1e-3, atol=1e-5)
    line = score_line(found, step=3)
    assert line["best_by"] == "depth_delta_1" and deciding_score(line) == line["depth_delta_1"]
    assert {"depth_rmse", "scene_accuracy", "shapes_mean_f1", "semantic_mean_iu"} <= line.keys()


def test_a_run_with_all_kinds_resumes_in_the_same_bits(recipe, trained, tmp_path, monkeypatch):
    read_ahead = run_module.read_ahead

    def dies(batches, start, stop, *, threads):
        for n, batch in enumerate(read_ahead(batches, start, stop, threads=0), start):
            if n == 5:
                raise InterruptedError
            yield batch

    monkeypatch.setattr(run_module, "read_ahead", dies)
    with pytest.raises(InterruptedError):
        run(recipe, Place(workdir=tmp_path), origin=ORIGIN, say=lambda _: None)
    monkeypatch.setattr(run_module, "read_ahead", read_ahead)
    run(recipe, Place(workdir=tmp_path), origin=ORIGIN, say=lambda _: None)
    states = []
    for folder in (trained, tmp_path):
        checkpoints = Checkpoints(folder / "checkpoints")
        states.append(jax.tree.leaves(checkpoints.restore_as_saved(recipe.steps)))
        checkpoints.close()
    for whole, resumed in zip(*states, strict=True):
        assert np.asarray(whole).tobytes() == np.asarray(resumed).tobytes()
    texts = [(folder / "metrics.jsonl").read_text() for folder in (trained, tmp_path)]
    assert texts[0] == texts[1]


def test_a_run_with_all_kinds_evaluates_loads_and_predicts(recipe, trained, capsys):
    lines = [line for line in RunFolder(trained).metrics() if deciding_score(line) is not None]
    assert [line["step"] for line in lines] == [3, 6] and "best_by" not in lines[0]
    assert "mean_iu" in lines[0] and lines[0]["depth_abs_rel"] > 0
    evaluate_command(trained, recipe=str(EVERY), details=False)
    out = " ".join(capsys.readouterr().out.split())
    best = max(lines, key=lambda line: line["mean_iu"])
    assert f"abs rel {best['depth_abs_rel']:.3g} (" in out
    assert f"scene: accuracy {best['scene_accuracy']:.3g} (" in out
    model = fcn.load(trained, recipe=str(EVERY))
    example = recipe.validation_set[0]
    found, scores = model(example.image), model.scores(example.image)
    h, w = example.image.shape[:2]
    assert found["semantic"].shape == (h, w) and found["semantic"].dtype == np.uint8
    np.testing.assert_array_equal(found["depth"], scores["depth"][..., 0])
    assert found["scene"] == scores["scene"].argmax()
    np.testing.assert_array_equal(found["shapes"], scores["shapes"] > 0)
    probabilities = model.probabilities(example.image)
    assert set(probabilities) == {"semantic", "scene", "shapes"}
    expected = 1 / (1 + np.exp(-scores["shapes"].astype(float)))
    np.testing.assert_allclose(probabilities["shapes"], expected, rtol=1e-5)
    assert set(model.entropy([example.image])[0]) == {"semantic", "scene"}
    drawn = model.overlay(example.image, alpha=1.0)
    assert set(drawn) == {"semantic", "depth"}
    np.testing.assert_array_equal(np.asarray(drawn["depth"]), coloured(found["depth"]))


def test_predict_writes_millimetres_and_a_table_of_answers(recipe, trained, tmp_path):
    example, out = recipe.validation_set[1], tmp_path / "out"
    Image.fromarray(example.image).save(tmp_path / "a.png")
    with pytest.raises(SystemExit) as stop:
        predict(trained, (tmp_path / "a.png",), out=out, recipe=str(EVERY), confidence=True)
    assert not stop.value.code
    found = fcn.load(trained, recipe=str(EVERY))(example.image)
    with Image.open(out / "a_depth.png") as stored:
        assert stored.mode == "I;16"
        expected = np.clip(np.rint(found["depth"] * 1000), 0, 65535)
        np.testing.assert_array_equal(np.asarray(stored), expected)
    with Image.open(out / "a_semantic.png") as stored:
        np.testing.assert_array_equal(np.asarray(stored), found["semantic"])
    with Image.open(out / "a_depth_overlay.png") as stored:
        mixed = np.rint(0.5 * example.image + 0.5 * coloured(found["depth"], 10.0))
        np.testing.assert_array_equal(np.asarray(stored), mixed)
    assert {path.name for path in out.glob("*confidence*")} == {"a_semantic_confidence.png"}
    header, row = csv.reader((out / "predictions.csv").read_text().splitlines())
    names = recipe.validation_set.class_names
    shapes = "; ".join(n for n, yes in zip(names["shapes"], found["shapes"], strict=True) if yes)
    assert header == ["image", "label", "scene", "shapes"]
    assert row[1:] == ["a.png", names["scene"][found["scene"]], shapes]


@pytest.mark.slow
def test_images_and_rows_over_devices_give_the_same_run(trained, tmp_path):
    command = [sys.executable, str(EVERY), "--workdir", str(tmp_path), "--mesh", "data=2,space=2"]
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "4"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for one, other in zip(*(RunFolder(f).metrics() for f in (trained, tmp_path)), strict=True):
        assert one.keys() == other.keys()
        for name in one.keys() - {"split"}:
            np.testing.assert_allclose(one[name], other[name], rtol=1e-4, err_msg=name)


def test_colours_of_numbers_rise_from_blue_to_yellow():
    colours = coloured(np.float32([[1e-6, 2, 4, 0, np.nan, 9]]), 4.0)[0]
    assert (colours[[3, 4]] == 255).all() and colours[0].tolist() == [68, 1, 84]
    assert colours[1].tolist() == [33, 145, 140] and colours[2].tolist() == [253, 231, 37]
    assert (colours[5] == colours[2]).all()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bias:
    """An evaluator as a user writes it."""

    best = "closeness"

    def measure(self, label, scores):
        known = label > 0
        return np.array([np.sum((scores[..., 0] - label)[known]), known.sum()], np.float64)

    def scores(self, sums):
        bias = sums[..., 0] / sums[..., 1]
        return {"bias": bias, "closeness": -np.abs(bias)}


def test_a_recipe_brings_its_own_evaluator_and_depth_chooses_the_best(recipe, tmp_path):
    alone = dataclasses.replace(
        recipe,
        model=recipe.model.clone(heads=fcn.heads.Pixels(1)),
        train_set=dataclasses.replace(recipe.train_set, labels="depth"),
        validation_set=dataclasses.replace(recipe.validation_set, labels="depth"),
        loss=fcn.losses.SiLog(),
        evaluators={"": Bias()},
    )
    assert hash(alone.evaluators) is not None
    run(alone, Place(workdir=tmp_path), origin=ORIGIN, say=lambda _: None)
    folder = RunFolder(tmp_path)
    lines = [line for line in folder.metrics() if deciding_score(line) is not None]
    assert [set(line) for line in lines] == [{"step", "split", "best_by", "bias", "closeness"}] * 2
    assert folder.best_step() == max(lines, key=lambda line: line["closeness"])["step"]
    assert not list(tmp_path.glob("validation_*.npz")) and (tmp_path / "examples.png").exists()
    found = fcn.load(tmp_path, net=alone.model)(recipe.validation_set[0].image)
    assert found.dtype == np.float32 and found.ndim == 2
    with pytest.raises(ValueError, match="outputs are ''"):
        run(
            dataclasses.replace(alone, evaluators={"depth": Bias()}),
            Place(workdir=tmp_path / "other"),
            origin=ORIGIN,
            say=lambda _: None,
        )


def test_evaluators_are_stored_and_built_again(recipe):
    given = {"depth": DepthErrors(window=(45, 471, 41, 601)), "scene": ClassAccuracy(num_classes=4)}
    described = describe(dataclasses.replace(recipe, evaluators=given))["evaluators"]
    assert build(json.loads(json.dumps(described))) == given
    assert describe(recipe)["evaluators"] is None


def test_a_line_with_another_best_score_is_read_and_a_damaged_one_refused(tmp_path):
    folder = RunFolder(tmp_path)
    for step, rmse in ((1, 0.5), (2, float("nan")), (3, 0.7), (4, 0.6)):
        folder.append(step=step, best_by="depth_x", depth_x=rmse)
    folder.append(step=5, loss=1.0)
    assert folder.best_step() == 3
    for damaged in ('{"step": 6, "best_by": ["a"]}', '{"step": 6, "best_by": "x", "x": "high"}'):
        other = tmp_path / "other"
        other.mkdir(exist_ok=True)
        (other / "metrics.jsonl").write_text(damaged + "\n")
        with pytest.raises(ValueError, match="line 1 is damaged"):
            RunFolder(other).best_step()
