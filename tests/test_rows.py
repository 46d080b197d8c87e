"""Every published result: two steps and one evaluation on small data in the real layout."""

import dataclasses
import importlib
import json
import pkgutil
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

import experiments
import fcn_jax as fcn
from fcn_jax.commands.list import rows
from fcn_jax.preprocessing import CAFFE, NYUD_COLOR, NYUD_HHA, ByInput
from fcn_jax.runs.description import describe
from fcn_jax.runs.place import Place
from fcn_jax.runs.run import run
from fcn_jax.training.state import initial_variables
from fcn_jax.weights.weights_file import Metadata, save_weights

CHAINS = (
    ("voc_fcn32s", "voc_fcn16s", "voc_fcn8s"),
    ("voc_fcn8s_atonce", "voc_fcn32s_fixed", "voc_fcn32s_cvpr15"),
    ("voc_fcn_alexnet", "voc_fcn_alexnet_cvpr15"),
    ("voc_fcn_googlenet",),
    ("voc_fcn_pool5", "voc_fcn_pool4", "voc_fcn_pool3"),
    ("nyud_fcn32s_color", "nyud_fcn32s_hha", "nyud_fcn32s_color_hha", "nyud_fcn16s_color_hha"),
    ("nyud_fcn32s_color_d",),
    ("siftflow_fcn32s", "siftflow_fcn16s", "siftflow_fcn8s"),
    ("pascalcontext_fcn32s", "pascalcontext_fcn16s", "pascalcontext_fcn8s"),
    ("siftflow_squeezenet", "siftflow_squeezenet_geometry"),
    ("nyud_squeezenet",),
    ("nyud_depth",),
    ("siftflow_efficientnet",),
    ("siftflow_parts",),
)
QUICK = {"nyud_fcn32s_color_d"}
WIDTH = 1 / 32
NAMES = ("a1", "a2", "a3", "a4")
RNG = np.random.default_rng(0)


def pixels(*shape, high=256, dtype=np.uint8):
    return RNG.integers(0, high, shape).astype(dtype)


def save_image(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def save_mat(path, **contents):
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, contents)


def save_text(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """All data sets in the layout of their publishers, four images of 21 x 30 pixels each."""
    root, h, w = tmp_path_factory.mktemp("data"), 21, 30
    lists = "\n".join(NAMES)
    voc, sbd, nyud = root / "VOC2011", root / "sbdd" / "dataset", root / "nyud"
    sift, context = root / "sift-flow", root / "context"
    scenes = "spatial_envelope_256x256_static_8outdoorcategories"
    for split in ("train", "val", "seg11valid"):
        save_text(voc / "ImageSets" / "Segmentation" / f"{split}.txt", lists)
        save_text(root / "VOC2010" / "ImageSets" / "Main" / f"{split}.txt", lists)
        save_text(sbd / f"{split}.txt", "\n".join(f"b{name}" for name in NAMES))
    for split in ("train", "val", "test"):
        save_text(nyud / f"{split}.txt", "\n".join(f"{split}{name}" for name in NAMES))
    for split in ("trainval", "test"):
        save_text(sift / f"{split}.txt", "\n".join(f"{split}{name}" for name in NAMES))
    classes = importlib.import_module("fcn_jax.data.pascal_context").CLASSES[1:]
    aliases = {"diningtable": "table", "bedcloth": "bedclothes", "clothes": "cloth"}
    real = [aliases.get(c, c) for c in classes] + [f"other{i}" for i in range(400)]
    save_text(context / "labels.txt", "".join(f"{i}: {n}\n" for i, n in enumerate(real, 1)))
    save_text(context / "59_labels.txt", "".join(f"{i}: {n}\n" for i, n in enumerate(classes, 1)))
    for name in NAMES:
        save_image(voc / "JPEGImages" / f"{name}.jpg", pixels(h, w, 3))
        save_image(voc / "SegmentationClass" / f"{name}.png", pixels(h, w, high=21))
        save_image(sbd / "img" / f"b{name}.jpg", pixels(h, w, 3))
        save_mat(sbd / "cls" / f"b{name}.mat", GTcls={"Segmentation": pixels(h, w, high=21)})
        save_image(root / "VOC2010" / "JPEGImages" / f"{name}.jpg", pixels(h, w, 3))
        save_mat(context / "trainval" / f"{name}.mat", LabelMap=pixels(h, w, high=460, dtype="<u2"))
        for split in ("train", "val", "test"):
            own = f"{split}{name}"
            save_image(nyud / "data" / "images" / f"img_{own}.png", pixels(h, w, 3))
            save_image(nyud / "data" / "hha" / f"img_{own}.png", pixels(h, w, 3))
            depth = pixels(h, w, high=9000, dtype=np.uint16)
            save_image(nyud / "data" / "depth" / f"img_{own}.png", depth)
            label = pixels(h, w, high=41)
            save_mat(nyud / "segmentation" / f"img_{own}.mat", segmentation=label)
        for split in ("trainval", "test"):
            own = f"{split}{name}"
            save_image(sift / "Images" / scenes / f"{own}.jpg", pixels(h, w, 3))
            for folder, high in (("SemanticLabels", 34), ("GeoLabels", 4)):
                save_mat(sift / folder / scenes / f"{own}.mat", S=pixels(h, w, high=high))
    return root


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with `weights/` of narrow classifiers, for runs beside each other."""
    folder = tmp_path_factory.mktemp("place")
    for name, trunk in {
        "vgg16": fcn.VGG16(width=WIDTH),
        "caffenet": fcn.AlexNet(width=WIDTH),
        "googlenet": fcn.GoogLeNet(width=WIDTH),
        "squeezenet1_0": fcn.SqueezeNet(),
    }.items():
        net = fcn.FCN(trunk, 5)  # a classifier's last layer is not used
        variables = {"params": {"trunk": initial_variables(net, 0)["params"]["trunk"]}}
        about = Metadata(
            architecture=type(trunk).__name__,
            num_classes=5,
            preprocessing=CAFFE,
            source="random",
            source_sha256="0" * 64,
        )
        save_weights(folder / "weights" / f"{name}.safetensors", variables, about)
    return folder


def narrow(net):
    if isinstance(net, fcn.LateFusion):
        return fcn.LateFusion({name: narrow(stream) for name, stream in net.streams.items()})
    return net.clone(trunk=net.trunk.clone(width=WIDTH)) if hasattr(net.trunk, "width") else net


def small(recipe):
    """The recipe with a narrow net, two steps, few images per step, and two images held out."""
    sets = {
        field: dataclasses.replace(source, held_out=2)
        for field in ("train_set", "validation_set")
        if hasattr(source := getattr(recipe, field), "held_out")
    }
    return dataclasses.replace(
        recipe,
        model=recipe.model if getattr(recipe.start, "package", "") else narrow(recipe.model),
        batch_size=min(recipe.batch_size, 2),
        accumulate=min(recipe.accumulate, 2),
        steps=2,
        evaluate_every=0,
        checkpoint_every=0,
        **sets,
    )


def test_every_recipe_is_in_a_chain():
    names = {m.name for m in pkgutil.iter_modules(experiments.__path__)}
    assert names - {"studies", "folders"} == {name for chain in CHAINS for name in chain}


@pytest.mark.parametrize(
    "chain",
    [pytest.param(c, id=c[-1], marks=[] if c[0] in QUICK else pytest.mark.slow) for c in CHAINS],
)
def test_two_steps_and_one_evaluation(chain, data, place, monkeypatch):
    monkeypatch.chdir(place)
    for name in chain[:1] if chain[0] in QUICK else chain:
        recipe = small(importlib.import_module(f"experiments.{name}").RECIPE)
        line = run(
            recipe,
            Place(workdir=place / "runs" / name, data=data, threads=0),
            origin={"module": f"experiments.{name}", "overrides": {}},
            say=lambda _: None,
        )
        assert line is not None and 0 <= line["mean_iu"] <= 1
        written = json.loads((place / "runs" / name / "recipe.json").read_text())
        if name == "nyud_fcn32s_color_hha":
            expected = ByInput({"color": NYUD_COLOR, "hha": NYUD_HHA})
            assert written["preprocessing"] == describe(expected)


def test_the_list_reads_the_published_scores():
    table = {row.recipe: row for row in rows(Path(experiments.__path__[0]))}
    assert table["experiments.voc_fcn8s"].published == ("91.2", "77.6", "65.5", "84.5")
    assert table["experiments.siftflow_fcn8s"].published == ("85.9", "53.9", "41.2", "77.2")
    assert table["experiments.voc_fcn_googlenet"].published == ("", "", "42.5", "")
    assert table["experiments.siftflow_fcn32s"].published == ("",) * 4
    assert len(table) == sum(map(len, CHAINS)) + 1  # folders
