"""Whole runs: a damaged or unsound state, other data, more steps, a second run, readers beside."""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import smallest_recipe
from PIL import Image
from test_loop import loop

import fcn_jax.runs.run as run_module
from fcn_jax.data import Folders
from fcn_jax.optim import AdamW
from fcn_jax.runs.place import Place
from fcn_jax.runs.run import run
from fcn_jax.runs.start import run_variables
from fcn_jax.training.checkpoints import Checkpoints
from fcn_jax.training.lock import FolderInUseError
from fcn_jax.training.loop import Intervals, NonFiniteLossError
from fcn_jax.training.run_folder import RunFolder

RECIPE = dataclasses.replace(
    smallest_recipe.RECIPE, steps=6, checkpoint_every=2, evaluate_every=2, frozen=()
)
ORIGIN = {"module": smallest_recipe.__file__, "arguments": {}, "overrides": {"steps": 6}}


def go(folder, recipe=RECIPE, origin=ORIGIN, **place):
    """Run it; returns what it said."""
    said = []
    run(recipe, Place(workdir=folder, threads=0, **place), origin=origin, say=said.append)
    return said


def states(folder):
    checkpoints = Checkpoints(folder / "checkpoints")
    arrays = checkpoints.restore_as_saved(checkpoints.steps()[-1])
    return jax.tree.leaves(arrays)


def same(a, b):
    for x, y in zip(states(a), states(b), strict=True):
        np.testing.assert_array_equal(x, y)
    assert (a / "metrics.jsonl").read_text() == (b / "metrics.jsonl").read_text()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run that kept the checkpoints of steps 2, 4 and 6."""
    folder = tmp_path_factory.mktemp("whole") / "run[1]"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "keep_only", lambda self, *kept: None)
        go(folder)
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    return tmp_path / "run"


def damage(folder, *steps):
    for step in steps:
        (folder / "checkpoints" / str(step) / "state" / "manifest.ocdbt").write_bytes(b"\0" * 99)


def test_a_damaged_last_checkpoint_is_passed_over_and_the_run_ends_the_same(whole, folder):
    damage(folder, 6, 4)
    said = go(folder)
    (line,) = [line for line in said if "is damaged (" in line]
    assert "checkpoints/6: " in line and "checkpoints/4: " in line
    assert f"{folder}: resuming after step 2 of 6" in said
    same(folder, whole)
    assert set(Checkpoints(folder / "checkpoints").steps()) <= {2, 4, 6}
    run_variables(folder, 6)


def test_readers_take_the_best_or_the_newest_sound_one_and_say_so(folder, capsys):
    best = RunFolder(folder).best_step()
    newest = max({2, 4, 6} - {best})
    sound, _ = run_variables(folder, newest)
    damage(folder, best)
    found, _ = run_variables(folder)
    jax.tree.map(np.testing.assert_array_equal, found, sound)
    (line,) = capsys.readouterr().err.splitlines()
    assert f"checkpoints/{best}: this checkpoint is damaged" in line
    assert f"step {newest} is taken instead" in line
    with pytest.raises(ValueError, match=f"checkpoints/{best}: this checkpoint is damaged"):
        run_variables(folder, best)
    damage(folder, 2, 4, 6)
    with pytest.raises(ValueError, match="no sound checkpoint"):
        run_variables(folder)
    with pytest.raises(ValueError, match="no sound checkpoint"):
        go(folder)


def test_readers_leave_a_save_under_way_alone(folder):
    half = folder / "checkpoints" / "8.orbax-checkpoint-tmp" / "state"
    half.mkdir(parents=True)
    before = sorted(folder.rglob("*"))
    run_variables(folder)
    assert sorted(folder.rglob("*")) == before
    (folder / "checkpoints" / "8.orbax-checkpoint-tmp").rename(folder / "checkpoints" / "x")


def test_a_second_run_in_the_folder_is_refused(folder, monkeypatch):
    (folder / "examples.png").unlink()
    before = sorted(folder.rglob("*"))

    def draw(*args):
        with pytest.raises(FolderInUseError, match=f"{folder} is in use by process"):
            go(folder)
        monkeypatch.undo()
        return run_module.draw_examples(*args)

    monkeypatch.setattr(run_module, "draw_examples", draw)
    said = go(folder)  # a finished run draws what is missing
    assert f"{folder}: all 6 steps are done already" in said
    assert sorted([*before, folder / "examples.png"]) == sorted(folder.rglob("*"))


def spoil(step, monkeypatch):
    """The update of that step makes a parameter infinite, after its loss was computed."""
    make = run_module.make_train_step

    def spoiled(*args, **options):
        train_step = make(*args, **options)

        def one(state, batch):
            state, metrics = train_step(state, batch)
            if int(state.step) == step:
                learning = dict(state.learning)
                name = next(iter(learning))
                learning[name] = learning[name].at[0].set(jnp.inf)
                state = state.replace(learning=learning)
            return state, metrics

        return one

    monkeypatch.setattr(run_module, "make_train_step", spoiled)


@pytest.mark.parametrize("step", [2, 4, 6])
def test_a_state_that_is_not_finite_is_not_saved(tmp_path, monkeypatch, step):
    spoil(step, monkeypatch)
    last = f"checkpoint of step {step - 2} is the last good" if step > 2 else "no checkpoint yet"
    with pytest.raises(NonFiniteLossError, match=f"update of step {step}, learning/.*{last}"):
        go(tmp_path)
    assert Checkpoints(tmp_path / "checkpoints").latest() == (step - 2 or None)
    scored = [line["step"] for line in RunFolder(tmp_path).metrics() if "mean_iu" in line]
    assert scored == list(range(2, step, 2))
    assert not (tmp_path / "examples.png").exists()


def test_more_steps_go_on_from_the_last_checkpoint(folder, tmp_path):
    more = dataclasses.replace(RECIPE, steps=8)
    (folder / "examples.png").write_bytes(b"of step 6")
    said = go(folder, more, {**ORIGIN, "overrides": {"steps": 8}})
    assert f"{folder}: steps were 6, and are 8 now" in said
    assert f"{folder}: resuming after step 6 of 8" in said
    assert len((folder / "examples.png").read_bytes()) > 100
    go(tmp_path / "straight", more)
    same(folder, tmp_path / "straight")
    described = RunFolder(folder).described()
    assert described["recipe"]["steps"] == 8 and described["overrides"] == {"steps": 8}
    with pytest.raises(ValueError, match="steps: the folder has 8, this recipe 6"):
        go(folder)


def test_a_schedule_of_another_length_is_another_recipe(folder):
    optimizer = AdamW(learning_rate=1e-2, weight_decay=0.0, warmup_steps=0, total_steps=8)
    with pytest.raises(ValueError, match="optimizer.total_steps") as error:
        go(folder, dataclasses.replace(RECIPE, steps=8, optimizer=optimizer))
    assert "  steps" not in str(error.value)


def test_a_finished_run_without_its_scores_is_scored(whole, folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text("".join(line for line in lines[:-1]))
    go(folder)
    assert (folder / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()


def test_speed_has_one_line_a_step(tmp_path):
    loop(tmp_path, [1.0] * 7, Intervals(steps=7, checkpoint_every=2, evaluate_every=3, log_every=2))
    lines = (tmp_path / "speed.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 3, 4, 6, 7]


@pytest.fixture
def images(tmp_path):
    draw = np.random.default_rng(0)
    for part in ("images", "labels"):
        (tmp_path / "data" / part).mkdir(parents=True)
        for n in range(10):
            pixels = draw.integers(0, 4, (16, 16)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / part / f"n{n}.png")
    return tmp_path / "data"


def test_other_data_are_refused_also_by_a_finished_run(images, tmp_path):
    parts = (Folders(num_classes=4, held_out=held) for held in (False, True))
    train, validation = parts
    recipe = dataclasses.replace(RECIPE, steps=2, train_set=train, validation_set=validation)
    folder = tmp_path / "run"
    go(folder, recipe, data=images)
    go(folder, recipe, data=images)
    other = tmp_path / "other"
    shutil.copytree(images, other)
    shutil.copy(other / "labels" / "n3.png", other / "labels" / "n4.png")
    before = {path: path.read_bytes() for path in folder.glob("*.*")}
    with pytest.raises(ValueError, match=r"to step 2 on other data:\n  .* another label: n4\n"):
        go(folder, recipe, data=other)
    assert {path: path.read_bytes() for path in folder.glob("*.*")} == before
    more = dataclasses.replace(recipe, steps=4)
    said = go(folder, more, data=other, accept_changed_data=True)
    assert any("which is accepted" in line for line in said)
    assert json.loads(Path(folder / "data.json").read_text())["accepted"][0]["step"] == 2
