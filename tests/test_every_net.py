"""A net of every kind goes through every command, or the command says what it does not take."""

import every_kind
import jax
import numpy as np
import pytest
from PIL import Image

from fcn_jax.commands.evaluate import evaluate
from fcn_jax.commands.explain import explain
from fcn_jax.commands.export import export
from fcn_jax.commands.plan import plan
from fcn_jax.commands.predict import predict
from fcn_jax.commands.submit import submit
from fcn_jax.data.named import zip_named
from fcn_jax.inference.predictor import Predictor
from fcn_jax.inference.tiling import TiledPredictor
from fcn_jax.report.palette import class_palette
from fcn_jax.runs.lookup import recipe_named
from fcn_jax.runs.place import Place
from fcn_jax.runs.run import run as train
from fcn_jax.runs.start import run_variables

FAST = {"xla_backend_optimization_level": 0}  # to compile, not to run


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    every_kind.write_data(root)
    return root


class Trained:
    """A run of two steps."""

    def __init__(self, kind, folder, data):
        self.kind, self.data, self.path = kind, data, folder / kind
        self.module = str(folder / f"{kind}.py")
        with open(self.module, "w") as file:
            file.write(f"from every_kind import RECIPES\nRECIPE = RECIPES['{kind}']\n")
        self.recipe = recipe_named(self.module)
        place = Place(workdir=self.path, data=data, threads=0)
        origin = {"module": self.module, "overrides": {}}
        train(self.recipe, place, origin=origin, say=lambda _: None)
        self.source = self.recipe.validation_set.at(data)

    @property
    def outputs(self):
        """Number of classes by what stands behind an image's name."""
        return {
            f"_{name}" if name else "": k
            for name, k in zip_named(dict_or_number(self.recipe.model.num_classes))
        }

    def folders(self):
        """The folder of each input's files, by the input's name."""
        path = self.source.image_path(self.source.ids[0])
        return {name: file.parent for name, file in zip_named(path)}

    def expected(self):
        """Scores by the image's file name, from arrays."""
        predictor = Predictor(self.recipe.model, *run_variables(self.path))
        found = {}
        for i, name in enumerate(self.source.ids):
            first = next(path for _, path in zip_named(self.source.image_path(name)))
            scores = predictor.scores(self.source[i].image)
            found |= {f"{first.stem}_{k}" if k else first.stem: v for k, v in zip_named(scores)}
        return found


def dict_or_number(classes):
    return classes if isinstance(classes, int) else dict(classes)


@pytest.fixture(scope="module", params=every_kind.RECIPES)
def run(request, tmp_path_factory, data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fcn_jax.devices.compiling.compiler_options", lambda: FAST)
        patch.setattr("fcn_jax.devices.compiling.use_compile_cache", lambda: None)
        yield Trained(request.param, tmp_path_factory.mktemp("runs"), data)


def end(command, *args, **options):
    """The exit status of a command."""
    try:
        command(*args, **options)
    except SystemExit as error:
        return error.code or 0
    return 0


def test_evaluate(run, capsys):
    assert end(evaluate, run.path, data=run.data, recipe=run.module) == 0
    said = capsys.readouterr().out
    assert said.count("mean IU") >= len(run.outputs)
    assert all(name.strip("_") in said for name in run.outputs)


def predicted(run, out, images=None, **options):
    """Runs `predict`; by default on the folder of the first input."""
    (_, first), *others = run.folders().items()
    options["inputs"] = tuple(f"{name}={folder}" for name, folder in others)
    assert end(predict, run.path, images or (first,), out=out, recipe=run.module, **options) == 0


@pytest.mark.parametrize("tile", [None, 64, "auto"])
def test_predict(run, tile, tmp_path, capsys):
    paths = (next(iter(zip_named(run.source.image_path(name))))[1] for name in run.source.ids)
    predicted(run, tmp_path, tuple(paths), tile=tile)
    expected = run.expected()
    written = {path.name for path in tmp_path.iterdir()} - {"predictions.csv"}
    assert written == {f"{name}{end}.png" for name in expected for end in ("", "_overlay")}
    for name, scores in expected.items():
        with Image.open(tmp_path / f"{name}.png") as label:
            np.testing.assert_array_equal(np.asarray(label), scores.argmax(-1))
            assert label.getpalette() == class_palette(scores.shape[-1]).ravel().tolist()
        with Image.open(tmp_path / f"{name}_overlay.png") as overlay:
            assert overlay.mode == "RGB" and overlay.size == label.size


def test_predict_a_folder_with_probabilities(run, tmp_path, capsys):
    for tile in (None, 64):
        out = tmp_path / str(tile)
        predicted(run, out, tile=tile, probabilities=True)
        for name, scores in run.expected().items():
            probabilities = np.load(out / f"{name}_probabilities.npy")
            assert probabilities.dtype == np.float32
            np.testing.assert_allclose(probabilities, jax.nn.softmax(scores), rtol=1e-5, atol=1e-6)
            with Image.open(out / f"{name}.png") as label:
                np.testing.assert_array_equal(np.asarray(label), probabilities.argmax(-1))


def test_inputs_must_be_those_of_the_net(run, tmp_path, capsys):
    images = (tmp_path / "x.png",)
    given = {"one": ("a=b",), "twice": ("depth=a", "depth=b"), "nothing": ("depth",)}
    if len(run.folders()) > 1:
        given["none"] = ()
    for inputs in given.values():
        assert end(predict, run.path, images, out=tmp_path, recipe=run.module, inputs=inputs) == 1
        said = capsys.readouterr().err
        assert said.startswith("error: ") and "input" in said and said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_an_image_whose_other_input_is_missing_stops_no_other(run, tmp_path, capsys):
    if len(run.folders()) < 2:
        pytest.skip("a net of one input")
    (_, first), (name, folder) = run.folders().items()
    some = tmp_path / "some"
    some.mkdir()
    kept = run.source.image_path(run.source.ids[0])[name]
    (some / kept.name).write_bytes(kept.read_bytes())
    options = {"inputs": (f"{name}={some}",), "recipe": run.module, "out": tmp_path / "out"}
    assert end(predict, run.path, (first,), **options) == 1
    said = capsys.readouterr().err
    assert said.count("error: ") == len(list(first.iterdir())) - 1 and "expected one file" in said
    assert (tmp_path / "out" / kept.name).exists()


def test_tiles_of_arrays(run):
    variables, preprocessing = run_variables(run.path)
    tiled = TiledPredictor(run.recipe.model, variables, preprocessing, tile=64)
    rng = np.random.default_rng(5)
    image = jax.tree.map(
        lambda a: rng.integers(0, 256, (150, 70, a.shape[-1])).astype(a.dtype), run.source[0].image
    )
    whole = Predictor(run.recipe.model, variables, preprocessing)(image)
    jax.tree.map(np.testing.assert_array_equal, tiled(image), whole)


def test_export(run, tmp_path, capsys):
    variables, _ = run_variables(run.path)
    status = end(export, run.path, tmp_path / "a.npz", recipe=run.module)
    if run.kind == "segmenter":  # Caffe's nets have no such batch norms
        assert status == 1 and "no names in Caffe's nets" in capsys.readouterr().err
        return
    assert status == 0
    with np.load(tmp_path / "a.npz") as file:
        exported = {file[name].size for name in file.files if name != "metadata"}
    assert {leaf.size for leaf in jax.tree.leaves(variables)} <= exported


def test_submit(run, tmp_path, capsys):
    out = tmp_path / "out"
    status = end(submit, run.path, data=run.data, out=out, recipe=run.module)
    said = capsys.readouterr()
    if run.kind in ("one_head", "segmenter"):
        assert status == 0 and (out / "results.tgz").exists()
    else:
        assert status == 1 and not out.exists()
        assert said.err.startswith("error: ") and "VOC" in said.err and said.err.count("\n") == 1


def test_explain_and_plan(run, capsys):
    assert end(explain, run.module, size="40x48") == 0
    said = capsys.readouterr().out
    assert all(f"score{name}" in said for name in run.outputs)
    assert end(plan, run.module, size="40x48", batch=1) == 0
    assert "memory" in capsys.readouterr().out
