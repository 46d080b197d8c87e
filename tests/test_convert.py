"""Conversion of any kind: damaged files, hashes in names, and a net with known weights."""

import io
import zipfile
from pathlib import Path

import foreign_files
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fcn_jax as fcn
from fcn_jax.weights.foreign.convert import KINDS, convert
from fcn_jax.weights.weights_file import load_weights, sha256

ROOT = Path(__file__).parents[1]

SQUEEZENET = ROOT.parent / "shared/data/squeezenet/squeezenet1_0_imagenet_caffe.npz"
PHOTO = ROOT.parent / "shared/data/fcn-demo/image.jpg"


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_refused_and_leave_the_target_alone(kind, tmp_path):
    target = tmp_path / "out.safetensors"
    target.write_bytes(b"what was there")
    np.savez(tmp_path / "good.npz", metadata=np.array("{}"))
    whole = (tmp_path / "good.npz").read_bytes()
    np.savez(tmp_path / "objects.npz", **{"metadata": np.array([{}], object), "conv1/w": 1})
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "empty.npz").write_bytes(b"")
    np.save(tmp_path / "array.npy", np.zeros(3))
    for name in ("half.npz", "text.npz", "empty.npz", "array.npy", "absent.npz", "objects.npz"):
        with pytest.raises(ValueError, match=f"{name}: (cannot be read as |there is no such)"):
            convert(kind, tmp_path / name, target)
    if kind not in ("pytorch_fcn", "efficientnet_lite"):  # which take no .npz
        with pytest.raises(ValueError, match="allow_pickle"):
            convert(kind, tmp_path / "objects.npz", target)
    assert target.read_bytes() == b"what was there"


def test_an_unknown_kind(tmp_path):
    with pytest.raises(ValueError, match="pytorch_fcn, smp, timm, torchvision; found 'keras'"):
        convert("keras", tmp_path / "a", tmp_path / "b.safetensors")


def test_an_npz_that_claims_more_than_it_holds_takes_no_memory(tmp_path):
    for shape in ((3, 99999999999), (99999999999999,), (0, 10**30), (-3,), (4,)):
        content = io.BytesIO()
        header = {"descr": "<f8", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(content, header)
        content = content.getvalue() + bytes(24)
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
            file.writestr("a/w.npy", content)
        message = "a.npz: cannot be read as .*(in 24 bytes|not a plain array)"
        with foreign_files.little_memory(), pytest.raises(ValueError, match=message):
            convert("caffe", tmp_path / "a.npz", tmp_path / "out.safetensors")
    # A few bytes of LZMA can ask for a dictionary of gigabytes; numpy never writes it.
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_LZMA) as file:
        file.writestr("a/w.npy", bytes(1000))
    with pytest.raises(ValueError, match=r"a.npz: cannot be read as .*a compression that"):
        convert("caffe", tmp_path / "a.npz", tmp_path / "out.safetensors")


def test_the_pretrained_squeezenet_knows_a_tandem(tmp_path):
    image = pytest.importorskip("PIL.Image")
    if not SQUEEZENET.exists() or not PHOTO.exists():
        pytest.skip("the pretrained SqueezeNet and the demonstration image are not here")
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
