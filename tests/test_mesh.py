"""Meshes of several devices: their shapes, and that they compute what one device does."""

import dataclasses
import functools
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fcn_jax as fcn
from fcn_jax.devices.mesh import (
    make_mesh,
    own_part,
    parse_axes,
    replicate,
    shard_batch,
    shard_over_data,
    spread_rows,
    spreads_rows,
)
from fcn_jax.inference.confusion import confusion_matrices
from fcn_jax.losses import Normalization, softmax_loss
from fcn_jax.nn import savings
from fcn_jax.nn.layers import BatchNorm, Conv, Dropout, MaxPool, nn, relu
from fcn_jax.optim import CaffeSGD
from fcn_jax.training.state import create_state, zero_variables
from fcn_jax.training.step import make_train_step

HEIGHT, WIDTH, BATCH = 21, 9, 8  # 21 rows, and 11 and 6 of the maps: no axis divides them


class Trunk(nn.Module):
    """All that may depend on how rows are cut: a ring, overhanging windows, masks, dropout."""

    ring: int = 3

    @nn.compact
    def __call__(self, x, *, train):
        x = relu(Conv(8, 3, padding=1, name="conv1")(x))
        x = BatchNorm(name="norm1")(MaxPool(name="pool1")(x), train=train)
        skip = relu(Conv(8, 3, padding=1, name="conv2")(x))
        deep = relu(Conv(8, 3, padding=1, name="conv3")(MaxPool(name="pool2")(skip)))
        return {"conv2": skip, "conv3": Dropout(0.5, name="drop3")(deep, train=train)}


NET = fcn.FCN(Trunk(), 3, skips=("conv2",))
SGD = CaffeSGD(learning_rate=0.1, momentum=0.9, weight_decay=0.01)()
LOSS = functools.partial(softmax_loss, normalization=Normalization.VALID)


def preprocess(images, sizes):
    return images.astype(jnp.float32) / 64 - 2


def draw_batch(seed, n=BATCH, height=HEIGHT):
    """Images of all sizes, whose shares of void labels differ much."""
    rng = np.random.default_rng(seed)
    void = rng.random((n, height, WIDTH)) < np.linspace(0, 0.97, n)[:, None, None]
    images = rng.integers(0, 256, (n, height, WIDTH, 3)).astype(np.uint8)
    return {
        "image": images,
        "label": np.where(void, 255, images[..., 0] // 86).astype(np.uint8),
        "size": np.stack([rng.integers(2, m + 1, n) for m in (height, WIDTH)], 1).astype(np.int32),
    }


def prepared(axes, shard_optimizer, batch_size=BATCH):
    """Mesh, step and first state, with random parameters."""
    mesh, rng = make_mesh(batch_size, axes=axes), np.random.default_rng(0)

    def draw(x):
        value = rng.normal(size=x.shape).astype(np.float32)
        return value / 8 if x.ndim == 4 else 0.1 + np.abs(value)  # variances are not negative

    variables = jax.tree.map(draw, zero_variables(NET))
    place = functools.partial(replicate, mesh)
    spread = functools.partial(shard_over_data, mesh) if shard_optimizer else place
    state = create_state(variables, SGD, place=place, place_optimizer=spread)
    step = make_train_step(
        NET, SGD, LOSS, preprocess, seed=0, mesh=mesh, shard_optimizer=shard_optimizer
    )
    return mesh, step, state


def on(axes, shard_optimizer, scored):
    """Losses and state after two steps, then scores and confusion matrix of a batch."""
    mesh, step, state = prepared(axes, shard_optimizer)
    if shard_optimizer:
        kernel = state.opt_state[-1].trace["trunk/conv2/kernel"]
        assert kernel.addressable_shards[0].data.size * mesh.shape["data"] == kernel.size
    places = jax.tree.map(lambda x: x.sharding, state)
    losses = []
    for seed in range(2):
        state, metrics = step(state, shard_batch(mesh, draw_batch(seed)))
        losses.append(metrics["loss"])
    moved = jax.tree.map(lambda x, place: x.sharding.is_equivalent_to(place, x.ndim), state, places)
    assert all(jax.tree.leaves(moved))
    if not scored:
        return jax.device_get((losses, state))
    batch = shard_batch(mesh, draw_batch(2))

    @jax.jit
    def scores(variables, images, sizes):
        spread = spread_rows(mesh, preprocess(images, sizes))
        with savings.use_for_rows(spreads_rows(mesh)):
            return spread_rows(mesh, NET.apply(variables, spread, sizes=sizes))

    dense = scores(state.variables, batch["image"], batch["size"])
    matrix = confusion_matrices(NET, state.variables, preprocess, [draw_batch(2)], 3, mesh=mesh)
    return jax.device_get((losses, state, dense, matrix))


def compare(*cases, scored=True):
    """Every case, `(axes, shard_optimizer)`, against one device."""
    assert len(jax.devices()) == 8
    expected = on({"data": 1}, False, scored)
    for axes, shard_optimizer in cases:
        found = on(axes, shard_optimizer, scored)
        for (path, a), b in zip(
            jax.tree.leaves_with_path(found), jax.tree.leaves(expected), strict=True
        ):
            worst = np.abs(np.subtract(a, b, dtype=np.float64)).max()
            where = axes, jax.tree_util.keystr(path), worst
            # Counts are equal; a bias's momentum is a sum that nearly cancels.
            exact = np.issubdtype(np.asarray(b).dtype, np.integer)
            assert worst <= (0 if exact else 1e-5 * max(np.abs(b).max(), 0.1)), where


def bytes_per_device(space, height=512):
    """Temporary memory of a step on one image."""
    axes = {"data": 1, "space": space}
    mesh, step, state = prepared(axes, False, batch_size=1)
    batch = shard_batch(mesh, draw_batch(0, 1, height))
    return step.lower(state, batch).compile().memory_analysis().temp_size_in_bytes


def in_a_process(expression):
    """With eight devices; their number is fixed when JAX starts."""
    program = (
        "import sys, jax; jax.config.update('jax_platforms', 'cpu');"
        "jax.config.update('jax_num_cpu_devices', 8);"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_mesh as t; {expression}"
    )
    flags = {"XLA_FLAGS": "--xla_backend_optimization_level=0"}  # compiling is most of the time
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, env={**os.environ, **flags}, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr


def test_rows_and_images_over_eight_devices_equal_one_device():
    in_a_process("t.compare(({'data': 2, 'space': 4}, True), scored=False)")


@pytest.mark.slow
def test_any_mesh_equals_one_device():
    cases = [
        *(({"data": n}, shard) for n, shard in ((2, True), (4, False), (8, True))),
        *(({"data": 1, "space": n}, False) for n in (2, 4, 8)),
        *(({"data": 2, "space": 2}, False), ({"data": 4, "space": 2}, True)),
    ]
    in_a_process(f"t.compare(*{cases!r})")


@pytest.mark.slow
def test_memory_falls_with_the_rows_of_a_device():
    in_a_process("one, four = map(t.bytes_per_device, (1, 4)); assert four < 0.45 * one")


@dataclasses.dataclass(frozen=True)
class Device:
    process_index: int
    id: int


def devices(processes, each):
    """As on a pod, where ids do not follow the processes."""
    return [Device(i % processes, i) for i in range(processes * each)]


@pytest.mark.parametrize(
    ("processes", "each", "batch", "axes", "shape"),
    [
        (1, 1, 4, {}, (1, 1)),
        (1, 8, 4, {}, (4, 1)),
        (1, 8, 1, {}, (1, 1)),
        (1, 8, 4, {"space": 2}, (4, 2)),
        (1, 8, 2, {"data": 2, "space": 3}, (2, 3)),
        (2, 4, 8, {}, (8, 1)),
        (2, 4, 6, {}, (6, 1)),
        (2, 4, 1, {"space": 8}, (1, 8)),
        (4, 2, 2, {"space": 4}, (2, 4)),
    ],
)
def test_a_mesh_takes_what_the_batch_can_use(processes, each, batch, axes, shape):
    mesh = make_mesh(batch, devices(processes, each), axes=axes)
    assert (mesh.axis_names, mesh.devices.shape) == (("data", "space"), shape)


@pytest.mark.parametrize("batch", range(1, 20))
def test_a_mesh_takes_as_many_devices_as_divide_the_batch(batch):
    largest = max(n for n in range(1, 9) if batch % n == 0)
    assert dict(make_mesh(batch, devices(1, 8)).shape) == {"data": largest, "space": 1}


@pytest.mark.parametrize(
    ("processes", "each", "batch", "axes", "message"),
    [
        (1, 4, 4, {"data": 8}, "--mesh data=8 does not fit a batch of 4 on 4 devices"),
        (1, 8, 3, {"data": 2}, "data must divide the batch"),
        (1, 4, 4, {"space": 8}, "at most the number of devices"),
        (2, 4, 1, {}, "no mesh fits a batch of 1 on 2 processes with 4 devices.*--mesh space=8"),
        (2, 3, 4, {"data": 1, "space": 3}, "a multiple of 2"),
        (2, 3, 3, {"data": 3, "space": 2}, "whole images on each process"),
    ],
)
def test_a_mesh_that_does_not_fit_is_refused(processes, each, batch, axes, message):
    with pytest.raises(ValueError, match=message):
        make_mesh(batch, devices(processes, each), axes=axes)


@pytest.mark.parametrize(
    ("axes", "parts"),
    [
        ({"data": 8}, [(0, 4), (1, 4), (2, 4), (3, 4)]),
        ({"data": 4, "space": 2}, [(0, 4), (1, 4), (2, 4), (3, 4)]),
        ({"data": 2, "space": 4}, [(0, 2), (0, 2), (1, 2), (1, 2)]),
        ({"data": 1, "space": 8}, [(0, 1)] * 4),
    ],
    ids=str,
)
def test_a_process_reads_the_images_of_its_own_devices(monkeypatch, axes, parts):
    mesh = make_mesh(8, devices(4, 2), axes=axes)
    for process, part in enumerate(parts):
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        assert own_part(mesh) == part
        own = [row for row, d in enumerate(mesh.devices) if process in [x.process_index for x in d]]
        assert own == list(range(part[0] * len(own), (part[0] + 1) * len(own)))


def test_axes_are_read_from_text():
    assert parse_axes("data=4,space=2") == {"data": 4, "space": 2}
    assert parse_axes("space=2") == {"space": 2}
    assert parse_axes("") == {}
    for wrong in ("data", "data=0", "data=x", "rows=2", "data=2,data=4", "data=2 space=2"):
        with pytest.raises(ValueError, match="expected data=N,space=N"):
            parse_axes(wrong)


def test_no_saving_cuts_rows_that_are_spread():
    mesh = make_mesh(1, devices(1, 2), axes={"space": 2})
    assert spreads_rows(mesh)
    assert not spreads_rows(None) and not spreads_rows(make_mesh(1, devices(1, 2)))
    with savings.use_for_rows(True):
        assert not savings.current().border_skipping and not savings.current().row_tiles
    with savings.use_for_rows(False):
        assert savings.current() == savings.Savings()
