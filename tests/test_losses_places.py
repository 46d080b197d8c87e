"""Every loss in its place: over row tiles and devices, in a recipe, in a step of two outputs."""

import dataclasses
import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from naive_losses import DEPTHS, LOSSES, draw, jit

import fcn_jax as fcn
from fcn_jax.losses import ByOutput, Dice, Normalization, SiLog, Softmax, Sum, takes_coarse_scores
from fcn_jax.nn import coarse_scores as coarse
from fcn_jax.nn.coarse_scores import CoarseScores
from fcn_jax.nn.layers import Conv
from fcn_jax.nn.upsampling import BilinearUpsampling, LearnedUpsampling
from fcn_jax.runs.description import build, describe, differences
from fcn_jax.training.state import create_state
from fcn_jax.training.step import make_train_step


@pytest.mark.parametrize(
    ("name", "learned"),
    [
        ("dice", True),
        ("dice per image counted", False),
        ("generalized dice", False),
        ("focal tversky", False),
        ("focal", True),
        ("sigmoid focal", False),
        ("smoothed class weights", False),
        ("sum", True),
        ("silog", False),
    ],
)
def test_row_tiles_are_the_whole(name, learned, monkeypatch):
    monkeypatch.setattr(coarse, "_TILE_BYTES", 6_000)
    loss, _ = LOSSES[name]
    assert takes_coarse_scores(loss)
    _, labels, _ = draw(name, shape=(2, 41, 13))
    sizes, k = jnp.array([[41, 13], [30, 7]]), 1 if name in DEPTHS else 3
    values = np.random.default_rng(0).normal(2, 1, (2, 13, 6, k)).astype(np.float32)
    layer = (LearnedUpsampling if learned else BilinearUpsampling)(4, 8)
    weights = np.random.default_rng(1).normal(0, 0.3, (8, 8, k)) if learned else None

    def of_scores(values, weights, tiled):
        scores = CoarseScores(values, weights, None, sizes, layer, 3, (41, 13))
        assert coarse._Tiles.of(scores).count > 2 or name in DEPTHS
        return loss(scores if tiled else scores.dense(), jnp.asarray(labels), sizes=sizes)

    differentiate = jit(jax.value_and_grad(of_scores, argnums=(0, 1)), static_argnums=2)
    weights = None if weights is None else jnp.asarray(weights, jnp.float32)
    tiled, whole = (differentiate(jnp.asarray(values), weights, t) for t in (True, False))
    for a, b in zip(jax.tree.leaves(tiled), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-6 * np.abs(b).max())


def compare_devices():
    """Every loss of a batch spread over eight devices, and of the batch on one."""
    axes = (jax.sharding.AxisType.Auto,) * 2
    mesh = jax.make_mesh((4, 2), ("data", "space"), axis_types=axes)
    place = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data", "space"))
    sizes = jnp.array([(6, 5), (2, 4), (6, 1), (5, 5)] * 2)

    def of_all(inputs):
        found = {}
        for name, (scores, labels) in inputs.items():
            loss = functools.partial(LOSSES[name][0], labels=labels, sizes=sizes)
            found[name] = jax.value_and_grad(loss)(scores)
        return found

    inputs = {}
    for name in LOSSES:
        scores, labels, _ = draw(name, shape=(8, 6, 5))
        labels[:5] = 0 if name in DEPTHS else 255  # devices have very different numbers of labels
        labels[1, 0, 0] = 2
        inputs[name] = scores, labels
    expected = jax.jit(of_all)(inputs)
    spread = jax.jit(of_all)(jax.device_put(inputs, place))
    for name in LOSSES:
        assert len(spread[name][1].sharding.device_set) == 8
        np.testing.assert_allclose(spread[name][0], expected[name][0], rtol=1e-6, err_msg=name)
        np.testing.assert_allclose(spread[name][1], expected[name][1], atol=1e-7, err_msg=name)


def test_a_batch_over_eight_devices_has_the_loss_of_the_batch():
    program = (
        "import sys, jax; jax.config.update('jax_platforms', 'cpu');"
        "jax.config.update('jax_num_cpu_devices', 8);"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r});"
        "import test_losses_places as t; t.compare_devices()"
    )
    flags = {"XLA_FLAGS": "--xla_backend_optimization_level=0"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env={**os.environ, **flags}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_a_value_that_a_recipe_can_store(name):
    loss, _ = LOSSES[name]
    assert loss == dataclasses.replace(loss) and hash(loss) == hash(dataclasses.replace(loss))
    stored = json.loads(json.dumps(describe(loss)))
    assert build(stored) == loss and not list(differences(stored, loss))
    other = SiLog() if loss != SiLog() else Dice()
    assert list(differences(stored, other))


def test_a_recipe_stored_before_there_were_weights_is_the_same():
    softmax = Softmax(normalization=Normalization.SUM)
    stored = {
        "class": "fcn_jax.losses.by_output.ByOutput",
        "losses": {"a": {"class": "Softmax", "normalization": "SUM", "prior": []}},
    }
    assert not list(differences(stored, ByOutput({"a": softmax})))
    assert list(differences(stored, ByOutput({"a": softmax}, weights={"a": 0.5})))


class Small(nn.Module):
    ring = 2

    @nn.compact
    def __call__(self, x, *, train):
        return {"conv1": Conv(4, 3, stride=2, relu=True, name="conv1")(x)}


def test_a_step_learns_classes_and_depth_from_one_net(random_variables, close):
    net: Any = fcn.FCN32s(Small(), {"depth": 1, "semantic": 3})
    scores, classes, _ = draw("dice", shape=(2, 9, 11))
    batch = {
        "image": (scores * 30 + 128).clip(0, 255).astype(np.uint8),
        "label": {"depth": draw("l1", shape=(2, 9, 11))[1], "semantic": classes.astype(np.uint8)},
        "size": np.array([[9, 11], [5, 6]], np.int32),
    }
    semantic, depth = Sum((Softmax(normalization=Normalization.VALID), Dice())), SiLog()
    loss = ByOutput({"semantic": semantic, "depth": depth}, weights={"depth": 0.4})
    variables, sgd = random_variables(net), optax.sgd(0.1)

    def preprocess(images, sizes):
        return images.astype(jnp.float32) / 64 - 2

    batch = jax.tree.map(jnp.asarray, batch)

    def by_hand(params):
        found = net.apply({"params": params}, preprocess(batch["image"], None), sizes=batch["size"])
        each = [
            loss(found[name], batch["label"][name], sizes=batch["size"])
            for name, loss in (("semantic", semantic), ("depth", depth))
        ]
        return each[0] + 0.4 * each[1]

    value, gradient = jit(jax.value_and_grad(by_hand))(variables["params"])
    step = make_train_step(net, sgd, loss, preprocess, seed=0)
    new, metrics = step(create_state(jax.tree.map(jnp.copy, variables), sgd), batch)
    expected = jax.tree.map(lambda p, g: p - 0.1 * g, variables["params"], gradient)
    close(metrics["loss"], value)
    close(new.variables["params"], expected)


def test_losses_that_sort_all_pixels_take_scores_of_every_pixel():
    dense = {name for name, (loss, _) in LOSSES.items() if not takes_coarse_scores(loss)}
    sorting = ("lovasz", "lovasz per image all", "ohem by threshold", "ohem by number", "top k")
    assert dense == set(sorting)
    assert not takes_coarse_scores(Sum((Dice(), LOSSES["lovasz"][0])))
