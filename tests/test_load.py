"""`fcn_jax.load` makes a run or a weights file a net that predicts, and runs no foreign code."""

import json
import os
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import fcn_jax as fcn
from fcn_jax.preprocessing import CAFFE, ByInput, LogDepth
from fcn_jax.runs.demo import recipe as demo_recipe
from fcn_jax.runs.description import NotOursError, build, describe, differences, from_text
from fcn_jax.runs.options import override
from fcn_jax.runs.start import read_variables, run_variables, starting_point
from fcn_jax.training.checkpoints import Checkpoints
from fcn_jax.training.run_folder import RunFolder
from fcn_jax.weights.weights_file import Metadata, save_weights

STORED = Path(__file__).with_name("run_of_0_1")
RNG = np.random.default_rng(0)
RECIPE = override(demo_recipe("fcn32s"), {"model": {"trunk": {"width": 1 / 64}}})
IMAGE = RNG.integers(0, 256, (37, 52, 3), np.uint8)


@pytest.fixture(scope="module")
def model():
    return fcn.load(str(STORED))


def test_a_run_of_an_earlier_version(model):
    assert model.net.trunk.width == 1 / 64 and model.preprocessing.channels == "BGR"
    assert model.class_names[0] == "background" and len(model.class_names) == 7
    scores = model.scores(IMAGE)
    input_ = model.preprocessing(jnp.asarray(IMAGE[None]))
    expected = np.asarray(model.net.apply(model.variables, input_)[0])
    np.testing.assert_allclose(scores, expected, atol=1e-5 * np.abs(expected).max())
    label, probabilities = model(IMAGE), model.probabilities(IMAGE)
    assert label.dtype == np.uint8 and (label == scores.argmax(-1)).all()
    np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-6)
    np.testing.assert_allclose(probabilities, jax.nn.softmax(scores), atol=1e-6)


def test_paths_pil_images_and_lists(model, tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(IMAGE).save(path)
    first, second, third = model([path, str(path), Image.open(path)])
    assert (first == second).all() and (second == third).all() and (first == model(IMAGE)).all()
    drawn = model.overlay(path, first)
    assert drawn.size == (52, 37)
    painted = np.asarray(drawn)[first > 0]
    assert (
        painted == np.rint(0.5 * IMAGE[first > 0] + 0.5 * model.palette[first[first > 0]])
    ).all()


NETS = {
    "heads": fcn.FCN(fcn.VGG16(width=1 / 64, aligned=True), {"semantic": 4, "geometric": 3}),
    "early": fcn.FCN(fcn.VGG16(width=1 / 64, aligned=True), 3, inputs={"color": 3, "depth": 1}),
    "late": fcn.LateFusion(
        dict.fromkeys(("color", "hha"), fcn.FCN32s(fcn.VGG16(width=1 / 64, aligned=True), 3))
    ),
    "learned": fcn.FCN16s(
        fcn.VGG16(width=1 / 64, aligned=True), 3, upsampling=fcn.LearnedUpsampling
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_a_weights_file_of_a_whole_net(name, tmp_path, random_variables):
    net, path = NETS[name], tmp_path / "net.safetensors"
    parts = {"color": CAFFE, "depth": LogDepth(), "hha": CAFFE}
    inputs = dict(net.inputs)
    preprocessing = ByInput({key: parts[key] for key in inputs}) if inputs else CAFFE
    from fcn_jax.weights.foreign.convert import _as_text

    metadata = Metadata(
        architecture=type(net).__name__,
        num_classes=net.num_classes if isinstance(net.num_classes, int) else dict(net.num_classes),
        preprocessing=preprocessing,
        source="drawn",
        net=_as_text(net),
    )
    save_weights(path, random_variables(net, size=64), metadata)
    model = fcn.load(path)
    assert model.net == net and model.preprocessing == preprocessing
    image = {"color": IMAGE, "hha": IMAGE, "depth": IMAGE[..., :1].astype(np.uint16)}
    scores = model.scores({key: image[key] for key in inputs} if inputs else IMAGE)
    shapes = jax.tree.map(np.shape, scores)
    if name == "heads":
        assert shapes == {"semantic": (37, 52, 4), "geometric": (37, 52, 3)}
        assert model.class_names["geometric"] == ("class 0", "class 1", "class 2")
        assert set(model.overlay(IMAGE, model(IMAGE))) == {"semantic", "geometric"}
    else:
        assert shapes == (37, 52, 3)


def test_what_is_not_an_image_of_the_net_is_named(model):
    for image, said in (
        ({"color": IMAGE}, "takes one image, found a dictionary of color"),
        (Image.fromarray(IMAGE[..., 0].astype(np.float32)), "mode F: no number is known"),
    ):
        with pytest.raises(ValueError, match=said):
            model(image)
    for label in (model.probabilities(IMAGE), model(IMAGE)[1:], "label.png"):
        with pytest.raises(ValueError, match="expected a label of this image"):
            model.overlay(IMAGE, label)
    assert (np.asarray(model.overlay(IMAGE)) == model.overlay(IMAGE, model(IMAGE))).all()
    with pytest.raises(ValueError, match="a name for each class of 7"):
        fcn.Model(model.net, model.variables, model.preprocessing, class_names=["a", "b"])
    own = fcn.Model(model.net, model.variables, model.preprocessing)
    assert own.class_names[:2] == ("class 0", "class 1") and own.palette.shape == (256, 3)
    for path, said in (("no/run", "there is no such run"), (__file__, "python -m fcn_jax convert")):
        with pytest.raises(ValueError, match=said):
            fcn.load(path)


class OtherPath(os.PathLike):
    """A path that is neither text nor a `Path`."""

    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return str(self.path)


@pytest.mark.parametrize("kind", [str, OtherPath])
def test_every_door_of_a_run_takes_any_path(kind):
    assert RunFolder(kind(STORED)).described()["module"] == "fcn_jax.demo"
    assert Checkpoints(kind(STORED / "checkpoints")).latest() == 2
    variables, _ = run_variables(kind(STORED))
    again, _ = read_variables(kind(STORED))
    assert jax.tree.all(jax.tree.map(np.array_equal, variables, again))
    model = fcn.load(kind(STORED))
    start = starting_point(RECIPE, kind(STORED), kind(STORED))
    assert len(model.class_names) == 7 and "layers copied" in start.source


def test_a_classifier_is_not_a_whole_net(tmp_path):
    path = tmp_path / "vgg16.safetensors"
    variables = {"params": {"fc8": {"bias": np.zeros(3)}}}
    save_weights(
        path,
        variables,
        Metadata(architecture="VGG16", num_classes=3, preprocessing=CAFFE, source="drawn"),
    )
    with pytest.raises(ValueError, match="holds a classifier"):
        fcn.load(path)


def strangers(tmp_path, edit):
    folder = tmp_path / "run"
    shutil.copytree(STORED, folder)
    described = json.loads((folder / "recipe.json").read_text())
    edit(described)
    (folder / "recipe.json").write_text(json.dumps(described))
    return folder


MINE = """
from pathlib import Path
Path(__file__).with_name("was_run").touch()
from fcn_jax.runs.demo import *
RECIPE = recipe("fcn32s")
"""


@pytest.mark.parametrize(
    "edit",
    [
        lambda d: d["recipe"]["model"].update({"class": "payload.FCN"}),
        lambda d: d["recipe"]["model"].update({"class": "experiments.payload.FCN"}),
        lambda d: d["recipe"]["model"].update({"class": "os.system"}),
        lambda d: d["recipe"]["model"].update({"class": "fcn_jax.runs.run.run"}),
        lambda d: d["recipe"]["model"]["trunk"].update({"class": "VGG17"}),
        lambda d: d.update(module="payload"),  # before 0.2, class names without modules
        lambda d: d.update(module="payload.py"),
    ],
)
def test_code_of_a_run_folder_is_not_run(edit, tmp_path, monkeypatch):
    folder = strangers(tmp_path, edit)
    for place in (folder, tmp_path):
        (place / "payload.py").write_text(MINE)
        (place / "experiments").mkdir()
        (place / "experiments" / "__init__.py").write_text(MINE)
        (place / "experiments" / "payload.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(NotOursError, match=r"run.*--recipe .*load\(run, net=net\)"):
        fcn.load(folder)
    assert not list(tmp_path.rglob("was_run"))


def test_a_recipe_or_a_net_that_is_passed(tmp_path, model):
    folder = strangers(tmp_path, lambda d: d.update(module=str(tmp_path / "mine.py")))
    expected = model(IMAGE)
    assert (fcn.load(folder, net=model.net)(IMAGE) == expected).all()
    source = MINE.replace("RECIPE = recipe", "whole = recipe").replace(
        'whole = recipe("fcn32s")', ""
    )
    (tmp_path / "mine.py").write_text(source)  # its function `recipe`, as the demo's
    assert (fcn.load(folder, recipe=str(tmp_path / "mine.py"))(IMAGE) == expected).all()
    with pytest.raises(ValueError, match="another recipe than this run's"):
        described = json.loads((folder / "recipe.json").read_text())
        described["recipe"]["seed"] = 5
        (folder / "recipe.json").write_text(json.dumps(described))
        fcn.load(folder, recipe=str(tmp_path / "mine.py"))


def test_a_class_of_the_same_name_is_not_ours():
    class VGG16(fcn.VGG16):
        """Somebody's own."""

    described = describe(fcn.FCN(VGG16(), 3))
    assert list(differences(described, fcn.FCN(fcn.VGG16(), 3)))
    with pytest.raises(NotOursError, match=r"VGG16"):
        build(described)


def test_damaged_descriptions_are_refused_by_name(tmp_path):
    for edit, said in (
        (lambda d: d["recipe"]["model"].pop("trunk"), "trunk"),
        (lambda d: d["recipe"].pop("model"), "damaged"),
        (lambda d: d["recipe"]["model"].update(unheard_of=1), "has no field 'unheard_of'"),
        (lambda d: d["recipe"]["model"].update(upsampling="FCN16"), "FCN16"),
    ):
        folder = strangers(tmp_path / said.replace(" ", "_"), edit)
        with pytest.raises(ValueError, match=said):
            fcn.load(folder)
    for text in ("FCN(trunk=VGG16()", "__import__('os').system('true')", "FCN(*x)", "[" * 500):
        with pytest.raises(ValueError, match="expected the text of a net"):
            from_text(text)
