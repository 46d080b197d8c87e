"""Losses of outputs for the whole image, against plain loops; missing labels; over devices."""

import math
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from fcn_jax.devices.mesh import shard_batch
from fcn_jax.losses import Attributes, ByOutput, ClassOfImage

RNG = np.random.default_rng(0)
SCORES = RNG.normal(0, 2, (8, 5)).astype(np.float32)
LABELS = np.array([0, 4, -1, 2, 255, 1, 1, 3], np.int32)
YES = RNG.integers(0, 2, (8, 5)).astype(np.float32)
YES[0], YES[3, 2] = np.nan, np.nan


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_class_of_the_image_is_the_mean_over_labelled_images(smoothing):
    losses = []
    for y, row in zip(LABELS, SCORES.astype(float), strict=True):
        if y not in (-1, 255):
            total = math.log(sum(math.exp(s) for s in row))
            every = sum(total - s for s in row) / 5
            losses.append((1 - smoothing) * (total - row[y]) + smoothing * every)
    found = ClassOfImage(label_smoothing=smoothing)(jnp.asarray(SCORES), jnp.asarray(LABELS))
    np.testing.assert_allclose(found, np.mean(losses), rtol=1e-6)


@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_attributes_are_the_mean_over_labelled_attributes(weight):
    losses = []
    for y, s in zip(YES.ravel(), SCORES.ravel().astype(float), strict=True):
        if y == y:
            p = 1 / (1 + math.exp(-s))
            losses.append(-weight * math.log(p) if y else -math.log(1 - p))
    found = Attributes(positive_weight=weight)(jnp.asarray(SCORES), jnp.asarray(YES))
    np.testing.assert_allclose(found, np.mean(losses), rtol=1e-6)


@pytest.mark.parametrize(
    ("loss", "labels", "missing"),
    [(ClassOfImage(), LABELS, np.array(-1)), (Attributes(), YES, np.array(np.nan))],
)
def test_what_is_missing_has_no_loss_and_no_gradient(loss, labels, missing):
    gradient = jax.grad(loss)(jnp.asarray(SCORES), jnp.asarray(labels))
    unknown = np.isin(labels, (-1, 255)) if labels.ndim == 1 else np.isnan(labels)
    assert (np.asarray(gradient)[unknown] == 0).all() and np.isfinite(gradient).all()
    assert (np.asarray(gradient)[~unknown] != 0).all()
    nothing = jnp.full_like(labels, missing)
    value, gradient = jax.value_and_grad(loss)(jnp.asarray(SCORES), nothing)
    assert value == 0 and (np.asarray(gradient) == 0).all()


def test_wrong_labels_stop_training_and_wrong_shapes_are_refused():
    assert np.isnan(ClassOfImage()(jnp.asarray(SCORES), jnp.asarray(LABELS).at[0].set(5)))
    assert np.isnan(ClassOfImage()(jnp.asarray(SCORES), jnp.asarray(LABELS).at[0].set(-2)))
    many = jnp.zeros((2, 300))
    np.testing.assert_allclose(ClassOfImage()(many, jnp.array([255, -1])), np.log(300), rtol=1e-6)
    with pytest.raises(ValueError, match="integer labels"):
        ClassOfImage()(jnp.asarray(SCORES), jnp.asarray(YES))
    with pytest.raises(ValueError, match="float labels"):
        Attributes()(jnp.asarray(SCORES), jnp.asarray(LABELS))


LOSS = ByOutput({"scene": ClassOfImage(), "yes": Attributes()}, weights={"yes": 0.5})


def compare_devices():
    """On eight devices, the loss and gradient of one; for a process of its own."""
    assert jax.device_count() == 8
    mesh = jax.make_mesh((8, 1), ("data", "space"), axis_types=(AxisType.Auto,) * 2)

    @jax.jit
    def of(batch):
        def loss(scores):
            return LOSS({"scene": scores, "yes": scores}, batch["label"])

        return jax.value_and_grad(loss)(batch["scores"])

    batch = {"scores": SCORES, "label": {"scene": LABELS, "yes": YES}}
    one, spread = of(batch), of(shard_batch(mesh, batch))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(spread), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


def test_devices_share_one_mean():
    program = (
        "import jax; jax.config.update('jax_num_cpu_devices', 8)\n"
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import test_losses_vectors as t; t.compare_devices()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
