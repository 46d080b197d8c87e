import json

import pytest

from fcn_jax.training.checkpoints import Checkpoints
from fcn_jax.training.run_folder import RunFolder


def changed(stored, new):
    return [f"{key}: {stored[key]} is now {new[key]}" for key in new if stored[key] != new[key]]


def test_a_new_folder_is_claimed_and_the_same_recipe_may_resume(tmp_path):
    folder = RunFolder(tmp_path / "runs" / "a")
    folder.claim({"recipe": {"steps": 9}, "commit": "w"}, changed)
    folder.claim({"recipe": {"steps": 3}, "commit": "x"}, changed)  # nothing was trained yet
    (folder.path / "checkpoints" / "3").mkdir(parents=True)
    folder.claim({"recipe": {"steps": 3}, "commit": "y"}, changed)
    assert folder.described()["commit"] == "x"


def test_another_recipe_is_refused_with_the_differences(tmp_path):
    folder = RunFolder(tmp_path)
    folder.claim({"recipe": {"rate": 1.0, "momentum": 0.9, "steps": 3}}, changed)
    (tmp_path / "checkpoints" / "3").mkdir(parents=True)
    with pytest.raises(ValueError, match="another recipe.*\n  rate: 1.0 is now 2.0\n.*--workdir"):
        folder.claim({"recipe": {"rate": 2.0, "momentum": 0.9, "steps": 3}}, changed)
    assert folder.described()["recipe"]["rate"] == 1.0


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has no recipe.json"):
        RunFolder(tmp_path).described()
    for text in ("{", "[]", "{}"):
        (tmp_path / "recipe.json").write_text(text)
        with pytest.raises(ValueError, match="damaged"):
            RunFolder(tmp_path).described()


def test_rewinding_drops_later_lines_and_one_cut_off_by_a_kill(tmp_path):
    folder = RunFolder(tmp_path)
    for step in (1, 2, 3):
        folder.append(step=step, loss=0.5)
    with folder.metrics_file.open("a") as file:
        file.write('{"step": 4, "lo')
    folder.rewind(2)
    assert [line["step"] for line in folder.metrics()] == [1, 2]
    assert folder.metrics_file.read_text().endswith("}\n")


def test_the_best_step_is_the_first_of_the_highest_mean_iu(tmp_path):
    folder = RunFolder(tmp_path)
    assert folder.best_step() is None
    for step, iu in ((10, 0.2), (20, 0.5), (30, 0.5), (40, float("nan"))):
        folder.append(step=step, mean_iu=iu)
        folder.append(step=step, loss=1.0)
    assert folder.best_step() == 20
    assert json.loads(folder.metrics_file.read_text().splitlines()[0]) == {
        "step": 10,
        "mean_iu": 0.2,
    }


def test_checkpoints_keep_the_latest_and_the_best(tmp_path):
    import jax.numpy as jnp
    import numpy as np

    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert checkpoints.latest() is None
    for step in (1, 2, 3, 4):
        state = {"w": jnp.full((3,), step, jnp.float32), "empty": {}, "n": jnp.int32(step)}
        checkpoints.save(step, state, best=2)
    assert checkpoints.steps() == [2, 4]
    checkpoints.close()
    # What a kill during a save leaves behind is not a checkpoint.
    half = tmp_path / "checkpoints" / "5.orbax-checkpoint-tmp-1"
    half.mkdir()
    (half / "junk").write_text("x")
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert checkpoints.latest() == 4
    restored = checkpoints.restore(2, state)
    np.testing.assert_array_equal(restored["w"], np.full(3, 2, np.float32))
    assert restored["n"].dtype == jnp.int32
    np.testing.assert_array_equal(checkpoints.restore_as_saved(4)["w"], np.full(3, 4, np.float32))
    for part in (tmp_path / "checkpoints" / "4" / "state").iterdir():
        if part.is_file():
            part.write_bytes(part.read_bytes()[:20])
    for restore in (checkpoints.restore_as_saved, lambda step: checkpoints.restore(step, state)):
        with pytest.raises(ValueError, match=r"checkpoints/4: this checkpoint is damaged"):
            restore(4)
    checkpoints.close()
