"""`--data tfds:NAME`: a recipe reads a data set of TFDS instead of its own, and prints which."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
import tyro
from PIL import Image
from tfds_files import prepare

from fcn_jax.commands.evaluate import evaluate
from fcn_jax.data import VOC, Batches, DataError, Folders, SIFTFlow, read_ahead
from fcn_jax.data.location import located, parse
from fcn_jax.data.nyud import NYUDv2
from fcn_jax.data.scenes import Scenes
from fcn_jax.data.tfds import TFDS
from fcn_jax.runs.description import describe
from fcn_jax.runs.lookup import import_recipe_module
from fcn_jax.runs.place import Place
from fcn_jax.runs.run import run
from fcn_jax.training.run_folder import RunFolder

SMALLEST = Path(__file__).with_name("smallest_recipe.py")


@pytest.fixture(scope="module")
def recipe():
    return import_recipe_module(str(SMALLEST)).RECIPE


def features(labels):
    return {
        "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
        "segmentation_mask": tfds.features.LabeledImage(labels=labels, shape=(None, None, 1)),
        "file_name": tfds.features.Text(),
    }


def records(source):
    for image, label, name in source:
        images = {"image": Image.fromarray(image), "segmentation_mask": Image.fromarray(label)}
        yield {**images, "file_name": name}


@pytest.fixture(scope="module")
def root(recipe, tmp_path_factory):
    """The recipe's own scenes as a data set of TFDS, and three other data sets."""
    root = tmp_path_factory.mktemp("tfds")
    scenes = {"train": recipe.train_set, "validation": recipe.validation_set}
    names = list(recipe.train_set.class_names)
    prepare(root, "scenes", features(names), {s: list(records(x)) for s, x in scenes.items()})
    few = list(records(Scenes(length=2, seed=3, largest=(24, 24), num_classes=4)))
    prepare(root, "bare", features(4), {"train": few, "test": few[:1]})
    prepare(root, "renamed", features([names[0], *names[:0:-1]]), {"train": few})
    named = [names[0].title(), *(f"{name[:2]} -{name[2:]}" for name in names[1:])]
    prepare(root, "spelt", features(named), {"train": few})
    return root


def text(name, root, *fields):
    return "&".join([f"tfds:{name}?data_dir={root}", *fields])


def start(recipe, folder, data):
    said, origin = [], {"module": str(SMALLEST), "overrides": {}}
    run(recipe, Place(workdir=folder, data=Path(data)), origin=origin, say=said.append)
    return said


def test_a_run_and_its_evaluation_on_a_tfds_set(recipe, root, tmp_path, capsys):
    folder, data = tmp_path / "run", text("scenes", root)
    assert start(recipe, folder, data)[0] == (
        "tfds:scenes:1.0.0 train (in place of Scenes): 6 images to train on; "
        "tfds:scenes:1.0.0 validation (in place of Scenes): 4 to validate on"
    )
    described = json.loads((folder / "recipe.json").read_text())
    assert described["recipe"] == describe(recipe)
    read = described["data"]
    assert read["train_set"]["builder"] == "scenes:1.0.0" and "root" not in read["train_set"]
    assert [read[part]["split"] for part in read] == ["train", "validation"]

    for other in (tmp_path, text("scenes", root, "train=train[:4]")):
        with pytest.raises(DataError, match="started on tfds:scenes:1.0.0 train and .*--workdir"):
            start(recipe, folder, other)

    [scored] = [line for line in RunFolder(folder).metrics() if "mean_iu" in line]
    capsys.readouterr()
    evaluate(folder, data=Path(data), recipe=str(SMALLEST))
    out = capsys.readouterr().out
    assert out.startswith("tfds:scenes:1.0.0 validation: 4 images\n")
    assert f"mean IU {100 * scored['mean_iu']:.1f} (" in out


def test_the_batches_equal_those_of_the_same_images_elsewhere(recipe, root):
    def batches(source):
        made = Batches(source, batch_size=2, seed=1, with_replacement=False)
        return read_ahead(made, 0, 4, threads=2)

    there = located(recipe.train_set, text("scenes", root), "train")
    for got, want in zip(batches(there), batches(recipe.train_set), strict=True):
        assert got.keys() == want.keys()
        for key in want:
            np.testing.assert_array_equal(got[key], want[key])


def test_splits_and_classes_are_compared_with_the_recipe(recipe, root):
    own = recipe.validation_set
    for split, part in (("test", "validation=test"), ("train", "validation=train")):
        found = located(own, text("bare", root, part), "validation")
        assert found.split == split and found.class_names == own.class_names
    with pytest.raises(DataError, match="'validation'.*Splits there: train, test") as caught:
        located(own, text("bare", root), "validation")
    assert caught.value.__notes__ == ["Name the split to read: tfds:NAME?validation=SPLIT"]
    assert located(own, text("spelt", root), "train").class_names == own.class_names
    with pytest.raises(DataError, match=r"other classes.*'ring' is 'striped disc'.*\?classes=4"):
        located(own, text("renamed", root), "train")
    same = located(own, text("renamed", root, "classes=4"), "train")
    assert same.class_names == own.class_names
    with pytest.raises(DataError, match=r"has 4 classes \(background.*VOC 21 \(background"):
        located(VOC(split="train"), text("scenes", root), "train")
    for several in (
        SIFTFlow(split="train", labels=("semantic", "geometric")),
        NYUDv2(split="train", inputs=("hha",)),
    ):
        with pytest.raises(
            DataError, match=f"one photograph and one label.*{type(several).__name__}"
        ):
            located(several, text("scenes", root), "train")
    mine = located(Folders(num_classes=4), text("scenes", root), "train")
    assert mine.class_names == own.class_names  # the recipe's names are only numbers
    assert located(mine, root, "train").root == root and located(own, root, "train") == own


def test_stored_values_are_given_their_classes(root):
    own = Folders(num_classes=2, class_names=("rest", "disk"))
    fields = ("classes=2", "values=0,1,0,255")
    found = located(own, text("bare", root, *fields), "train")
    plain = TFDS(builder="bare", split="train", classes=4, root=root)
    for got, want in zip(found, plain, strict=True):
        assert set(got.label[want.label == 2]) <= {0} and set(got.label[want.label == 3]) <= {255}
    assert found.class_names == ("rest", "disk")


def test_the_fields_of_the_text():
    said = "tfds:a/b?data_dir=/d&train=train[:9]"
    assert str(tyro.cli(Place, args=["--data", said]).data) == said
    found = parse(
        "tfds:a/b:1.0.0?image=photo&label=mask&classes=x,y&values=1,0&data_dir=/d", "train"
    )
    assert found == TFDS(
        builder="a/b:1.0.0", split="train", image="photo", label="mask", classes=("x", "y"),
        values=(1, 0), root=Path("/d"),
    )  # fmt: skip
    assert (
        parse("tfds:a?validation=test[:50%]+train&train=x", "validation").split
        == "test[:50%]+train"
    )
    for wrong in ("a", "tfds:", "tfds:a:b", "tfds:a/b/c", "tfds:../a", "tfds:a?split=b",
                  "tfds:a?classes=", "tfds:a?classes=2&values=a", "tfds:a?classes=0"):  # fmt: skip
        with pytest.raises(DataError, match="expected"):
            parse(wrong, "train")
