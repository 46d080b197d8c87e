"""Labels that are no classes of pixels: depth, and classes or attributes of the image.

How they are read, padded, moved and checked; what is measured of them, against plain loops; and a
recipe with all kinds of labels at once.
"""

import csv
import dataclasses
import json
import math
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
from fcn_jax.data import (
    Augment,
    DataError,
    Example,
    LabelKind,
    NYUDv2,
    check_labels,
    evaluation_batches,
)
from fcn_jax.data.batching import collate
from fcn_jax.data.kinds import as_labels
from fcn_jax.data.scene_labels import SceneLabels
from fcn_jax.data.scenes import Scenes
from fcn_jax.data.source import ignore_transparent
from fcn_jax.metrics import AttributeAccuracy, ClassAccuracy, DepthErrors, Measured
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


class Given:
    """A data set of one image whose labels, their numbers and kinds are given."""

    def __init__(self, label, num_classes, label_kinds):
        self.label, self.num_classes, self.label_kinds = label, num_classes, label_kinds
        self.class_names = jax.tree.map(lambda k: tuple(map(str, range(k))), num_classes)

    def __len__(self):
        return 1

    def at(self, root):
        return self

    def size(self, i):
        return (2, 3)

    def __getitem__(self, i):
        return Example(np.zeros((2, 3, 3), np.uint8), self.label, "one")


def test_padding_is_missing_and_labels_of_the_image_are_stacked():
    image = np.zeros((2, 3, 3), np.uint8)
    label = {
        "map": np.ones((2, 3), np.uint8),
        "depth": np.full((2, 3), 2.5),
        "scene": 3,
        "yes": np.array([1, 0, np.nan]),
    }
    batch = collate([Example(image, label, "a"), Example(image, label, "b")], (4, 5))["label"]
    assert batch["map"].dtype == np.uint8 and (batch["map"][:, 2:] == 255).all()
    assert batch["depth"].dtype == np.float32 and np.isnan(batch["depth"][:, :, 3:]).all()
    assert (batch["depth"][:, :2, :3] == 2.5).all()
    assert batch["scene"].dtype == np.int32 and batch["scene"].tolist() == [3, 3]
    np.testing.assert_array_equal(batch["yes"], np.float32([[1, 0, np.nan]] * 2))
    clear = np.dstack([image, np.full((2, 3), 255, np.uint8)])
    clear[0, 0, 3] = 0
    _, seen = ignore_transparent(clear, as_labels(label))
    assert seen["map"][0, 0] == 255 and np.isnan(seen["depth"][0, 0]) and seen["scene"] == 3


def test_the_rows_that_fill_the_last_batch_have_nothing_to_score():
    source = SceneLabels(scenes=SCENES)
    last = evaluation_batches(source, batch_size=4)[1]
    assert last["index"].tolist()[-1] == -1 and last["label"]["scene"][-1] == -1
    assert (
        np.isnan(last["label"]["depth"][-1]).all() and np.isnan(last["label"]["shapes"][-1]).all()
    )


def test_numbers_move_with_the_classes_and_keep_their_values():
    augment = Augment(mirror=True, scale=(0.5, 2.0), crop=(9, 7), jitter=5)
    classes = np.random.default_rng(0).integers(0, 200, (12, 10), np.uint8)
    label = {"map": classes, "depth": classes / np.float32(8), "scene": 2, "yes": np.ones(3)}
    for seed in range(20):
        image = np.zeros((12, 10, 3), np.uint8)
        _, moved = augment(image, label, np.random.default_rng(seed))
        inside = moved["map"] != 255
        np.testing.assert_array_equal(np.isnan(moved["depth"]), ~inside)
        np.testing.assert_array_equal(moved["depth"][inside] * 8, moved["map"][inside])
        assert moved["scene"] == 2 and (moved["yes"] == 1).all()


@pytest.mark.parametrize(
    ("label", "k", "kind", "counts"),
    [
        (np.float32([[0, 2, np.nan], [1, np.inf, 3]]), 1, LabelKind.NUMBERS, [3, 3]),
        (2, 4, LabelKind.CLASS, [0, 0, 1, 0, 0]),
        (300, 400, LabelKind.CLASS, [*[0] * 300, 1, *[0] * 100]),
        (np.float32([1, 0, np.nan]), 3, LabelKind.ATTRIBUTES, [1, 0, 0, 1]),
    ],
)
def test_a_check_counts_each_kind(label, k, kind, counts):
    checked = check_labels(Given({"a": label}, {"a": k}, {"a": kind}))
    assert checked.pixels["a"].tolist() == counts and not checked.unlabelled
    assert check_labels(Given(label, k, kind)).pixels.tolist() == counts


@pytest.mark.parametrize(
    ("label", "k", "kind", "message"),
    [
        (np.ones((2, 3), np.float32), 1, LabelKind.CLASSES, "found float32 .*label_kinds"),
        (np.ones((2, 3), np.uint8), 1, LabelKind.NUMBERS, "found uint8"),
        (np.ones((3, 2), np.float32), 1, LabelKind.NUMBERS, "3 rows and 2 columns"),
        (4, 4, LabelKind.CLASS, "a class of the image, 0 to 3"),
        (255, 400, LabelKind.ATTRIBUTES, "data set says"),
        (np.float32([1, 0]), 3, LabelKind.ATTRIBUTES, "expected 3 attributes"),
        (np.float32([0.3]), 1, LabelKind.ATTRIBUTES, "of 0, 1 or NaN"),
        (np.zeros((2, 3), np.float32), 1, LabelKind.NUMBERS, "every label is missing"),
        (-1, 4, LabelKind.CLASS, "every label is missing"),
        (255, 4, LabelKind.CLASS, "every label is missing"),
    ],
)
def test_a_check_refuses_a_label_that_is_not_what_the_data_set_says(label, k, kind, message):
    with pytest.raises(DataError, match=message):
        check_labels(Given({"a": label}, {"a": k}, {"a": kind}))


def test_nyud_gives_depth_in_metres_beside_the_classes(tmp_path):
    from test_nyud import content, make

    make(tmp_path / "nyud", train=["1", "2"])
    source = NYUDv2(split="train", labels=("semantic", "depth")).at(tmp_path)
    _, depth, _, classes = content("2")
    label = source[1].label
    np.testing.assert_array_equal(label["depth"], depth.astype(np.float32) / np.float32(1000))
    np.testing.assert_array_equal(label["semantic"], classes - np.uint8(1))
    assert source.num_classes == {"semantic": 40, "depth": 1}
    assert check_labels(source).pixels["depth"].sum() == 2 * depth.size
    assert NYUDv2(split="train").num_classes == 40
    alone = NYUDv2(split="train", labels="depth").at(tmp_path)
    np.testing.assert_array_equal(alone[1].label, label["depth"])
    with pytest.raises(DataError, match="labels"):
        NYUDv2(split="train", labels=("semantic", "normals"))


def test_depth_errors_are_those_of_a_loop_over_pixels():
    rng = np.random.default_rng(0)
    label = rng.uniform(0.5, 9, (5, 6)).astype(np.float32)
    found = (label * rng.uniform(0.5, 2, label.shape)).astype(np.float32)
    label[0, :3], found[4, 4] = (0, np.nan, np.inf), -2
    true = [float(y) for y in label.ravel() if math.isfinite(y) and y > 0]
    pairs = [
        (float(y), max(float(x), 1e-3))
        for y, x in zip(label.ravel(), found.ravel(), strict=True)
        if math.isfinite(y) and y > 0
    ]
    n, logs = len(true), [math.log(y) - math.log(x) for y, x in pairs]
    expected = {
        **{f"delta_{p}": sum(max(y / x, x / y) < 1.25**p for y, x in pairs) / n for p in (1, 2, 3)},
        "abs_rel": sum(abs(y - x) / y for y, x in pairs) / n,
        "sq_rel": sum((y - x) ** 2 / y for y, x in pairs) / n,
        "rmse": math.sqrt(sum((y - x) ** 2 for y, x in pairs) / n),
        "rmse_log": math.sqrt(sum(d**2 for d in logs) / n),
        "log10": sum(abs(math.log10(y) - math.log10(x)) for y, x in pairs) / n,
        "silog": math.sqrt(sum(d**2 for d in logs) / n - (sum(logs) / n) ** 2 / 2),
    }
    assert n == label.size - 3
    errors = DepthErrors()
    row = errors.measure(label, found[..., None])
    scores = errors.scores(row)
    assert list(scores) == list(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(scores[name], value, rtol=1e-12, err_msg=name)
    # A second image without a label does not count; the means are over images.
    nothing = errors.measure(np.zeros_like(label), found[..., None])
    assert not nothing.any()
    third = errors.measure(label, np.full((5, 6, 1), 3, np.float32))
    mean = errors.scores(row + nothing + third)["rmse"]
    np.testing.assert_allclose(mean, (row[6] + third[6]) / 2)
    window = DepthErrors(window=(1, 4, 2, 5), minimum=1.0, maximum=8.0)
    inside = np.s_[1:4, 2:5]
    np.testing.assert_array_equal(
        window.measure(label, found[..., None]),
        dataclasses.replace(window, window=None).measure(label[inside], found[inside][..., None]),
    )
    with pytest.raises(ValueError, match="expected scores"):
        errors.measure(label, found)
    with pytest.raises(ValueError, match="0 < minimum"):
        DepthErrors(minimum=0.0)


def test_accuracies_of_the_class_of_the_image_are_those_of_a_loop():
    rng, k = np.random.default_rng(1), 7
    labels = rng.integers(0, 5, 30)  # classes 5 and 6 do not occur
    scores = rng.integers(0, 4, (30, k)).astype(np.float32)  # many are equal
    labels[:2] = -1, 255
    right, top = {c: [] for c in range(k)}, []
    for label, row in zip(labels, scores, strict=True):
        if label not in (-1, 255):
            order = sorted(range(k), key=lambda c: (-row[c], c))
            right[label].append(order[0] == label)
            top.append(label in order[:5])
    evaluator = ClassAccuracy(num_classes=k)
    rows = [evaluator.measure(np.int32(y), s) for y, s in zip(labels, scores, strict=True)]
    found = evaluator.scores(np.sum(rows, axis=0))
    np.testing.assert_allclose(found["accuracy"], np.mean(sum(right.values(), [])))
    of_class = [np.mean(hits) for hits in right.values() if hits]
    np.testing.assert_allclose(found["mean_class_accuracy"], np.mean(of_class))
    np.testing.assert_allclose(found["top_5_accuracy"], np.mean(top))
    assert "top_5_accuracy" not in ClassAccuracy(num_classes=5).scores(np.zeros(11))
    for label in (-2, k):
        with pytest.raises(ValueError, match="expected a class 0 to 6"):
            evaluator.measure(np.int32(label), scores[0])


def test_accuracies_of_attributes_are_those_of_a_loop():
    rng, k = np.random.default_rng(2), 3
    labels, scores = rng.integers(0, 2, (20, k)).astype(float), rng.normal(size=(20, k))
    labels[3], labels[4, 1], labels[:, 2], scores[:, 2] = np.nan, np.nan, 0, -1
    right, f1 = [[] for _ in range(k)], []
    for a in range(k):
        known = [(y == 1, s > 0) for y, s in zip(labels[:, a], scores[:, a], strict=True) if y == y]
        right[a] = [y == s for y, s in known]
        said, true = sum(s for _, s in known), sum(y for y, _ in known)
        if said + true:  # nobody has or is said to have the third one
            f1.append(2 * sum(y and s for y, s in known) / (said + true))
    evaluator = AttributeAccuracy(num_attributes=k)
    rows = [evaluator.measure(y, s) for y, s in zip(labels, scores, strict=True)]
    found = evaluator.scores(np.sum(rows, axis=0))
    np.testing.assert_allclose(found["accuracy"], np.mean(sum(right, [])))
    np.testing.assert_allclose(found["mean_accuracy"], np.mean([np.mean(r) for r in right]))
    np.testing.assert_allclose(found["mean_f1"], np.mean(f1))


def test_intervals_are_those_of_the_images_drawn_again():
    from fcn_jax.metrics.bootstrap import draws, interval

    values = np.random.default_rng(0).uniform(0, 1, (9, 10))
    values[:, 0] = 1
    found = Measured(evaluator=DepthErrors(), names=tuple("abcdefghi"), values=values)
    means = [(times @ values[:, 6]) / 9 for times in draws(9)]
    np.testing.assert_allclose(found.intervals["rmse"], interval(np.array(means)))
    assert f"rmse {values[:, 6].mean():.3g} (" in str(found)
    assert not Measured(evaluator=DepthErrors(), names=("a",), values=values[:1]).intervals


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
