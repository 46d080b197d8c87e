"""The recipes' nets against score maps that another engine computed from the reference's files."""

import importlib
import zlib
from pathlib import Path

import jax
import numpy as np
import pytest

from fcn_jax.devices.compiling import jit
from fcn_jax.weights.surgery import load_blobs

THINNED = Path(__file__).with_name("goldens") / "score_maps.npz"
WHOLE = Path(__file__).resolve().parents[2] / "shared" / "goldens"  # where it is there
ONE_TRUNK = (
    "voc_fcn32s",
    "voc_fcn16s",
    "voc_fcn8s",
    "voc_fcn8s_atonce",
    "pascalcontext_fcn8s",
    "siftflow_fcn8s",
)
OTHERS = ("voc_fcn_alexnet", "nyud_fcn32s_color_d", "nyud_fcn32s_color_hha")


def draw(layer, kind, shape):
    """See the goldens' README; kernels are (out, in, rows, columns)."""
    rng = np.random.default_rng(zlib.crc32(f"{layer}/{kind}".encode()))
    scale = np.sqrt(2.0 / np.prod(shape[1:])) if kind == "kernel" else 0.1
    values = rng.standard_normal(shape, dtype=np.float32)
    values *= np.float32(scale)
    return values


def layers(params):
    """The reference's name of each layer, and its kernel's shape."""
    for name, value in params.items():
        if "kernel" in value:
            short = name.replace("_semantic", "_sem").replace("_geometric", "_geo")
            yield short, value["kernel"].shape
        elif name.startswith("streams_"):
            stream = name.removeprefix("streams_")
            yield from ((f"{layer}{stream}", shape) for layer, shape in layers(value))
        else:
            yield from layers(value)


def blobs_of(params, known):
    """Drawn blobs of all layers; those that are known are not drawn again."""
    for name, shape in layers(params):
        if (name, shape) not in known:
            rows, columns, channels, out = shape
            kernel = draw(name, "kernel", (out, channels, rows, columns))
            known[name, shape] = [kernel, draw(name, "bias", (out,))]
    return {name: known[name, shape] for name, shape in layers(params)}


def image(number, channels):
    values = np.random.default_rng(number).standard_normal((channels, 61, 90), dtype=np.float32)
    return (values * np.float32(50)).transpose(1, 2, 0)[None]


def net_and_images(name):
    net = importlib.import_module(f"experiments.{name}").RECIPE.model
    if not net.inputs:
        return net, image(0, 3)
    return net, {key: image(i, c) for i, (key, c) in enumerate(net.inputs)}


def compare(name, found):
    """Against the values that are kept here, and against the whole maps where they are there."""
    found = found if isinstance(found, dict) else {"": found}
    net = name.replace("_", "-")
    whole = WHOLE / f"{net}_61x90_seed0.npz"
    for key, scores in found.items():
        output = {"": "score", "semantic": "score_sem", "geometric": "score_geo"}[key]
        scores = np.asarray(scores)[0]
        with np.load(THINNED) as golden:
            places, values, largest = (
                golden[f"{net}/{output}/{part}"] for part in ("places", "values", "largest")
            )
        assert len(values) >= 400
        worst = np.abs(scores.ravel()[places] - values).max() / largest
        if whole.exists():
            with np.load(whole) as golden:
                worst = max(worst, np.abs(scores - golden[output]).max() / largest)
        assert worst < 1e-5, (name, key, worst)


def test_nets_with_one_trunk():
    """All at once: the nets share their weights by name, so the trunk is computed once."""
    nets = [net_and_images(name)[0] for name in ONE_TRUNK]
    x = image(0, 3)
    known, own = {}, []
    for net in nets:
        shapes = jax.eval_shape(net.init, jax.random.key(0), x)
        loaded = load_blobs(shapes, blobs_of(shapes["params"], known))
        # The first net's trunk for all: one copy in memory, computed once.
        loaded["params"]["trunk"] = own[0]["params"]["trunk"] if own else loaded["params"]["trunk"]
        own.append(loaded)

    @jit
    def run(own, x):
        trunk = own[0]["params"]["trunk"]
        return [
            net.apply({"params": {**v["params"], "trunk": trunk}}, x)
            for net, v in zip(nets, own, strict=True)
        ]

    for name, found in zip(ONE_TRUNK, run(own, x), strict=True):
        compare(name, found)


@pytest.mark.parametrize("name", OTHERS)
def test_nets_with_trunks_of_their_own(name):
    net, x = net_and_images(name)
    shapes = jax.eval_shape(net.init, jax.random.key(0), x)
    variables = load_blobs(shapes, blobs_of(shapes["params"], {}))
    compare(name, jit(net.apply)(variables, x))
