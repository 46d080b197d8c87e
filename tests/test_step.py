import functools
import subprocess
import sys
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fcn_jax as fcn
from fcn_jax.devices.mesh import make_mesh, replicate, shard_batch
from fcn_jax.losses import Normalization, softmax_loss
from fcn_jax.nn.layers import BatchNorm, Conv, Dropout, MaxPool, relu
from fcn_jax.optim import CaffeSGD
from fcn_jax.training.state import create_state
from fcn_jax.training.step import make_train_step


class Small(nn.Module):
    """One stage; batch norm and dropout are optional."""

    batch_norm: bool = False
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x, *, train):
        x = Conv(6, 3, padding=1, relu=not self.batch_norm, name="conv1")(x)
        if self.batch_norm:
            x = relu(BatchNorm(name="bn1")(x, train=train))
        x = Dropout(self.dropout, name="drop1")(x, train=train)
        return {"pool1": MaxPool(2, 2, name="pool1")(x)}


NET = fcn.FCN32s(Small(), 3)
SGD = CaffeSGD(learning_rate=0.1, momentum=0.9, weight_decay=0.01)


def preprocess(images, sizes):
    return images.astype(jnp.float32) / 64 - 2


def draw_batch(n=8, height=6, width=7, seed=0):
    """Images of all sizes, whose shares of void labels differ much."""
    rng = np.random.default_rng(seed)
    void = rng.random((n, height, width)) < np.linspace(0, 0.97, n)[:, None, None]
    labels = rng.integers(0, 3, void.shape)
    return {
        "image": rng.integers(0, 256, (n, height, width, 3)).astype(np.uint8),
        "label": np.where(void, 255, labels).astype(np.uint8),
        "size": np.stack([rng.integers(1, m + 1, n) for m in (height, width)], 1).astype(np.int32),
    }


def make_step(net=NET, optimizer=None, mode=Normalization.VALID, seed=0, accumulate=1):
    loss = functools.partial(softmax_loss, normalization=mode)
    optimizer = optimizer or SGD()
    return make_train_step(net, optimizer, loss, preprocess, seed=seed, accumulate=accumulate)


def make_state(random_variables, net=NET, optimizer=None, **arguments):
    return create_state(random_variables(net), optimizer or SGD(), **arguments)


# Run in a process of its own: the number of devices is fixed when JAX starts.
SCRIPT = """
import sys
import jax
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
import numpy as np
sys.path.insert(0, sys.argv[1])
import test_step as t
from fcn_jax.training.state import initial_variables
from fcn_jax.devices.mesh import make_mesh, replicate, shard_batch
assert len(jax.devices()) == 8
net = t.fcn.FCN32s(t.Small(batch_norm=True), 3)
variables = jax.tree.map(lambda leaf: leaf + 0.1, initial_variables(net, seed=0))
for accumulate in (1, 2):
    results = []
    for devices in (jax.devices()[:1], jax.devices()):
        n = 8 * accumulate
        mesh = make_mesh(8, devices)
        assert mesh.shape["data"] == len(devices)
        state = t.create_state(variables, t.SGD(), place=lambda tree: replicate(mesh, tree))
        step = t.make_step(net, accumulate=accumulate)
        losses = []
        for seed in range(2):
            state, metrics = step(state, shard_batch(mesh, t.draw_batch(n, seed=seed)))
            losses.append(metrics["loss"])
        results.append(jax.device_get((losses, state.learning, state.batch_stats)))
    for a, b in zip(*map(jax.tree.leaves, results), strict=True):
        assert np.abs(a - b).max() <= 1e-5 * np.abs(b).max(), (accumulate, a, b)
    assert results[0][0][0] != results[0][0][1]
"""


def test_eight_devices_equal_one():
    folder = str(Path(__file__).parent)
    command = [sys.executable, "-c", SCRIPT, folder]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_a_step_is_the_optimizer_on_the_gradient(random_variables, close):
    batch, variables = draw_batch(2), random_variables(NET)
    state = create_state(variables, optax.sgd(0.5))
    new, metrics = make_step(optimizer=optax.sgd(0.5))(state, batch)

    def loss(params):
        images = preprocess(jnp.asarray(batch["image"]), None)
        sizes, labels = jnp.asarray(batch["size"]), jnp.asarray(batch["label"])
        scores = NET.apply({"params": params}, images, sizes=sizes)
        return softmax_loss(scores, labels, normalization=Normalization.VALID, sizes=sizes)

    value, gradient = jax.jit(jax.value_and_grad(loss))(variables["params"])
    expected = jax.tree.map(lambda p, g: p - 0.5 * g, variables["params"], gradient)
    close(metrics["loss"], value)
    close(new.variables["params"], expected)
    assert int(new.step) == 1


def test_accumulated_passes_are_the_mean_of_their_gradients(random_variables, close):
    """Summed losses: the mean of k passes' gradients is the gradient of all images over k."""
    accumulate, batch = 4, draw_batch(8)
    mode, sgd = Normalization.SUM, optax.sgd(1e-3)
    passes = make_step(optimizer=sgd, mode=mode, accumulate=accumulate)
    several, metrics = passes(make_state(random_variables, optimizer=sgd), batch)
    at_once = make_step(optimizer=optax.sgd(1e-3 / accumulate), mode=mode)
    once, expected = at_once(make_state(random_variables, optimizer=sgd), batch)
    close(several.learning, once.learning)
    close(metrics["loss"] * accumulate, expected["loss"])


def test_frozen_parameters_stay_and_have_no_optimizer_state(random_variables):
    state = make_state(random_variables, frozen=("trunk",))
    before = jax.device_get(state)
    learning = {"score_fr/kernel", "score_fr/bias"}
    assert set(state.learning) == learning
    assert set(state.frozen) == {"trunk/conv1/kernel", "trunk/conv1/bias"}
    moments = [leaf.shape for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim]
    assert sorted(moments) == sorted(value.shape for value in state.learning.values())
    after, _ = make_step()(state, draw_batch())
    for name in learning:
        assert np.any(after.learning[name] != before.learning[name])
    for name, value in before.frozen.items():
        np.testing.assert_array_equal(after.frozen[name], value)


def test_the_state_is_donated_but_never_the_variables_it_came_from(random_variables):
    variables, mesh, step = random_variables(NET), make_mesh(8), make_step()
    for place in ({}, {"place": lambda tree: replicate(mesh, tree)}):
        state = create_state(variables, SGD(), **place)
        step(state, shard_batch(mesh, draw_batch()))
        assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.learning))
        assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(variables))


def test_dropout_depends_on_seed_and_step_alone(random_variables):
    net = fcn.FCN32s(Small(dropout=0.5), 3)
    batch = draw_batch()
    steps = {seed: make_step(net, seed=seed) for seed in (0, 1)}

    def loss(seed, at, momentum=0.0):
        state = make_state(random_variables, net)
        trace = jax.tree.map(lambda leaf: leaf + momentum, state.opt_state)
        state = state.replace(step=jnp.int32(at), opt_state=trace)
        return float(steps[seed](state, batch)[1]["loss"])

    assert loss(0, 5) == loss(0, 5) == loss(0, 5, momentum=1.0)
    assert len({loss(0, 5), loss(0, 6), loss(1, 5)}) == 3


def test_accumulated_passes_drop_differently(random_variables):
    """One image repeated: if all passes dropped the same units, their number would not matter."""
    net, one = fcn.FCN32s(Small(dropout=0.5), 3), draw_batch(1)
    losses = []
    for k in (2, 3):
        batch = {key: np.concatenate([value] * k) for key, value in one.items()}
        _, metrics = make_step(net, accumulate=k)(make_state(random_variables, net), batch)
        losses.append(float(metrics["loss"]))
    assert losses[0] != pytest.approx(losses[1], rel=1e-4)


def test_batch_norm_statistics_move_with_every_pass(random_variables, close):
    net = fcn.FCN32s(Small(batch_norm=True), 3)
    batch = draw_batch(4)
    state = make_state(random_variables, net)
    before = jax.device_get(state.batch_stats)
    after, _ = make_step(net, accumulate=2)(state, batch)
    # By hand: the two passes hold images 0, 2 and 1, 3.
    stats = before["trunk"]["bn1"]["norm"]
    params = random_variables(net)["params"]["trunk"]["conv1"]
    mean = np.asarray(stats["mean"])
    for part in (slice(0, None, 2), slice(1, None, 2)):
        images = np.asarray(preprocess(jnp.asarray(batch["image"][part]), None))
        seen = []
        for image, (h, w) in zip(images, batch["size"][part], strict=True):
            own = np.pad(image[:h, :w], ((1, 1), (1, 1), (0, 0)))
            for i in range(h):
                for j in range(w):
                    window = own[i : i + 3, j : j + 3]
                    seen.append(np.einsum("klc,klco->o", window, params["kernel"]))
        mean = 0.9 * mean + 0.1 * (np.mean(seen, 0) + params["bias"])
    close(after.batch_stats["trunk"]["bn1"]["norm"]["mean"], mean)
    assert np.any(after.batch_stats["trunk"]["bn1"]["norm"]["var"] != stats["var"])
