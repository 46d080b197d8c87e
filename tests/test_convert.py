import dataclasses
import importlib.util
import io
import json
import sys
import types
import zipfile
from pathlib import Path

import foreign_files
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

import fcn_jax as fcn
from fcn_jax.convert.kinds import KINDS, convert
from fcn_jax.convert.torchvision import fold_batch_norm, fold_input, read_torchvision
from fcn_jax.convert.weights_file import (
    Metadata,
    load_weights,
    save_weights,
    sha256,
)
from fcn_jax.preprocessing import ByInput, LogDepth, Preprocessing

ROOT = Path(__file__).parents[1]
SQUEEZENET = ROOT.parent / "shared/data/squeezenet/squeezenet1_0_imagenet_caffe.npz"
PHOTO = ROOT.parent / "shared/data/fcn-demo/image.jpg"
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
ABOUT = Metadata(
    architecture="VGG16",
    num_classes=2,
    preprocessing=Preprocessing(channels="BGR", mean=(1.5, 2.0, 3.0)),
    source="a test",
)


def about(model, **fields):
    text = {"model": model, "weights": "W", "torchvision": "0", "mean": MEAN, "std": STD}
    return np.array(json.dumps(text | fields))


def variables(seed=0):
    rng = np.random.default_rng(seed)
    layer = {"kernel": rng.normal(size=(3, 3, 2, 4)), "bias": rng.normal(size=4)}
    return {"params": {"trunk": {"conv1_1": jax.tree.map(np.float32, layer)}}}


def test_the_first_convolution_absorbs_the_input_convention():
    rng = np.random.default_rng(0)
    w = rng.normal(size=(5, 3, 3, 3)).astype(np.float32)
    rgb = rng.integers(0, 256, (3, 3, 3))  # channels first
    inside = np.ones((3, 3))
    inside[:, 0] = 0  # a column of zero padding, which both conventions see as 0
    theirs = (rgb / 255 - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1)) * inside
    ours = (rgb - 255 * np.reshape(MEAN, (3, 1, 1)))[::-1] * inside
    np.testing.assert_allclose(
        np.tensordot(fold_input(w, STD), ours, 3), np.tensordot(w, theirs, 3), rtol=1e-5, atol=1e-5
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


def torch_vgg16(torch, batch_norm, width):
    nn = torch.nn
    layers, channels = [], 3
    for repeats, out in ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)):
        for _ in range(repeats):
            layers.append(nn.Conv2d(channels, out // width, 3, padding=1))
            layers += [nn.BatchNorm2d(out // width)] if batch_norm else []
            layers.append(nn.ReLU())
            channels = out // width
        layers.append(nn.MaxPool2d(2, 2))
    fc = 4096 // width
    net = nn.Module()
    net.features = nn.Sequential(*layers)
    net.classifier = nn.Sequential(
        nn.Linear(channels * 49, fc), nn.ReLU(), nn.Dropout(), nn.Linear(fc, fc), nn.ReLU(),
        nn.Dropout(), nn.Linear(fc, 10),
    )  # fmt: skip
    return net, lambda x: net.classifier(net.features(x).flatten(1))


def torch_squeezenet(torch):
    nn = torch.nn

    class Fire(nn.Module):
        def __init__(self, channels, squeeze, expand):
            super().__init__()
            self.squeeze = nn.Conv2d(channels, squeeze, 1)
            self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
            self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

        def forward(self, x):
            x = self.squeeze(x).relu()
            return torch.cat([self.expand1x1(x).relu(), self.expand3x3(x).relu()], 1)

    def pool():
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    net = nn.Module()
    net.features = nn.Sequential(
        nn.Conv2d(3, 96, 7, 2), nn.ReLU(), pool(), Fire(96, 16, 64), Fire(128, 16, 64),
        Fire(128, 32, 128), pool(), Fire(256, 32, 128), Fire(256, 48, 192), Fire(384, 48, 192),
        Fire(384, 64, 256), pool(), Fire(512, 64, 256),
    )  # fmt: skip
    net.classifier = nn.Sequential(nn.Dropout(), nn.Conv2d(512, 10, 1), nn.ReLU())
    return net, lambda x: net.classifier(net.features(x)).mean((2, 3))


@pytest.mark.parametrize("model", ["vgg16", "vgg16_bn", "squeezenet1_0"])
def test_a_converted_net_computes_what_the_torch_net_computes(model, tmp_path):
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not a dependency")
    torch.manual_seed(0)
    if model == "squeezenet1_0":
        net, forward = torch_squeezenet(torch)
    else:
        net, forward = torch_vgg16(torch, model == "vgg16_bn", width=32)
    for name, value in net.state_dict().items():
        if value.ndim > 1:
            torch.nn.init.kaiming_normal_(value)
        elif value.ndim == 1:
            value.copy_(torch.rand_like(value) * 0.5 + (0.5 if name.endswith("var") else 0.1))
    net.eval()
    size = 227 if model == "squeezenet1_0" else 224  # squeezenet: 13x13 under the last pool
    pixels = np.random.default_rng(0).integers(0, 256, (size, size, 3)).astype(np.float32)
    with torch.no_grad():
        theirs = (pixels / 255 - np.array(MEAN)) / np.array(STD)
        want = forward(torch.from_numpy(theirs.astype(np.float32).transpose(2, 0, 1)[None])).numpy()

    arrays = {name: value.numpy() for name, value in net.state_dict().items()}
    source, target = tmp_path / "in.npz", tmp_path / "out.safetensors"
    np.savez(source, metadata=about(model), **arrays)
    report = convert("torchvision", source, target)
    loaded, metadata = load_weights(target, architecture=report.metadata.architecture)
    prep = metadata.preprocessing
    assert (prep.channels, metadata.num_classes) == ("BGR", 10)
    np.testing.assert_allclose(prep.mean, [103.53, 116.28, 123.675])
    trunk = fcn.SqueezeNet() if model == "squeezenet1_0" else fcn.VGG16(width=1 / 32)
    images = jnp.asarray(pixels[None, ..., ::-1] - np.array(prep.mean, np.float32))
    apply = jax.jit(fcn.Classifier(trunk=trunk, num_classes=10).apply)
    with jax.default_matmul_precision("highest"):
        got = apply(loaded, images)
    assert got.shape == (1, 1, 1, 10)
    assert np.abs(want).max() > 0.1
    np.testing.assert_allclose(got[:, 0, 0], want, rtol=2e-3, atol=2e-4 * np.abs(want).max())


def test_errors_of_the_torchvision_reader(tmp_path):
    path = tmp_path / "in.npz"
    np.savez(path, metadata=about("resnet50"))
    with pytest.raises(ValueError, match="holds 'resnet50'; expected one of vgg16, "):
        read_torchvision(path)
    np.savez(path, metadata=about("vgg16"), other=np.zeros(3))
    with pytest.raises(ValueError, match=r"lacks features.0.weight; what is left of it is other"):
        read_torchvision(path)
    np.savez(path, x=np.zeros(3))
    with pytest.raises(ValueError, match="lacks metadata"):
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
    with pytest.raises(ValueError, match="not finite in fc6, fc7, fc8"):
        read_torchvision(tmp_path / "in.npz")


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_refused_and_leave_the_target_alone(kind, tmp_path):
    target = tmp_path / "out.safetensors"
    target.write_bytes(b"what was there")
    np.savez(tmp_path / "good.npz", metadata=about("vgg16"))
    whole = (tmp_path / "good.npz").read_bytes()
    np.savez(tmp_path / "objects.npz", **{"metadata": np.array([{}], object), "conv1/w": 1})
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "empty.npz").write_bytes(b"")
    np.save(tmp_path / "array.npy", np.zeros(3))
    for name in ("half.npz", "text.npz", "empty.npz", "array.npy", "absent.npz", "objects.npz"):
        with pytest.raises(ValueError, match=f"{name} is no complete "):
            convert(kind, tmp_path / name, target)
    if kind != "pytorch_fcn":  # which takes no .npz
        with pytest.raises(ValueError, match="allow_pickle"):
            convert(kind, tmp_path / "objects.npz", target)
    assert target.read_bytes() == b"what was there"


def test_an_unknown_kind(tmp_path):
    with pytest.raises(ValueError, match="pytorch_fcn, torchvision; found 'keras'"):
        convert("keras", tmp_path / "a", tmp_path / "b.safetensors")


def test_weights_come_back(tmp_path):
    path = tmp_path / "new" / "w.safetensors"
    (tmp_path / "plain").touch()
    given = variables()
    kernel = given["params"]["trunk"]["conv1_1"]["kernel"]
    given["params"]["trunk"]["conv1_1"]["kernel"] = kernel.transpose(1, 0, 3, 2)  # strided
    given["batch_stats"] = {"norm": {"mean": jnp.arange(3.0)}}
    save_weights(path, given, ABOUT)
    got, metadata = load_weights(path, architecture="VGG16")
    assert metadata == ABOUT
    assert jax.tree.structure(got) == jax.tree.structure(given)
    jax.tree.map(np.testing.assert_array_equal, got, given)
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode  # not the owner's alone
    first = sha256(path)
    save_weights(path, given, ABOUT)
    assert sha256(path) == first and [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    "preprocessing",
    [
        Preprocessing(channels="RGB", mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0)),
        ByInput({"color": ABOUT.preprocessing, "depth": LogDepth(mean=7.5)}),
    ],
)
def test_what_a_file_says_about_itself_comes_back(preprocessing, tmp_path):
    fields = {"preprocessing": preprocessing, "num_classes": {"semantic": 33}, "net": "FCN()"}
    given = dataclasses.replace(ABOUT, **fields)
    save_weights(tmp_path / "w.safetensors", variables(), given)
    assert load_weights(tmp_path / "w.safetensors")[1] == given


def test_files_of_before_the_net_was_named_are_read(tmp_path):
    old = {
        "format": "fcn_jax weights 1",
        "architecture": "VGG16",
        "num_classes": 2,
        "preprocessing": {"channels": "BGR", "mean": [1.5, 2.0, 3.0], "std": [1.0, 1.0, 1.0]},
        "source": "a test",
        "source_sha256": "",
    }
    arrays = {"params/trunk/conv1_1/bias": np.zeros(3, np.float32)}
    old_file, new_file = tmp_path / "old.safetensors", tmp_path / "new.safetensors"
    safetensors.numpy.save_file(arrays, old_file, {"fcn_jax": json.dumps(old)})
    got, metadata = load_weights(old_file)
    assert metadata == ABOUT
    save_weights(new_file, got, metadata)
    assert new_file.read_bytes() == old_file.read_bytes()
    for bad in ({"mean": 3}, {"preprocessing": [1]}, {"num": 1}, {"preprocessing": {}}):
        safetensors.numpy.save_file(arrays, old_file, {"fcn_jax": json.dumps(old | bad)})
        with pytest.raises(ValueError, match="old.safetensors: what it says about itself"):
            load_weights(old_file)


def test_an_npz_cannot_announce_more_than_it_holds(tmp_path):
    for shape in ((3, 99999999999), (99999999999999,), (0, 10**30), (-3,), (4,)):
        content = io.BytesIO()
        header = {"descr": "<f8", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(content, header)
        content = content.getvalue() + bytes(24)
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
            file.writestr("a/w.npy", content)
        message = "a.npz is no complete .*(in 24 bytes|no plain array)"
        with foreign_files.little_memory(), pytest.raises(ValueError, match=message):
            convert("caffe", tmp_path / "a.npz", tmp_path / "out.safetensors")
    # A few bytes of this kind can ask for a dictionary of gigabytes; numpy writes none of it.
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_LZMA) as file:
        file.writestr("a/w.npy", bytes(1000))
    with pytest.raises(ValueError, match=r"a.npz is no complete .*1000 bytes in"):
        convert("caffe", tmp_path / "a.npz", tmp_path / "out.safetensors")


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    save_weights(path, variables(0), ABOUT)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("no space")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="no space"):
        save_weights(path, variables(1), ABOUT)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_wrong_weights_files_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    with pytest.raises(ValueError, match="no weights file .*README"):
        load_weights(path)
    with pytest.raises(ValueError, match="written as .safetensors; found .*w.npz"):
        save_weights(tmp_path / "w.npz", variables(), ABOUT)
    with pytest.raises(ValueError, match="no arrays"):
        save_weights(path, {}, ABOUT)
    save_weights(path, variables(), ABOUT)
    with pytest.raises(ValueError, match="holds weights of VGG16; expected SqueezeNet"):
        load_weights(path, architecture="SqueezeNet")
    whole = path.read_bytes()
    for part in (b"", whole[:5], whole[:100], whole[:-1], b"PK" + whole):
        path.write_bytes(part)
        with pytest.raises(ValueError, match="no complete .safetensors file"):
            load_weights(path)
    safetensors.numpy.save_file({"a": np.zeros(3)}, path)
    with pytest.raises(ValueError, match="not written by fcn_jax"):
        load_weights(path)
    with pytest.raises(ValueError, match="channels 'RGB', 'BGR' or 'HHA'"):
        Preprocessing(channels="BGA", mean=(0.0, 0.0, 0.0))


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


def test_the_pretrained_squeezenet_knows_a_tandem(tmp_path):
    image = pytest.importorskip("PIL.Image")
    if not SQUEEZENET.exists() or not PHOTO.exists():
        pytest.skip("the pretrained SqueezeNet and the demonstration image are not at hand")
    target = tmp_path / "squeezenet.safetensors"
    report = convert("caffe_npz", SQUEEZENET, target)
    assert (report.layers, report.parameters) == (26, 1_248_424)
    listed = (ROOT / "weights/README.md").read_text()
    assert report.metadata.source_sha256 in listed and sha256(target) in listed
    loaded, metadata = load_weights(target, architecture="SqueezeNet")
    with image.open(PHOTO) as file:
        pixels = np.asarray(file.convert("RGB").resize((227, 227)), np.float32)
    images = jnp.asarray(pixels[None, ..., ::-1] - np.array(metadata.preprocessing.mean))
    net = fcn.Classifier(trunk=fcn.SqueezeNet(), num_classes=metadata.num_classes)
    logits = jax.jit(net.apply)(loaded, images.astype(jnp.float32))
    # ImageNet's class 444 is "bicycle-built-for-two, tandem bicycle, tandem".
    assert logits.shape == (1, 1, 1, 1000) and int(jnp.argmax(logits)) == 444
    assert jax.nn.softmax(logits.ravel())[444] > 0.9
