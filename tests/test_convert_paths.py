"""Every public reader and writer of weights takes a path as text and as any `os.PathLike`."""

import os
from pathlib import Path

import foreign_files
import numpy as np
import pytest
from test_convert_pth import vgg16_arrays

import fcn_jax as fcn
from fcn_jax.preprocessing import CAFFE
from fcn_jax.weights.foreign.caffe import read_caffe, read_caffe_npz, read_exported
from fcn_jax.weights.foreign.caffemodel import read_caffemodel
from fcn_jax.weights.foreign.convert import convert
from fcn_jax.weights.foreign.export import export
from fcn_jax.weights.foreign.npz import read_npz
from fcn_jax.weights.foreign.pth import read_pth
from fcn_jax.weights.foreign.pytorch_fcn import read_pytorch_fcn
from fcn_jax.weights.foreign.torchvision import read_torchvision
from fcn_jax.weights.weights_file import (
    Metadata,
    load_weights,
    read_safetensors,
    save_weights,
    sha256,
    write_safetensors,
)

ONES = np.ones(3, np.float32)
VARIABLES = {"params": {"trunk": {"conv1": {"kernel": np.ones((1, 1, 3, 3)), "bias": ONES}}}}
ABOUT = Metadata(architecture="FCN", num_classes=3, preprocessing=CAFFE, source="a test")
NET = fcn.FCN32s(trunk=fcn.VGG16(), num_classes=3)


class OtherPath(os.PathLike):
    """A path that is neither text nor a `Path`."""

    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return str(self.path)


def squeezenet():
    """An array for every name that the decoded SqueezeNet has."""
    fires = [f"fire{i}/{part}" for i in range(2, 10) for part in ("conv1x1_1", "conv1x1_2")]
    fires += [f"fire{i}/conv3x3_2" for i in range(2, 10)]
    layers = ["conv1", "conv_final", *fires]
    return {f"{layer}/{part}": ONES for layer in layers for part in "wb"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("paths")
    for name, arrays in (("a", {"conv1.weight": ONES}), ("vgg16", vgg16_arrays())):
        content = foreign_files.archive(*foreign_files.state_dict(arrays))
        (folder / f"{name}.pth").write_bytes(content)
    (folder / "a.caffemodel").write_bytes(foreign_files.caffemodel({"conv1": [ONES]}))
    np.savez(folder / "a.npz", **{"conv1/w": ONES, "conv1/b": ONES})
    np.savez(folder / "squeezenet.npz", **squeezenet())
    save_weights(folder / "a.safetensors", VARIABLES, ABOUT)
    return folder


READERS = {
    "a.caffemodel": [read_caffemodel, lambda path: read_caffe(path, NET)],
    "a.npz": [read_npz, read_exported],
    "squeezenet.npz": [read_caffe_npz],
    "a.pth": [read_pth, lambda path: read_pytorch_fcn(path, NET)],
    "vgg16.pth": [read_torchvision],
    "a.safetensors": [load_weights, read_safetensors, sha256],
}
WRITERS = [
    lambda path, folder: save_weights(path, VARIABLES, ABOUT),
    lambda path, folder: write_safetensors(path, {"a": ONES}, "text"),
    lambda path, folder: export(VARIABLES, path, preprocessing=CAFFE),
    lambda path, folder: convert("torchvision", type(path)(folder / "vgg16.pth"), path),
]


@pytest.mark.parametrize("kind", [str, OtherPath])
@pytest.mark.parametrize(
    ("name", "read"), [(name, read) for name, readers in READERS.items() for read in readers]
)
def test_readers_take_any_path(name, read, kind, folder):
    assert read(kind(folder / name))
    with pytest.raises((ValueError, OSError), match="absent"):
        read(kind(Path("absent") / name))


@pytest.mark.parametrize("kind", [str, OtherPath])
@pytest.mark.parametrize("write", WRITERS)
def test_writers_take_any_path(write, kind, folder, tmp_path):
    target = tmp_path / "out.safetensors"
    write(kind(target), folder)
    assert target.stat().st_size > 0
