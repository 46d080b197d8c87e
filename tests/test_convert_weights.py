"""Weights files come back bit-exactly, and only complete ones."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from fcn_jax.preprocessing import ByInput, LogDepth, Preprocessing
from fcn_jax.weights.weights_file import Metadata, load_weights, save_weights, sha256

ABOUT = Metadata(
    architecture="VGG16",
    num_classes=2,
    preprocessing=Preprocessing(channels="BGR", mean=(1.5, 2.0, 3.0)),
    source="a test",
)


def variables(seed=0):
    rng = np.random.default_rng(seed)
    layer = {"kernel": rng.normal(size=(3, 3, 2, 4)), "bias": rng.normal(size=4)}
    return {"params": {"trunk": {"conv1_1": jax.tree.map(np.float32, layer)}}}


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
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode  # not for the owner alone
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
def test_the_metadata_of_a_file_come_back(preprocessing, tmp_path):
    fields = {"preprocessing": preprocessing, "num_classes": {"semantic": 33}, "net": "FCN()"}
    given = dataclasses.replace(ABOUT, **fields)
    save_weights(tmp_path / "w.safetensors", variables(), given)
    assert load_weights(tmp_path / "w.safetensors")[1] == given


def test_files_without_the_name_of_the_net_are_read(tmp_path):
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
        with pytest.raises(ValueError, match="old.safetensors: cannot be read as weights"):
            load_weights(old_file)


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
        with pytest.raises(ValueError, match="cannot be read as a .safetensors file"):
            load_weights(path)
    safetensors.numpy.save_file({"a": np.zeros(3)}, path)
    with pytest.raises(ValueError, match="not written by fcn_jax"):
        load_weights(path)
    with pytest.raises(ValueError, match="channels 'RGB', 'BGR' or 'HHA'"):
        Preprocessing(channels="BGA", mean=(0.0, 0.0, 0.0))
