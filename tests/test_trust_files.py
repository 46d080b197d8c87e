"""Files of a run folder that are damaged, changed or left over: one message with file and line."""

import json

import pytest

from fcn_jax.runs.lookup import load_recipe
from fcn_jax.runs.start import run_variables
from fcn_jax.training.run_folder import RunFolder

GARBAGE = {
    "no JSON": b"{",
    "no UTF-8": b'{"recipe": "\xff\xfe"}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "a list": b"[1]",
    "null": b"null",
    "zeros": bytes(20),
    "deep": b'{"recipe": ' + b"[" * 100_000,
    "a large number": b'{"recipe": ' + b"9" * 5000 + b"}",
}


@pytest.mark.parametrize("kind", GARBAGE)
def test_a_damaged_recipe_is_named(tmp_path, kind):
    (tmp_path / "recipe.json").write_bytes(GARBAGE[kind])
    with pytest.raises(ValueError, match=r"recipe\.json is damaged: ") as error:
        RunFolder(tmp_path).described()
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("wrong", [{"recipe": 3}, {"module": []}, {"overrides": 1}])
def test_a_recipe_of_a_wrong_type_is_named(tmp_path, wrong):
    text = json.dumps({"recipe": {}, "preprocessing": {}, **wrong})
    (tmp_path / "recipe.json").write_text(text)
    with pytest.raises(ValueError, match=r"recipe\.json is damaged: expected `\w+` to be a"):
        RunFolder(tmp_path).described()


@pytest.mark.parametrize("preprocessing", [{}, {"class": "Preprocessing", "mean": 3}, {"class": 1}])
def test_what_is_missing_in_a_recipe_is_named(tmp_path, preprocessing):
    described = {"recipe": {}, "preprocessing": preprocessing}
    (tmp_path / "recipe.json").write_text(json.dumps(described))
    with pytest.raises(ValueError, match=r"recipe\.json is damaged: its `preprocessing`"):
        run_variables(tmp_path)
    with pytest.raises(ValueError, match=r"recipe\.json is damaged: expected `module`"):
        load_recipe(RunFolder(tmp_path).described())


@pytest.mark.parametrize("name", ["metrics.jsonl", "speed.jsonl"])
@pytest.mark.parametrize("line", [*GARBAGE.values(), b"{}", b'{"step": "2"}', b'{"step": true}'])
def test_a_damaged_line_is_named_with_its_number(tmp_path, name, line):
    (tmp_path / name).write_bytes(b'{"step": 1, "loss": 1.0}\n' + line + b'\n{"step": 3}\n')
    with pytest.raises(ValueError, match=rf"{name}, line 2"):
        RunFolder(tmp_path).rewind(2)


def test_scores_that_are_no_numbers_are_named(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "mean_iu": "high"}\n')
    with pytest.raises(
        ValueError, match=r"metrics\.jsonl, line 1 is damaged: `mean_iu` is not a number"
    ):
        RunFolder(tmp_path).best_step()


def test_lines_that_were_cut_off_are_dropped_in_both_files(tmp_path):
    for name in ("metrics.jsonl", "speed.jsonl"):
        (tmp_path / name).write_bytes(b'{"step": 1}\n{"step": 4}\n{"step": 5, "lo\xff')
    RunFolder(tmp_path).rewind(2)
    for name in ("metrics.jsonl", "speed.jsonl"):
        assert (tmp_path / name).read_text() == '{"step": 1}\n'


def test_leftovers_are_removed_and_nothing_else(tmp_path):
    for name in (".12.recipe.json", ".7.examples.png"):
        (tmp_path / name).write_text("half")
    half = tmp_path / "checkpoints" / "4.orbax-checkpoint-tmp" / "state"
    half.mkdir(parents=True)
    kept = ["recipe.json", "metrics.jsonl", ".gitignore", "notes.txt", "checkpoints"]
    for name in kept[:-1]:
        (tmp_path / name).write_text("mine")
    RunFolder(tmp_path).remove_leftovers()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_a_first_save_that_was_killed_leaves_the_folder_free(tmp_path):
    folder = RunFolder(tmp_path)
    folder.claim({"recipe": {"rate": 1}}, lambda *_: ())
    (tmp_path / "checkpoints" / "4.orbax-checkpoint-tmp").mkdir(parents=True)
    folder.claim({"recipe": {"rate": 2}}, lambda *_: ["rate"])
    assert folder.described()["recipe"] == {"rate": 2}


def test_checkpoints_without_a_recipe_are_not_taken(tmp_path):
    (tmp_path / "checkpoints" / "4").mkdir(parents=True)
    with pytest.raises(ValueError, match="has checkpoints and no recipe.json"):
        RunFolder(tmp_path).claim({"recipe": {}}, lambda *_: ())
