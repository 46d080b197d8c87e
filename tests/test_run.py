"""A whole run: trained, interrupted, resumed to the bit, evaluated, used for prediction."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import fcn_jax.runs.run as run_module
from fcn_jax.commands.evaluate import evaluate
from fcn_jax.commands.predict import predict
from fcn_jax.runs.lookup import import_recipe_module
from fcn_jax.runs.options import override
from fcn_jax.runs.place import Place
from fcn_jax.runs.run import run
from fcn_jax.training.checkpoints import Checkpoints
from fcn_jax.training.run_folder import RunFolder

TINY = Path(__file__).with_name("tiny_recipe.py")
ORIGIN = {"module": str(TINY), "overrides": {}}
BENCHMARK = TINY.parents[1] / "benchmarks" / "faults.py"


class KilledError(Exception):
    """Stands in for SIGKILL inside one process."""


@pytest.fixture(scope="module")
def recipe():
    return import_recipe_module(str(TINY)).RECIPE


@pytest.fixture(scope="module")
def finished(recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    line = run(recipe, Place(workdir=folder, threads=2), origin=ORIGIN, say=lambda _: None)
    assert line is not None and line["step"] == recipe.steps
    return folder


def last_state(folder):
    checkpoints = Checkpoints(folder / "checkpoints")
    state = checkpoints.restore_as_saved(checkpoints.steps()[-1])
    checkpoints.close()
    return jax.tree_util.tree_leaves_with_path(state)


def test_a_run_that_broke_off_ends_in_the_same_bits(recipe, finished, tmp_path, monkeypatch):
    read_ahead = run_module.read_ahead

    def dies_at(batch_number):
        def reader(batches, start, stop, *, threads):
            for n, batch in enumerate(read_ahead(batches, start, stop, threads=0), start):
                if n == batch_number:
                    raise KilledError
                yield batch

        return reader

    for batch_number in (1, 14):
        monkeypatch.setattr(run_module, "read_ahead", dies_at(batch_number))
        with pytest.raises(KilledError):
            run(recipe, Place(workdir=tmp_path), origin=ORIGIN, say=lambda _: None)
    monkeypatch.setattr(run_module, "read_ahead", read_ahead)
    run(recipe, Place(workdir=tmp_path, threads=3), origin=ORIGIN, say=lambda _: None)
    for (path, whole), (_, resumed) in zip(last_state(finished), last_state(tmp_path), strict=True):
        assert np.asarray(whole).tobytes() == np.asarray(resumed).tobytes(), path
    texts = [(folder / "metrics.jsonl").read_text() for folder in (finished, tmp_path)]
    assert texts[0] == texts[1]


def test_the_run_folder_holds_what_ran_and_what_it_measured(recipe, finished):
    described = json.loads((finished / "recipe.json").read_text())
    assert described["recipe"]["steps"] == recipe.steps
    assert described["preprocessing"]["channels"] == "RGB"
    assert {"jax", "flax", "devices"} <= described["environment"].keys()
    lines = RunFolder(finished).metrics()
    scored = [line for line in lines if "mean_iu" in line]
    assert [line["step"] for line in scored] == [10, 20, 30]
    for name in ("pixel_accuracy", "mean_accuracy", "mean_iu", "frequency_weighted_iu"):
        assert all(0 <= line[name] <= 1 for line in scored)
    with Image.open(finished / "examples.png") as picture:
        assert picture.size[0] > 100


def test_a_finished_run_is_not_trained_again(recipe, finished):
    said = []
    before = (finished / "metrics.jsonl").read_text()
    line = run(recipe, Place(workdir=finished), origin=ORIGIN, say=said.append)
    assert line["step"] == recipe.steps
    assert (finished / "metrics.jsonl").read_text() == before


def test_another_recipe_in_the_same_folder_is_refused(recipe, finished):
    other = override(recipe, {"optimizer": {"learning_rate": 0.5}})
    with pytest.raises(ValueError, match="optimizer.learning_rate"):
        run(other, Place(workdir=finished), origin=ORIGIN, say=lambda _: None)


def test_evaluating_gives_the_scores_of_training_for_any_batch_size(finished, capsys):
    best = max(
        (line for line in RunFolder(finished).metrics() if "mean_iu" in line),
        key=lambda line: line["mean_iu"],
    )
    for batch_size in (None, 3):
        evaluate(finished, batch_size=batch_size, recipe=str(TINY))
        out = capsys.readouterr().out
        assert f"mean IU {100 * best['mean_iu']:.1f} (" in out
        assert f"pixel accuracy {100 * best['pixel_accuracy']:.1f} (" in out


def test_predicting_names_what_it_cannot_read_and_does_the_rest(finished, tmp_path, capsys):
    good, bad = tmp_path / "good.png", tmp_path / "bad.jpg"
    Image.fromarray(np.zeros((17, 33, 3), np.uint8)).save(good)
    bad.write_bytes(b"no image")
    with pytest.raises(SystemExit) as stop:
        predict(finished, (bad, good), out=tmp_path / "out", recipe=str(TINY))
    assert stop.value.code == 1
    assert "bad.jpg" in capsys.readouterr().err
    with Image.open(tmp_path / "out" / "good.png") as label:
        assert (label.mode, label.size) == ("P", (33, 17))


def test_without_data_an_experiment_says_what_is_missing_and_names_the_demo(tmp_path):
    command = [sys.executable, "-m", "experiments.voc_fcn8s", "--data", str(tmp_path / "nowhere")]
    result = subprocess.run(
        command, capture_output=True, text=True, cwd=TINY.parents[1], check=False
    )
    assert result.returncode == 1
    assert "nowhere" in result.stderr and "--demo" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (TINY.parents[1] / "runs" / "voc_fcn8s").exists()


@pytest.mark.slow
def test_killed_and_damaged_for_real_it_ends_in_the_same_bits():
    few = ["--kills", "4", "--damaged", "2", "--flips", "2", "--sizes", "2", "--no-processes"]
    command = [sys.executable, str(BENCHMARK), *few]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
