"""Any function of scores and labels is a loss of a train step."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fcn_jax as fcn
from fcn_jax.losses import ByOutput, Normalization, PerPixel, Softmax
from fcn_jax.nn.coarse_scores import CoarseScores
from fcn_jax.nn.layers import Conv, MaxPool
from fcn_jax.preprocessing import CAFFE
from fcn_jax.training.state import create_state
from fcn_jax.training.step import make_train_step

SOFTMAX = Softmax(normalization=Normalization.VALID)


class Small(nn.Module):
    ring = 2

    @nn.compact
    def __call__(self, x, *, train):
        return {"pool1": MaxPool(2, 2, name="pool1")(Conv(4, 3, relu=True, name="conv1")(x))}


def preprocess(images, sizes):
    return images.astype(jnp.float32) / 64 - 2


def draw_batch(names=()):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, (2, 9, 11))
    labels[rng.random(labels.shape) < 0.3] = 255
    labels = labels.astype(np.uint8)
    return {
        "image": rng.integers(0, 256, (2, 9, 11, 3)).astype(np.uint8),
        "label": dict.fromkeys(names, labels) if names else labels,
        "size": np.array([[9, 11], [5, 6]], np.int32),
    }


def one_step(net, loss, random_variables, batch):
    state = create_state(random_variables(net), optax.sgd(0.1))
    new, metrics = make_train_step(net, optax.sgd(0.1), loss, preprocess, seed=0)(state, batch)
    return metrics["loss"], new.learning


def plain(scores, labels, *, sizes):
    """`SOFTMAX` written with optax, as a user may: it knows nothing of coarse scores."""
    assert not isinstance(scores, CoarseScores)
    assert scores.shape == (*labels.shape, 3) and scores.dtype == jnp.float32
    rows = jnp.arange(labels.shape[1])[:, None] < sizes[:, 0, None, None]
    columns = jnp.arange(labels.shape[2]) < sizes[:, 1, None, None]
    valid = (labels != 255) & rows & columns
    losses = optax.losses.softmax_cross_entropy_with_integer_labels(
        scores, jnp.where(valid, labels, 0)
    )
    return jnp.sum(losses, where=valid) / jnp.sum(valid)


@pytest.mark.parametrize(
    "loss", [plain, PerPixel(optax.losses.softmax_cross_entropy_with_integer_labels)]
)
def test_a_step_with_an_optax_loss_is_one_with_ours(loss, random_variables, close):
    net, batch = fcn.FCN32s(Small(), 3), draw_batch()
    expected = one_step(net, SOFTMAX, random_variables, batch)
    close(one_step(net, loss, random_variables, batch), expected)


def test_each_output_may_have_a_loss_of_its_own_kind(random_variables, close):
    net = fcn.FCN32s(Small(), {"one": 3, "other": 3})
    batch = draw_batch(("one", "other"))
    expected = one_step(net, ByOutput({"one": SOFTMAX, "other": SOFTMAX}), random_variables, batch)
    mixed = ByOutput({"one": SOFTMAX, "other": plain})
    close(one_step(net, mixed, random_variables, batch), expected)


def test_a_per_pixel_loss_is_refused_with_the_remedy():
    loss = optax.losses.softmax_cross_entropy_with_integer_labels
    with pytest.raises(ValueError, match="losses.PerPixel"):
        make_train_step(fcn.FCN(fcn.VGG16(), 3), optax.sgd(1.0), loss, CAFFE, seed=0)
