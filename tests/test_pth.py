"""`.pth` files read without PyTorch."""

import foreign_files
import jax.numpy as jnp
import numpy as np
import pytest
from foreign_files import Call, Name, archive, pickled, state_dict, stream

from fcn_jax.weights.foreign.pth import read_pth

FORMATS = {"archive": archive, "stream": stream}

EIGHT = np.arange(8, dtype=np.float32)


def write(path, content):
    path.write_bytes(content)
    return path


@pytest.fixture
def numbers():
    rng = np.random.default_rng(0)
    arrays = {
        "conv1_1.weight": rng.normal(size=(4, 3, 2, 2)).astype(np.float32),
        "conv1_1.bias": rng.normal(size=4),
        "steps": np.array(3),
        "brain": rng.normal(size=5).astype(jnp.bfloat16),
        "turned": rng.normal(size=(5, 3)).astype(np.float32).T,
    }
    return {name: np.asfortranarray(a) if name == "turned" else a for name, a in arrays.items()}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("around", [None, "model_state_dict", "module"])
def test_tensors_come_back_from_a_file_written_by_hand(format, around, numbers, tmp_path):
    tensors, storages = state_dict(numbers)
    value = tensors
    if around == "model_state_dict":  # a training's checkpoint
        value = {"epoch": 3, "model_state_dict": tensors, "best": None, "names": ["a", ("b",)]}
    elif around == "module":  # a training on several devices
        value = {f"module.{name}": tensor for name, tensor in tensors.items()}
    got = read_pth(write(tmp_path / "a.pth", FORMATS[format](value, storages)))
    assert list(got) == list(numbers)
    for name, want in numbers.items():
        assert got[name].dtype == want.dtype
        np.testing.assert_array_equal(got[name], want)


@pytest.mark.parametrize("archived", [True, False])
@pytest.mark.parametrize("protocol", [2, 4])
def test_tensors_come_back_from_files_of_pytorch(archived, protocol, tmp_path):
    torch = pytest.importorskip("torch", reason="writes with PyTorch, which is not a dependency")
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    want = net.state_dict()  # an OrderedDict with an attribute
    x = torch.randn(4, 6)
    want |= {"half": x.half(), "brain": x.bfloat16(), "turned": x.t(), "scalar": x[0, 0]}
    want |= {
        "part": x[1:3, ::2],
        "last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    }
    path = tmp_path / "a.pth"
    how = {"_use_new_zipfile_serialization": archived, "pickle_protocol": protocol}
    for value in (want, {"state_dict": want, "learned": dict(net.named_parameters())}):
        torch.save(value, path, **how)
        got = read_pth(path)
        assert list(got) == list(want)
        for name, tensor in want.items():
            assert str(tensor.dtype) == f"torch.{got[name].dtype}"
            np.testing.assert_array_equal(got[name].astype(np.float64), tensor.double().numpy())
    torch.save(net, path, **how)
    with pytest.raises(ValueError, match=r"asks for 'torch\.nn\.modules\.container\.Sequential'"):
        read_pth(path)


def test_what_python_2_wrote_is_read(tmp_path):
    # There an OrderedDict's items are its argument, strings are bytes, and tensors were version 1.
    pairs = [
        ["a", Call((Name("torch._utils _rebuild_tensor"), *foreign_files.tensor("0", EIGHT)[1:5]))]
    ]
    content = pickled(Call((Name("collections OrderedDict"), pairs)))
    content = content.replace(b"X\x01\x00\x00\x00a", b"U\x01a")
    got = read_pth(write(tmp_path / "a.pth", stream(content, {"0": EIGHT})))
    np.testing.assert_array_equal(got["a"], EIGHT)
