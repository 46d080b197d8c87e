"""Our parameters exported under Caffe's names, and converted back."""

from typing import ClassVar

import flax.linen as nn
import jax
import numpy as np
import pytest
import safetensors.numpy

import fcn_jax as fcn
from fcn_jax.nets.inputs import placeholder
from fcn_jax.nets.trunks.squeezenet import Fire
from fcn_jax.nn.layers import Conv, MaxPool
from fcn_jax.preprocessing import CAFFE, NYUD_HHA, SIFT_FLOW, ByInput, Preprocessing
from fcn_jax.runs.lookup import recipe_preprocessing
from fcn_jax.weights.foreign.convert import convert
from fcn_jax.weights.foreign.export import export
from fcn_jax.weights.weights_file import load_weights

ODD = Preprocessing(channels="RGB", mean=(1.0, 2.0, 3.0))


class Tiny(nn.Module):
    """A trunk that is traced quickly, with a layer that has layers."""

    ring: ClassVar[int] = 20

    @nn.compact
    def __call__(self, x, *, train):
        x = MaxPool(2, 2)(Conv(2, 3, padding=1, relu=True, name="conv1_1")(x))
        maps = {"pool3": x}
        maps["pool4"] = x = MaxPool(2, 2)(Fire(2, 3, name="fire2")(x))
        maps["fc7"] = MaxPool(2, 2)(Conv(4, 3, padding=1, relu=True, name="fc7")(x))
        return maps


NETS = {
    "8s": fcn.FCN8s(trunk=Tiny(), num_classes=3),
    "at once": fcn.FCN8s(trunk=Tiny(), num_classes=3, skip_scales=(0.01, 0.0001)),
    "learned": fcn.FCN16s(trunk=Tiny(), num_classes=3, upsampling=fcn.LearnedUpsampling),
    "dense": fcn.FCN16s(trunk=Tiny(), num_classes=3, upsampling=fcn.DenseUpsampling),
    "late fusion": fcn.LateFusion(
        {name: fcn.FCN32s(trunk=Tiny(), num_classes=3) for name in ("color", "hha")}
    ),
}


def values(net):
    shapes = jax.eval_shape(net.init, jax.random.key(0), placeholder(net))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32), shapes)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_parameters_come_back_bit_exactly(name, suffix, tmp_path):
    net, kind = NETS[name], {".npz": "caffe", ".safetensors": "pytorch_fcn"}[suffix]
    want = values(net)
    out, back = tmp_path / f"out{suffix}", tmp_path / "back.safetensors"
    report = export(want, out, preprocessing=ODD, net=net)
    assert (
        report.constants
        == {
            "8s": ("upscore2", "upscore_pool4", "upscore"),
            "at once": ("upscore2", "upscore_pool4", "upscore"),
            "learned": ("upscore4",),
            "dense": ("upscore4",),
            "late fusion": (),
        }[name]
    )
    first = out.read_bytes()
    export(want, out, preprocessing=ODD, net=net)
    assert out.read_bytes() == first
    convert(kind, out, back, net)
    got, about = load_weights(back)
    assert about.preprocessing == ODD
    assert jax.tree.structure(got) == jax.tree.structure(want)
    jax.tree.map(np.testing.assert_array_equal, got, want)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back.safetensors", out.name]


@pytest.mark.slow
def test_pytorch_computes_the_same_with_them(tmp_path, random_variables):
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not a dependency")
    net = fcn.FCN16s(trunk=fcn.VGG16(width=1 / 32), num_classes=3)
    export(random_variables(net), tmp_path / "a.safetensors", preprocessing=CAFFE, net=net)
    state = safetensors.numpy.load_file(tmp_path / "a.safetensors")
    state = {name: torch.from_numpy(array) for name, array in state.items()}
    x = np.random.default_rng(0).normal(size=(1, 40, 50, 3)).astype(np.float32)

    def conv(x, name, padding=0):
        return torch.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=padding)

    y, pools = torch.from_numpy(x.transpose(0, 3, 1, 2)), {}
    for stage, count in enumerate((2, 2, 3, 3, 3), 1):  # pytorch-fcn's fcn16s.py
        for i in range(1, count + 1):
            y = conv(y, f"conv{stage}_{i}", 100 if stage == i == 1 else 1).relu()
        y = torch.max_pool2d(y, 2, 2, ceil_mode=True)
        pools[stage] = y
    y = conv(conv(conv(y, "fc6").relu(), "fc7").relu(), "score_fr")
    y = torch.conv_transpose2d(y, state["upscore2.weight"], stride=2)
    y = y + conv(pools[4], "score_pool4")[:, :, 5 : 5 + y.shape[2], 5 : 5 + y.shape[3]]
    y = torch.conv_transpose2d(y, state["upscore16.weight"], stride=16)[:, :, 27:67, 27:77]
    got = jax.jit(net.apply)(random_variables(net), x)
    want = y.numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * np.abs(want).max())


def test_what_cannot_be_exported(tmp_path):
    variables = values(NETS["8s"])
    with pytest.raises(ValueError, match="in .npz or .safetensors; found .*a.pth"):
        export(variables, tmp_path / "a.pth", preprocessing=CAFFE)
    with pytest.raises(ValueError, match="batch_stats .batch norms. have no names"):
        export(variables | {"batch_stats": {}}, tmp_path / "a.npz", preprocessing=CAFFE)
    norm = {"params": {"conv1_bn": {"norm": {"scale": np.ones(3), "bias": np.ones(3)}}}}
    with pytest.raises(ValueError, match="conv1_bn/norm has scale, bias; expected a kernel"):
        export(norm, tmp_path / "a.npz", preprocessing=CAFFE)
    assert list(tmp_path.iterdir()) == []


def test_a_changed_export_is_refused(tmp_path):
    path, target = tmp_path / "a.npz", tmp_path / "out.safetensors"
    for arrays, message in (
        ({"conv1/x": np.ones(3)}, "a.npz has conv1/x; expected LAYER/w and LAYER/b"),
        ({"conv1/b": np.ones(3)}, "a.npz has conv1/b; expected LAYER/w and LAYER/b"),
        (
            {"conv1/w": np.array(["text"])},
            "a.npz holds values that are not finite numbers in conv1",
        ),
        ({"metadata": np.array('{"preprocessing": 3}')}, "a.npz: damaged preprocessing"),
        ({"metadata": np.array('{"preprocessing": {"channels": "B"}}')}, "damaged preprocessing"),
    ):
        np.savez(path, allow_pickle=False, **arrays)
        with pytest.raises(ValueError, match=message):
            convert("caffe", path, target, NETS["8s"])
    assert not target.exists()


def test_the_preprocessing_of_a_recipe_follows_its_start(tmp_path, monkeypatch):
    text = """
from types import SimpleNamespace
from fcn_jax.preprocessing import SIFT_FLOW, NYUD_HHA
from fcn_jax.runs.recipe import FromRun, FromRuns, FromWeights
RECIPE = SimpleNamespace(start={})
"""
    for name, start in (
        ("first", "FromWeights(file='a', preprocessing=SIFT_FLOW)"),
        ("plain", "FromWeights(file='a')"),
        ("second", "FromRun(run='first')"),
        ("third", "FromRun(run='second')"),
        ("fused", "FromRuns(runs={'color': 'third', 'hha': 'hha'})"),
        ("hha", "FromWeights(file='a', preprocessing=NYUD_HHA)"),
    ):
        (tmp_path / f"{name}.py").write_text(text.format(start))

    def of(name):
        return recipe_preprocessing(str(tmp_path / f"{name}.py"))

    assert of("first") == of("second") == of("third") == SIFT_FLOW and of("plain") is None
    assert of("fused") == ByInput({"color": SIFT_FLOW, "hha": NYUD_HHA})
    assert recipe_preprocessing("experiments.voc_fcn8s") is None
