"""The VOC nets against score maps that another engine computed from the reference's prototxts."""

import importlib
import zlib
from pathlib import Path

import jax
import numpy as np
import pytest

from fcn_jax.compiling import jit
from fcn_jax.surgery import load_blobs

GOLDENS = Path(__file__).resolve().parents[2] / "shared" / "goldens"
NETS = ("voc_fcn32s", "voc_fcn16s", "voc_fcn8s", "voc_fcn8s_atonce")

pytestmark = pytest.mark.skipif(
    not GOLDENS.is_dir(), reason="the goldens lie next to the repository in shared/goldens"
)


def draw(layer, kind, shape):
    """See the goldens' README; kernels are (out, in, rows, columns)."""
    rng = np.random.default_rng(zlib.crc32(f"{layer}/{kind}".encode()))
    scale = np.sqrt(2.0 / np.prod(shape[1:])) if kind == "kernel" else 0.1
    values = rng.standard_normal(shape, dtype=np.float32)
    values *= np.float32(scale)
    return values


def test_scores_are_those_of_the_reference_s_own_graphs():
    """All four at once: the nets share their weights by name, so the trunk is computed once."""
    models = [importlib.import_module(f"experiments.{name}").RECIPE.model for name in NETS]
    image = np.random.default_rng(0).standard_normal((3, 61, 90), dtype=np.float32)
    image = (image * np.float32(50)).transpose(1, 2, 0)[None]
    shapes = [jax.eval_shape(model.init, jax.random.key(0), image) for model in models]
    finest = shapes[-1]["params"]
    blobs = {}
    for name, layer in {**finest["trunk"], **finest}.items():
        if name != "trunk":
            rows, columns, channels, out = layer["kernel"].shape
            kernel = draw(name, "kernel", (out, channels, rows, columns))
            blobs[name] = [kernel, draw(name, "bias", (out,))]
    params = load_blobs(shapes[-1], blobs)["params"]
    del blobs
    own = [{name: params[name] for name in shape["params"]} for shape in shapes]

    @jit
    def run(own, image):
        return [model.apply({"params": p}, image) for model, p in zip(models, own, strict=True)]

    scores = run(own, image)
    for name, found in zip(NETS, scores, strict=True):
        with np.load(GOLDENS / f"{name.replace('_', '-')}_61x90_seed0.npz") as golden:
            expected = golden["score"]
        worst = np.abs(np.asarray(found)[0] - expected).max() / np.abs(expected).max()
        assert worst < 1e-5, (name, worst)
