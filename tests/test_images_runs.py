"""Options of images travel with a run; labels are checked for what they are for."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import smallest_recipe
from image_files import noise, tiff
from PIL import Image

from experiments import folders
from fcn_jax.commands.evaluate import evaluate
from fcn_jax.commands.predict import predict
from fcn_jax.data import DataError, Folders, check_labels
from fcn_jax.losses import Normalization, Softmax
from fcn_jax.losses.by_output import ByOutput
from fcn_jax.runs.data_sets import check_classes, data_sets
from fcn_jax.runs.description import describe, differences
from fcn_jax.runs.place import Place
from fcn_jax.runs.run import run
from fcn_jax.training.run_folder import RunFolder

RECIPE = """
import dataclasses
import smallest_recipe
from fcn_jax.data import Folders
from fcn_jax.data.images import parse_bands

def recipe(bands="", max_value=None):
    own = [
        Folders(num_classes=4, held_out=held, bands=parse_bands(bands), max_value=max_value)
        for held in (False, True)
    ]
    return dataclasses.replace(smallest_recipe.RECIPE, train_set=own[0], validation_set=own[1])
"""


def labelled(root, name, label):
    (root / "images").mkdir(exist_ok=True)
    (root / "labels").mkdir(exist_ok=True)
    Image.fromarray(np.asarray(label, np.uint8)).save(root / "labels" / f"{name}.png")
    return root / "images" / name


def small_set(root, labels, pixels=None):
    """A PNG image for each label."""
    for n, label in enumerate(labels):
        path = labelled(root, f"n{n}", label).with_suffix(".png")
        image = np.zeros((*np.shape(label), 3), np.uint8) if pixels is None else pixels
        Image.fromarray(image).save(path)
    return root


def recipe_of(train, validation, num_classes=4):
    net = dataclasses.replace(smallest_recipe.RECIPE.model, num_classes=num_classes)
    return dataclasses.replace(
        smallest_recipe.RECIPE, model=net, train_set=train, validation_set=validation
    )


def parts(num_classes=4, **options):
    return [Folders(num_classes=num_classes, held_out=held, **options) for held in (False, True)]


ORIGIN = {"module": "smallest_recipe", "arguments": {}, "overrides": {}}


def test_options_of_images_travel_with_the_run(tmp_path, capsys):
    from fcn_jax.runs.lookup import import_recipe_module

    for n in range(3):
        path = labelled(tmp_path, f"x{n}", noise(n, 16, 16, 1)[..., 0] % 4).with_suffix(".tif")
        tiff(path, noise(n, 16, 16, 5, 4095), extra=(0, 0))
    file = tmp_path / "own.py"
    file.write_text(RECIPE)
    given = {"bands": "5,4,2", "max_value": 4095}
    recipe = import_recipe_module(str(file)).recipe(**given)
    place = Place(data=tmp_path, workdir=tmp_path / "run", check_images=True)
    run(recipe, place, origin={"module": str(file), "arguments": given, "overrides": {}})
    stored = RunFolder(tmp_path / "run").described()["recipe"]["train_set"]
    assert stored["bands"] == [5, 4, 2] and stored["max_value"] == 4095
    evaluate(tmp_path / "run", data=tmp_path, recipe=str(file))

    def predicted(out, **options):
        with pytest.raises(SystemExit) as end:
            predict(
                tmp_path / "run",
                (tmp_path / "images",),
                out=tmp_path / out,
                recipe=str(file),
                **options,
            )
        labels = sorted((tmp_path / out).glob("x?.png"))
        return end.value.code, [np.asarray(Image.open(label)) for label in labels]

    code, labels = predicted("as the run")
    assert code == 0 and len(labels) == 3
    code, tiled = predicted("tiled", tile=64)
    assert code == 0
    np.testing.assert_array_equal(labels, tiled)
    assert predicted("other", bands="1,2,3", max_value=65535)[0] == 0
    capsys.readouterr()
    code, none = predicted("wrong", bands="1,2,9")
    assert code == 1 and not none and "--bands 1,2,9" in capsys.readouterr().err
    code, _ = predicted("nonsense", bands="red")
    assert code == 1 and "--bands: expected one or three numbers" in capsys.readouterr().err


def test_folders_of_before_have_the_defaults():
    now = Folders(num_classes=3)
    stored = {
        k: v for k, v in describe(now).items() if k not in ("max_value", "bands", "label_values")
    }
    assert not list(differences(stored, now))
    assert list(differences(stored, dataclasses.replace(now, bands=(3, 2, 1))))


def test_the_recipe_takes_bands_and_max_value():
    made = folders.recipe(num_classes=2, bands="4,3,2", max_value=4095)
    for part in (made.train_set, made.validation_set):
        assert part.bands == (4, 3, 2) and part.max_value == 4095
    with pytest.raises(DataError, match="--bands: expected one or three numbers"):
        folders.recipe(num_classes=2, bands="4;3;2")


def test_damaged_images_are_found_before_the_first_step_if_asked_for(tmp_path):
    small_set(tmp_path, [np.ones((16, 16))] * 4, noise(0, 16, 16))
    last = tmp_path / "images" / "n3.png"
    last.write_bytes(last.read_bytes()[:300])
    recipe = recipe_of(*parts())
    place = Place(data=tmp_path, workdir=tmp_path / "run", check_images=True)
    said = []
    with pytest.raises(DataError, match=r"n3\.png"):
        run(recipe, place, origin=ORIGIN, say=said.append)
    assert not any("canvases" in line for line in said)  # which is said before the first step
    place = dataclasses.replace(place, check_images=False)
    with pytest.raises(DataError, match=r"n3\.png"):  # at the step, or when it is evaluated
        run(recipe, place, origin=ORIGIN, say=said.append)
    assert any("canvases" in line for line in said)


def test_frames_and_what_is_left_out_are_said_once(tmp_path):
    small_set(tmp_path, [np.ones((16, 16))] * 3)
    frames = [Image.new("L", (16, 16), value) for value in (3, 90)]
    path = tmp_path / "images" / "n1.png"
    path.unlink()
    frames[0].save(path.with_suffix(".gif"), save_all=True, append_images=frames[1:])
    (tmp_path / "images" / ".hidden.png").write_bytes(b"")
    said = []
    place = Place(data=tmp_path, workdir=tmp_path / "run")
    run(recipe_of(*parts()), place, origin=ORIGIN, say=said.append)
    text = "\n".join(said)
    assert text.count("1 image has several frames, of which the first is read: n1") == 1
    assert text.count("images: left out 1 hidden") == 1


# --- what labels are for -------------------------------------------------------------------------


def test_a_softmax_over_one_class_is_refused(tmp_path):
    small_set(tmp_path, [[[0, 255], [255, 0]]] * 3)
    recipe = recipe_of(*parts(num_classes=1), num_classes=1)
    place = Place(data=tmp_path, workdir=tmp_path / "run")
    with pytest.raises(DataError, match="one class(.|\n)*--num-classes 2(.|\n)*255 into 1"):
        run(recipe, place, origin=ORIGIN, say=lambda _: None)
    assert not (tmp_path / "run").exists()  # the corrected command may use the folder
    with pytest.raises(DataError, match="one class"):
        data_sets(folders.recipe(num_classes=1), tmp_path)
    check_classes(recipe.loss, 2)


def test_one_class_of_several_outputs_is_found():
    counts = {"semantic": 3, "mask": 1}
    softmax = Softmax(normalization=Normalization.VALID)
    losses = ByOutput({"semantic": softmax, "mask": softmax})
    with pytest.raises(DataError, match="one class"):
        check_classes(losses, counts)

    def own_loss(scores, labels, *, sizes=None):
        return 0.0

    check_classes(ByOutput({"semantic": softmax, "mask": own_loss}), counts)


def test_a_validation_part_of_background_only_is_scored(tmp_path):
    small_set(tmp_path, [[[0, 1, 255]]] * 3 + [[[0, 0, 255]]] * 2)
    (tmp_path / "train.txt").write_text("n0\nn1\nn2\n")
    (tmp_path / "validation.txt").write_text("n3\nn4\n")
    train, validation = (
        Folders(num_classes=2, split=f"{part}.txt").at(tmp_path) for part in ("train", "validation")
    )
    check_labels(train)
    assert check_labels(validation, learned=False).pixels.tolist() == [4, 0, 2]
    with pytest.raises(DataError, match="drawn with 0 and 255"):
        check_labels(validation)
    recipe = recipe_of(train, validation, num_classes=2)
    place = Place(data=tmp_path, workdir=tmp_path / "run")
    scores = run(recipe, place, origin=ORIGIN, say=lambda _: None)
    assert scores is not None and 0 <= scores["pixel_accuracy"] <= 1


def test_masks_of_0_and_255_are_refused_in_training_only_there(tmp_path):
    small_set(tmp_path, [[[0, 255], [255, 0]]] * 3)
    place = Place(data=tmp_path, workdir=tmp_path / "run")
    with pytest.raises(DataError, match="drawn with 0 and 255"):
        run(
            recipe_of(*parts(num_classes=2), num_classes=2),
            place,
            origin=ORIGIN,
            say=lambda _: None,
        )


def test_a_set_without_any_labelled_pixel_is_refused(tmp_path):
    own = Folders(num_classes=2).at(small_set(tmp_path, [[[255, 255]]]))
    with pytest.raises(DataError, match="nothing to learn"):
        check_labels(own)
    with pytest.raises(DataError, match="nothing to score"):
        check_labels(own, learned=False)


def test_a_single_image_is_trained_on_and_validated_on(tmp_path):
    small_set(tmp_path, [np.eye(16) * 3], noise(1, 16, 16))
    said = []
    place = Place(data=tmp_path, workdir=tmp_path / "run")
    scores = run(recipe_of(*parts()), place, origin=ORIGIN, say=said.append)
    assert scores is not None and "pixel_accuracy" in scores
    assert "Folders: a single image, to train on and to validate on" in said[0]
    (tmp_path / "list.txt").write_text("n0\n")
    twice = [Folders(num_classes=4, split="list.txt")] * 2
    with pytest.raises(DataError, match="in the training list and in the validation list"):
        data_sets(recipe_of(*twice), tmp_path)


def test_the_page_names_tests_that_are_there():
    root = Path(__file__).parents[1]
    named = set(re.findall(r"`(test_\w+)`", (root / "docs" / "images.md").read_text()))
    files = [root / "tests" / f"test_{name}.py" for name in ("images_reading", "images_runs")]
    files.append(root / "tests" / "test_walk_folders.py")
    there = {name for file in files for name in re.findall(r"def (test_\w+)", file.read_text())}
    assert len(named) > 25 and named <= there, named - there
