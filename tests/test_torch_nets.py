"""Nets of torchvision, timm and segmentation_models.pytorch, through `convert` and `load`."""

import functools
import importlib.util
import json
from pathlib import Path

import jax
import numpy as np
import pytest
import torch_arrays
from foreign_files import archive, state_dict

import fcn_jax as fcn
from fcn_jax.weights.foreign.convert import convert

KEPT = Path(__file__).with_name("goldens") / "torch_nets.npz"
SHARED = Path(__file__).resolve().parents[2] / "shared" / "goldens" / "torch"
FAST = (
    "torchvision/lraspp_mobilenet_v3_large",
    "timm/mobilenetv3_large_100",
    "smp/Unet",
    "smp/FPN",
    "smp/PSPNet",
    "smp/DeepLabV3Plus",
)


@functools.cache
def kept():
    with np.load(KEPT) as file:
        return dict(file)


def names():
    found = [name.removesuffix("/side") for name in kept() if name.endswith("/side")]
    return [pytest.param(name, marks=[] if name in FAST else pytest.mark.slow) for name in found]


def converted(kind, arrays, tmp_path, suffix=".npz"):
    source, target = tmp_path / f"net{suffix}", tmp_path / "net.safetensors"
    if suffix == ".npz":
        np.savez(source, **arrays)
    elif suffix == ".pth":
        source.write_bytes(archive(*state_dict(arrays)))
    else:
        from safetensors.numpy import save_file

        source = tmp_path / "theirs.safetensors"
        save_file(arrays, source)
    return convert(kind, source, target), fcn.load(target)


@pytest.mark.parametrize("name", names())
def test_scores_are_the_publishers(name, tmp_path):
    golden = {key: kept()[f"{name}/{key}"] for key in ("side", "shape", "places", "values")}
    shapes = json.loads(str(kept()[f"{name}/state_dict"]))
    suffix = {"FPN": ".safetensors", "PSPNet": ".pth"}.get(name.split("/")[1], ".npz")
    report, model = converted(name.split("/")[0], torch_arrays.state_dict(shapes), tmp_path, suffix)
    scores = model.scores(torch_arrays.photograph(*golden["side"]))
    assert scores.shape == tuple(golden["shape"])
    worst = np.abs(scores.ravel()[golden["places"]] - golden["values"]).max()
    assert worst < 1e-5 * kept()[f"{name}/largest"]
    assert any("terms" in remark for remark in report.remarks)


def shared_nets():
    files = sorted(SHARED.glob("*_seed0.npz")) if SHARED.exists() else []
    ours = [f for f in files if not f.name.startswith(("segformer", "dinov2"))]
    return ours or [pytest.param(None, marks=pytest.mark.skip("needs shared/goldens/torch"))]


@pytest.mark.slow
@pytest.mark.parametrize("golden", shared_nets(), ids=lambda path: getattr(path, "stem", ""))
def test_score_maps_of_other_engines(golden, tmp_path):
    spec = importlib.util.spec_from_file_location("made", SHARED / "make_torch_goldens.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    name = golden.stem.rsplit("_", 2)[0]
    shapes = json.loads((SHARED / "shapes.json").read_text())[name]
    arrays = {n: made.value(n, tuple(shape), dtype) for n, (shape, dtype) in shapes.items()}
    kind = "smp" if name.startswith("smp") else "torchvision"
    _, model = converted(kind, arrays, tmp_path)
    with np.load(golden) as file:
        image, expected = file["image"], file["scores"]
    scores = model.scores(image)
    assert np.abs(scores - expected).max() < 1e-5 * np.abs(expected).max()
    mean, deviation = made.IMAGENET
    prepared = ((image / 255 - mean) / deviation).astype(np.float32)[None]
    scores = jax.jit(model.net.apply)(model.variables, prepared)
    assert np.abs(np.asarray(scores)[0] - expected).max() < 1e-5 * np.abs(expected).max()


def test_what_is_missing_or_unknown_is_named(tmp_path):
    shapes = json.loads(str(kept()["smp/PSPNet/state_dict"]))
    arrays = torch_arrays.state_dict(shapes)
    less = {n: a for n, a in arrays.items() if n != "decoder.conv.1.bias"}
    with pytest.raises(ValueError, match="net.npz lacks decoder.conv.1.bias"):
        converted("smp", less, tmp_path)
    with pytest.raises(ValueError, match="also has more, which this net lacks"):
        converted("smp", {**arrays, "more": np.zeros(3)}, tmp_path)
    with pytest.raises(ValueError, match="decoder that is not known here; those are unet, fpn"):
        converted("smp", {"segmentation_head.0.weight": np.zeros((2, 3, 1, 1))}, tmp_path)
    with pytest.raises(ValueError, match="not known here .its arrays are encoder"):
        converted("timm", less, tmp_path)
    with pytest.raises(ValueError, match="no segmentation_head.0"):
        converted("smp", {"a": np.zeros(3)}, tmp_path)
