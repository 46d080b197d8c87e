"""ResNet, MobileNetV3 and ConvNeXt against torchvision's own nets, with weights drawn by name."""

import functools
import importlib.util
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_arrays

import fcn_jax as fcn
from fcn_jax.nets.inputs import as_image
from fcn_jax.weights.foreign.torchvision_trunks import (
    NAMES,
    classifier_variables,
    take_variables,
    trunk_layers,
)

KEPT = Path(__file__).with_name("goldens") / "torch_trunks.npz"
SHARED = Path(__file__).resolve().parents[2] / "shared" / "goldens" / "torch"
TRUNKS = {
    "resnet18": fcn.ResNet(18),
    "resnet50_stride8": fcn.ResNet(50, output_stride=8),
    "smp_resnet18_stride16": fcn.ResNet(18, output_stride=16, dilate_first_block=True),
    "mobilenet_v3_large": fcn.MobileNetV3(),
    "mobilenet_v3_large_stride16": fcn.MobileNetV3(output_stride=16),
    "convnext_tiny": fcn.ConvNeXt(),
}
CLASSIFIERS = ("resnet18", "mobilenet_v3_large", "convnext_tiny")
SIDE = {"convnext_tiny": (45, 67)}
HASTY = {"xla_backend_optimization_level": 0}


@functools.cache
def kept():
    with np.load(KEPT) as file:
        return dict(file)


def arrays_of(name):
    return torch_arrays.state_dict(json.loads(str(kept()[f"{name}/state_dict"])))


@functools.cache
def trunk_and_variables(name):
    trunk = TRUNKS[name]
    image = as_image(jnp.zeros((1, 32, 32, 3)), None, jnp.float32)
    shapes = jax.eval_shape(functools.partial(trunk.init, train=False), jax.random.key(0), image)
    layers = trunk_layers(shapes["params"])
    rule = functools.partial(NAMES[type(trunk)], layers=layers)
    return trunk, take_variables(shapes, rule, arrays_of(name), Path(name))


@functools.partial(jax.jit, static_argnums=0, compiler_options=HASTY)
def maps_of(trunk, variables, image):
    return trunk.apply(variables, as_image(image, None, np.float32), train=False)


def check(golden, values, tolerance=1e-5):
    """Against the values that are kept of a map, (rows, columns, channels)."""
    values, expected = np.asarray(values), kept()
    assert values.shape == tuple(expected[f"{golden}/shape"]), golden
    found = values.ravel()[expected[f"{golden}/places"]]
    worst = np.abs(found - expected[f"{golden}/values"]).max() / expected[f"{golden}/largest"]
    assert worst < tolerance, (golden, worst)


def slow(*names):
    """The slower ones of the parameters, whose code others run too."""
    return [pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize(
    "name",
    [
        *("resnet50_stride8", "smp_resnet18_stride16", "mobilenet_v3_large_stride16"),
        "convnext_tiny",
        *slow("resnet18", "mobilenet_v3_large"),
    ],
)
def test_maps_of_an_odd_size(name):
    trunk, variables = trunk_and_variables(name)
    maps = maps_of(trunk, variables, torch_arrays.image(*SIDE.get(name, (33, 46))))
    golden = [n.split("/")[1] for n in kept() if n.startswith(f"{name}/") and n.endswith("/places")]
    golden = [layer for layer in golden if layer not in ("scores", "train")]
    assert len(golden) >= 4
    for layer in golden:
        check(f"{name}/{layer}", maps[layer].values[0])


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers(name):
    """Here, and those of `shared/` where it is there."""
    net = fcn.Classifier(TRUNKS[name])
    run = jax.jit(net.apply, compiler_options=HASTY)
    variables = classifier_variables(net, arrays_of(name), Path(name))
    scores = run(variables, torch_arrays.image(224, 224))
    assert scores.shape == (1, 1, 1, 1000)
    check(f"{name}/scores", scores[0, 0, 0])
    golden = SHARED / f"classifier_{name}_224x224_seed0.npz"
    if not golden.exists():
        return
    spec = importlib.util.spec_from_file_location("made", SHARED / "make_torch_goldens.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    shapes = json.loads((SHARED / "shapes.json").read_text())[f"classifier_{name}"]
    arrays = {n: made.value(n, tuple(shape), dtype) for n, (shape, dtype) in shapes.items()}
    with np.load(golden) as file:
        mean, deviation = made.IMAGENET
        image = ((file["image"] / 255 - mean) / deviation).astype(np.float32)[None]
        expected = file["scores"]
    scores = np.asarray(run(classifier_variables(net, arrays, golden), image))[0]
    assert np.abs(scores - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("name", ["resnet18", *slow("mobilenet_v3_large")])
def test_a_training_step_of_the_batch_norms(name):
    """Batch statistics in the result; the running ones move as torch's."""
    trunk, variables = trunk_and_variables(name)

    @functools.partial(jax.jit, compiler_options=HASTY)
    def run(variables, images):
        image = as_image(images, None, np.float32)
        maps, changed = trunk.apply(variables, image, train=True, mutable=["batch_stats"])
        return list(maps.values())[-1].values, changed

    values, changed = run(variables, torch_arrays.image(65, 98, batch=2))
    check(f"{name}/train", values, 2e-5)
    rule = functools.partial(NAMES[type(trunk)], layers=trunk_layers(variables["params"]))
    found = {}
    for path, leaf in jax.tree.leaves_with_path(changed["batch_stats"]):
        *layer, part = (key.key for key in path)
        found[f"{rule('/'.join(layer))}.running_{part}"] = np.asarray(leaf)[:4]
    expected = kept()[f"{name}/running"]
    np.testing.assert_allclose(
        np.stack([found[n] for n in sorted(found)]), expected, rtol=2e-5, atol=2e-5
    )


def test_arrays_must_be_those_of_the_net():
    net, arrays = fcn.Classifier(TRUNKS["resnet18"]), arrays_of("resnet18")
    with pytest.raises(ValueError, match="F also has more.weight, which this net lacks"):
        classifier_variables(net, {**arrays, "more.weight": arrays["fc.bias"]}, Path("F"))
    less = {name: a for name, a in arrays.items() if name != "layer2.0.downsample.1.running_var"}
    with pytest.raises(ValueError, match="F lacks layer2.0.downsample.1.running_var"):
        classifier_variables(net, less, Path("F"))
    wrong = {**arrays, "fc.weight": arrays["fc.weight"].T}
    with pytest.raises(ValueError, match=r"F: fc.weight has shape \(512, 1000\).*depth and width"):
        classifier_variables(net, wrong, Path("F"))
