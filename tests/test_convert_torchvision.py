"""torchvision's classifiers, converted, against the same nets in PyTorch."""

import importlib.util
import json
import sys
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_nets

import fcn_jax as fcn
from fcn_jax.nets.trunks.alexnet import TorchvisionAlexNet
from fcn_jax.nets.trunks.googlenet import TorchvisionGoogLeNet
from fcn_jax.nets.trunks.squeezenet import SqueezeNet11
from fcn_jax.weights.foreign.convert import convert
from fcn_jax.weights.foreign.torchvision import MEAN, STD, fold_input, read_torchvision
from fcn_jax.weights.foreign.torchvision_nets import fold_batch_norm
from fcn_jax.weights.weights_file import load_weights

ROOT = Path(__file__).parents[1]


def about(model, **fields):
    text = {"model": model, "weights": "W", "torchvision": "0", "mean": MEAN, "std": STD}
    return np.array(json.dumps(text | fields))


def test_the_first_convolution_absorbs_the_input_convention():
    rng = np.random.default_rng(0)
    w = rng.normal(size=(5, 3, 3, 3)).astype(np.float32)
    rgb = rng.integers(0, 256, (3, 3, 3))  # channels first
    inside = np.ones((3, 3))
    inside[:, 0] = 0  # a column of zero padding, which both conventions see as 0
    theirs = (rgb / 255 - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1)) * inside
    ours = (rgb - 255 * np.reshape(MEAN, (3, 1, 1)))[::-1] * inside
    np.testing.assert_allclose(
        np.tensordot(fold_input(w, list(STD)), ours, 3),
        np.tensordot(w, theirs, 3),
        rtol=1e-5,
        atol=1e-5,
    )


def test_a_convolution_absorbs_its_normalisation():
    rng = np.random.default_rng(0)
    w, b = rng.normal(size=(5, 2, 3, 3)), rng.normal(size=5)
    norm = {name: rng.normal(size=5) for name in ("weight", "bias", "running_mean")}
    norm["running_var"] = rng.random(5) * 1e-4  # small enough for the epsilon to matter
    x = rng.normal(size=(2, 3, 3))
    plain = np.tensordot(w, x, 3) + b
    scaled = (plain - norm["running_mean"]) / np.sqrt(norm["running_var"] + 1e-5)
    kernel, bias = fold_batch_norm([w, b], norm)
    got = np.tensordot(kernel, x, 3) + bias
    np.testing.assert_allclose(got, scaled * norm["weight"] + norm["bias"], rtol=1e-4)


# The nets that the files are for, with as many classes as the nets of torch_nets.py have.
TRUNKS = {
    "vgg16": fcn.VGG16(width=1 / 32),
    "vgg16_bn": fcn.VGG16(width=1 / 32),
    "alexnet": TorchvisionAlexNet(width=1 / 16),
    "googlenet": TorchvisionGoogLeNet(width=1 / 8),
    "squeezenet1_0": fcn.SqueezeNet(),
    "squeezenet1_1": SqueezeNet11(),
}


@pytest.mark.parametrize("model", TRUNKS)
def test_a_converted_net_computes_what_the_torch_net_computes(model, tmp_path):
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not a dependency")
    torch.manual_seed(0)
    net, forward = getattr(torch_nets, model)(torch.nn)
    for name, value in net.state_dict().items():
        if value.ndim > 1:
            torch.nn.init.kaiming_normal_(value)
        elif value.ndim == 1:
            value.copy_(torch.rand_like(value) * 0.5 + (0.5 if name.endswith("var") else 0.1))
    net.eval()
    source, target = tmp_path / "in.pth", tmp_path / "out.safetensors"
    torch.save(net.state_dict(), source)
    if model == "vgg16":  # as weights/export_torchvision.py writes it
        source = tmp_path / "in.npz"
        arrays = {name: value.numpy() for name, value in net.state_dict().items()}
        np.savez(source, metadata=about(model), **arrays)
    pixels = np.random.default_rng(0).integers(0, 256, (224, 224, 3))
    theirs = (pixels / 255 - np.array(MEAN)) / np.array(STD)
    net.double()  # so that all the difference is ours
    with torch.no_grad():
        want = forward(torch.from_numpy(theirs.transpose(2, 0, 1)[None])).numpy()

    report = convert("torchvision", source, target)
    trunk = TRUNKS[model]
    loaded, metadata = load_weights(target, architecture=type(trunk).__name__)
    prep = metadata.preprocessing
    assert (prep.channels, prep.std, metadata.num_classes) == ("BGR", (1.0, 1.0, 1.0), 10)
    mean = [127.5] * 3 if model == "googlenet" else [103.53, 116.28, 123.675]
    np.testing.assert_allclose(prep.mean, mean)
    training = ("aux1, aux2: classifiers for training",)
    assert report.notes == (training if model == "googlenet" else ())
    apply = jax.jit(fcn.Classifier(trunk=trunk, num_classes=10).apply)
    with jax.default_matmul_precision("highest"):
        got = apply(loaded, prep(jnp.asarray(pixels[None], jnp.uint8)))
    assert got.shape == (1, 1, 1, 10) and np.ptp(want) > 0.1
    assert np.abs(got[0, 0] - want).max() <= 1e-5 * np.abs(want).max()


# Source: `num_params` of the weights in torchvision/models; that of GoogLeNet less the 7,280 gains
# of its normalisations, whose shifts became biases.
@pytest.mark.parametrize(
    ("trunk", "parameters"),
    [
        (TorchvisionAlexNet(), 61_100_840),
        (TorchvisionGoogLeNet(), 6_624_904 - 7_280),
        (SqueezeNet11(), 1_235_496),
    ],
)
def test_the_nets_have_as_many_parameters_as_torchvision_says(trunk, parameters):
    net = fcn.Classifier(trunk=trunk, num_classes=1000)
    images = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    shapes = jax.eval_shape(net.init, jax.random.key(0), images)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == parameters


def test_errors_of_the_torchvision_reader(tmp_path):
    path = tmp_path / "in.npz"
    np.savez(path, metadata=about("resnet50"))
    with pytest.raises(ValueError, match="holds 'resnet50'; expected one of vgg16, "):
        read_torchvision(path)
    np.savez(path, metadata=about("vgg16"), other=np.zeros(3))
    with pytest.raises(ValueError, match=r"lacks features.0.weight; what is left of it is other"):
        read_torchvision(path)
    np.savez(path, x=np.zeros(3))
    with pytest.raises(
        ValueError, match=r"not known here \(its arrays are x, …\); expected a classifier on ResNet"
    ):
        read_torchvision(path)


class Features:
    """Ones of every shape, but a classifier of NaN, as torchvision publishes it for VGG16."""

    def __call__(self, name):
        return np.full(3, np.nan if name.startswith("classifier") else 1.0)


def test_a_file_without_a_classifier_is_refused(tmp_path):
    names = [f"features.{i}" for i in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)]
    names += [f"classifier.{i}" for i in (0, 3, 6)]
    keys = [f"{name}.{part}" for name in names for part in ("weight", "bias")]
    np.savez(tmp_path / "in.npz", metadata=about("vgg16"), **{k: Features()(k) for k in keys})
    with pytest.raises(ValueError, match="not finite numbers in fc6, fc7, fc8"):
        read_torchvision(tmp_path / "in.npz")


def test_the_export_script_writes_what_the_reader_reads(tmp_path, monkeypatch, capsys):
    class Array:
        def numpy(self):
            return np.ones(3)

    class Weights:
        url = "https://example.org/w"

        def transforms(self):
            return types.SimpleNamespace(mean=MEAN, std=STD)

        def __str__(self):
            return "Weights.V1"

    fake = types.SimpleNamespace(
        __version__="0.0",
        models=types.SimpleNamespace(
            get_model_weights=lambda model: {"V1": Weights()},
            get_model=lambda model, weights: types.SimpleNamespace(
                state_dict=lambda: {"features.0.weight": Array()}
            ),
        ),
    )
    monkeypatch.setitem(sys.modules, "torchvision", fake)
    spec = importlib.util.spec_from_file_location("x", ROOT / "weights/export_torchvision.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.export("vgg16", "V1", str(tmp_path / "out.npz"))
    assert "1 arrays of Weights.V1" in capsys.readouterr().out
    with pytest.raises(ValueError, match="lacks features.0.bias; what is left of it is nothing"):
        read_torchvision(tmp_path / "out.npz")
