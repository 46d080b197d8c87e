"""A mistake on the command line gives one message."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import smallest_recipe
from PIL import Image

from experiments import folders
from fcn_jax.commands.convert import convert
from fcn_jax.commands.evaluate import of_split
from fcn_jax.commands.export import export
from fcn_jax.data import Folders
from fcn_jax.data.check import check_apart
from fcn_jax.data.scenes import Scenes
from fcn_jax.devices.processes import join
from fcn_jax.runs.experiment import Launch, _check_demo
from fcn_jax.runs.lookup import recipe_named
from fcn_jax.runs.messages import messages
from fcn_jax.runs.place import Place
from fcn_jax.training.run_folder import RunFolder


@pytest.fixture
def own(tmp_path):
    """Twelve images in two folders, and lists of some of them."""
    for folder, suffix in (("images", "jpg"), ("labels", "png")):
        (tmp_path / folder).mkdir()
        for n in range(12):
            pixels = np.zeros((4, 5), np.uint8)
            Image.fromarray(pixels).save(tmp_path / folder / f"n{n}.{suffix}")
    lists = {"train.txt": "n0 n1 n2", "validation.txt": "n3 n4", "over.txt": "n0 n3"}
    for name, ids in lists.items():
        (tmp_path / name).write_text("\n".join(ids.split()))
    return tmp_path


def test_a_list_is_scored_completely(own):
    held_out = Folders(num_classes=2, held_out=True).at(own)
    assert len(held_out) == 1
    assert of_split(held_out, "validation.txt").ids == ("n3", "n4")
    with pytest.raises(ValueError, match="Scenes has no splits"):
        of_split(Scenes(length=1, seed=0), "val")


def test_lists_do_not_mix_training_and_validation(own):
    one = folders.recipe(num_classes=2, train_list="train.txt")
    parts = [part.at(own) for part in (one.train_set, one.validation_set)]
    assert sorted(parts[0].ids + parts[1].ids) == ["n0", "n1", "n2"] and len(parts[1]) == 1
    with pytest.raises(ValueError, match="without --train-list"):
        folders.recipe(num_classes=2, validation_list="validation.txt")
    train, validation, over = (
        Folders(num_classes=2, split=name).at(own)
        for name in ("train.txt", "validation.txt", "over.txt")
    )
    check_apart(train, validation)
    with pytest.raises(ValueError, match=r"n0\.jpg is in the training list and in the valid"):
        check_apart(train, over)


@pytest.mark.parametrize(
    "command",
    [
        lambda file: export(file, file),
        lambda file: convert("pytorch_fcn", file, file),
        lambda file: export(file, file.with_name("b.npz"), step=3),
        lambda file: convert("caffe", file, file.with_name("b"), mean=(float("nan"), 0.0, 0.0)),
        lambda file: convert("caffe", file, file.with_name("b"), net="fcn_jax"),
        lambda file: export(file.with_name("absent.safetensors"), file),
        lambda file: export(file.parent / "run", file),
    ],
)
def test_a_command_ends_with_one_message(command, tmp_path, capsys):
    file = tmp_path / "a.safetensors"
    file.write_bytes(b"what was there")
    (tmp_path / "run").write_text("a file, not a run's folder")
    with pytest.raises(SystemExit) as end:
        command(file)
    assert end.value.code == 1 and file.read_bytes() == b"what was there"
    said = capsys.readouterr().err
    assert said.startswith("error: ") and "Traceback" not in said
    assert list(tmp_path.glob("b*")) == []


def test_an_error_of_the_system_is_a_message(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit), messages(False):
        (tmp_path / "file" / "folder").mkdir()
    assert "error: " in capsys.readouterr().err


def test_notes_on_the_inside_of_a_library_are_not_shown(capsys):
    error = ValueError("the recipe names an unknown layer")
    error.add_note("Name a layer of the net")
    error.add_note("Set JAX_TRACEBACK_FILTERING=off to include these.")
    error.add_note("Grain worker 3")
    with pytest.raises(SystemExit), messages(False):
        raise error
    said = capsys.readouterr().err
    assert said == "error: the recipe names an unknown layer\nName a layer of the net\n"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: recipe_named("fcn_jax"), "fcn_jax holds no RECIPE"),
        (lambda: join("localhost", 1, 0), "--coordinator localhost: expected HOST:PORT"),
        (lambda: join("localhost:1", 0, 0), "--processes 0: expected at least 1"),
        (lambda: changed(seed=-1), r"seed must be in \[0, 2\*\*32\), found -1"),
        (lambda: changed(evaluate_every=-1), "evaluate_every must be at least 0"),
        (lambda: changed(checkpoint_every=-1), "checkpoint_every must be at least 0"),
        (lambda: optimizer(b1=2.0), "b1 must be in"),
        (lambda: optimizer(b2=-0.5), "b2 must be in"),
        (lambda: optimizer(total_steps=0), "total_steps must be in"),
        (
            lambda: _check_demo(Place(mesh="data=2"), Launch(demo=True), {"steps": 3}),
            "no --mesh, --steps",
        ),
        (lambda: RunFolder(Path(__file__)).described(), "is not the folder of a run"),
    ],
)
def test_mistakes_are_named(call, said):
    with pytest.raises(ValueError, match=said):
        call()


def changed(**fields):
    return dataclasses.replace(smallest_recipe.RECIPE, **fields)


def optimizer(**fields):
    return dataclasses.replace(smallest_recipe.RECIPE.optimizer, **fields)
