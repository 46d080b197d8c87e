"""Nets of pytorch-fcn and torchvision, from the `.pth` files that they publish."""

import hashlib

import jax
import numpy as np
import pytest
from foreign_files import archive, state_dict, stream

import fcn_jax as fcn
from fcn_jax.commands.convert import convert as convert_command
from fcn_jax.preprocessing import CAFFE
from fcn_jax.weights.foreign.convert import convert
from fcn_jax.weights.weights_file import load_weights

EIGHT = np.arange(8, dtype=np.float32)


def write(path, content):
    path.write_bytes(content)
    return path


def torch_names(variables):
    """Names and arrays as wkentaro/pytorch-fcn has them: Caffe's names and layout."""
    arrays = {}
    for path, value in jax.tree.leaves_with_path(variables["params"]):
        *layer, name = [key.key for key in path if key.key != "trunk"]
        part = {"kernel": "weight", "bias": "bias"}[name]
        arrays[".".join([*layer, part])] = value.transpose(3, 2, 0, 1) if value.ndim > 1 else value
    return arrays


def test_a_net_of_pytorch_fcn_is_converted(tmp_path):
    net = fcn.FCN8s(trunk=fcn.VGG16(width=1 / 32), num_classes=3)
    shapes = jax.eval_shape(net.init, jax.random.key(0), np.zeros((1, 64, 64, 3), np.float32))
    rng = np.random.default_rng(0)
    want = jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32), shapes)
    row = np.array([0.25, 0.75, 0.75, 0.25])
    arrays = torch_names(want)
    arrays["upscore2.weight"] = (np.eye(3)[..., None, None] * np.outer(row, row)).astype(np.float32)
    tensors, storages = state_dict({n: np.ascontiguousarray(a) for n, a in arrays.items()})
    source = write(tmp_path / "fcn8s.pth", stream(tensors, storages))
    target = tmp_path / "out.safetensors"
    report = convert("pytorch_fcn", source, target, net)
    got, about = load_weights(target)
    assert jax.tree.structure(got) == jax.tree.structure(want)
    jax.tree.map(np.testing.assert_array_equal, got, want)
    assert about.preprocessing == CAFFE
    assert report.notes == ("upscore2: bilinear, a constant here",)
    target.unlink()
    tensors["conv1_1.running_mean"] = tensors["conv1_1.bias"]
    write(source, archive(tensors, storages))
    with pytest.raises(
        ValueError, match=r"fcn8s.pth has conv1_1.running_mean; expected LAYER.weight"
    ):
        convert("pytorch_fcn", source, target, net)
    assert [p.name for p in tmp_path.iterdir()] == ["fcn8s.pth"]


VGG = {f"features.{i}": i for i in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)}


def vgg16_arrays(scale=1 / 32):
    """torchvision's names of a narrow VGG16."""
    rng, arrays, last = np.random.default_rng(0), {}, 3
    for name, out in zip(VGG, (64, 64, 128, 128, *[256] * 3, *[512] * 6), strict=True):
        out = int(out * scale)
        arrays[f"{name}.weight"], last = rng.normal(size=(out, last, 3, 3)), out
        arrays[f"{name}.bias"] = rng.normal(size=out)
    for i, (out, channels) in ((0, (128, 16 * 49)), (3, (128, 128)), (6, (10, 128))):
        arrays[f"classifier.{i}.weight"] = rng.normal(size=(out, channels))
        arrays[f"classifier.{i}.bias"] = rng.normal(size=out)
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def test_published_files_of_torchvision_need_no_torchvision(tmp_path):
    arrays = vgg16_arrays()
    source = write(tmp_path / "vgg16.pth", stream(*state_dict(arrays)))
    target = tmp_path / "out.safetensors"
    convert("torchvision", source, target)
    got, about = load_weights(target, architecture="VGG16")
    np.testing.assert_allclose(about.preprocessing.mean, [103.53, 116.28, 123.675])
    kernel = got["params"]["trunk"]["conv1_1"]["kernel"]
    want = arrays["features.0.weight"].transpose(2, 3, 1, 0)[:, :, ::-1]
    scale = 255 * np.array([0.225, 0.224, 0.229])
    np.testing.assert_allclose(kernel, want / scale[:, None], rtol=1e-6)
    convert("pytorch_fcn", source, target)  # Caffe's numbers under these names: as they are
    got, about = load_weights(target, architecture="VGG16")
    kernel = got["params"]["trunk"]["conv1_1"]["kernel"]
    np.testing.assert_array_equal(kernel, arrays["features.0.weight"].transpose(2, 3, 1, 0))
    assert about.preprocessing == CAFFE and about.num_classes == 10


def test_a_hash_in_the_name_must_be_that_of_the_file(tmp_path, capsys):
    content = stream(*state_dict(vgg16_arrays()))
    digest, target = hashlib.sha256(content).hexdigest(), tmp_path / "out.safetensors"
    right = (f"vgg16-{digest[:8]}", f"vgg16-caffe-{digest[:12]}", f"a-{digest}")
    none = ("vgg16", "vgg16-caffe", "vgg16-0000000", "00000000", "00000000-vgg16", "a-0000000g")
    for name in (*right, *none):
        report = convert("torchvision", write(tmp_path / f"{name}.pth", content), target)
        assert report.metadata.source_sha256 == digest
    target.unlink()
    for wrong in ("0" * 8, digest[:8] + "0" * 8):
        path = write(tmp_path / f"vgg16-{wrong}.pth", content)
        for kind in ("torchvision", "pytorch_fcn"):
            with pytest.raises(ValueError, match=f"begins with {wrong}.*found {digest[:8]}"):
                convert(kind, path, target)
    with pytest.raises(SystemExit) as end:
        convert_command("torchvision", tmp_path / "vgg16-00000000.pth", target)
    error = capsys.readouterr().err
    assert end.value.code == 1 and error.startswith("error: ") and not target.exists()
    assert "vgg16-00000000.pth" in error and "Download the file again, or rename it" in error


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["inception3a.branch1.conv.weight"], "lacks conv1.conv.weight"),
        (["features.0.weight", "classifier.4.weight"], "lacks features.0.bias"),
        (["features.3.squeeze.weight", "features.6.squeeze.weight"], "lacks features.0.weight"),
        (["layer1.0.conv1.weight"], "not known here .*; expected a classifier on ResNet 18, 34"),
        (["backbone.conv1.weight"], "backbone. has stages of .0, 0, 0, 0. blocks; expected a Res"),
        (["backbone.0.0.weight"], "not of a segmentation net of torchvision's"),
        ([*(f"{n}.{p}" for n in VGG for p in ("weight", "bias"))], "lacks classifier.0.weight"),
    ],
)
def test_a_model_is_recognised_by_its_arrays_and_needs_all(names, message, tmp_path):
    content = archive(*state_dict(dict.fromkeys(names, EIGHT)))
    path = write(tmp_path / "a.pth", content)
    with pytest.raises(ValueError, match=message):
        convert("torchvision", path, tmp_path / "out.safetensors")


def test_arrays_that_the_net_lacks_are_refused(tmp_path):
    arrays = vgg16_arrays() | {"features.30.weight": EIGHT}
    path = write(tmp_path / "a.pth", archive(*state_dict(arrays)))
    for kind in ("torchvision", "pytorch_fcn"):
        with pytest.raises(ValueError, match="also has features.30.weight, which this net lacks"):
            convert(kind, path, tmp_path / "out.safetensors")
    with pytest.raises(ValueError, match="holds a classifier and says which"):
        convert("torchvision", path, tmp_path / "out.safetensors", fcn.FCN32s(fcn.VGG16(), 3))
