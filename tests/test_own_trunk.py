"""A user's own trunk works like ours: any size, any canvas, any skips."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fcn_jax as fcn
from fcn_jax.losses import Normalization, softmax_loss
from fcn_jax.nn.layers import BatchNorm, Conv, MaxPool, relu


class SmallTrunk(nn.Module):
    """From the image to maps at 1/2, 1/4 and 1/8, deepest last: all that a trunk must do."""

    width: int = 4
    ring = 12  # zero cells around the image, so that `wide` may go without padding

    @nn.compact
    def __call__(self, x, *, train):
        maps = {}
        for i, name in enumerate(("half", "quarter", "eighth")):
            x = Conv(self.width * 2**i, 3, padding=1, name=f"{name}_conv")(x)
            x = relu(BatchNorm(name=f"{name}_norm")(x, train=train))
            x = maps[name] = MaxPool(3, 2, name=name)(x)
        maps["wide"] = Conv(self.width * 8, 3, relu=True, name="wide")(x)
        return maps


NET = fcn.FCN(
    SmallTrunk(),
    num_classes=3,
    skips=("quarter", "half"),
    upsampling=fcn.LearnedUpsampling,
    final_upsampling=fcn.NormalizedUpsampling,
)


def test_the_scores_lie_on_the_image():
    variables = jax.eval_shape(NET.init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    assert {"trunk", "score_fr", "score_quarter", "score_half"} <= set(variables["params"])
    for size in range(1, 20):
        image = jax.ShapeDtypeStruct((2, size, 20 - size, 3), jnp.float32)
        assert jax.eval_shape(NET.apply, variables, image).shape == (2, size, 20 - size, 3)


def test_too_small_a_ring_says_so():
    class NoRing(SmallTrunk):
        ring = 0

    with pytest.raises(ValueError, match="upscore.*does not cover the image.*larger ring"):
        images = jnp.zeros((1, 40, 40, 3))
        jax.eval_shape(fcn.FCN32s(NoRing(), 2).init, jax.random.key(0), images)


def test_each_image_of_a_canvas_is_exact(random_variables, close):
    """Scores, loss and gradient of three images together and one by one."""
    variables = random_variables(NET)
    stats = variables["batch_stats"]
    rng = np.random.default_rng(0)
    canvas, sizes = (11, 14), np.array([[11, 9], [1, 1], [6, 14]], np.int32)
    images = rng.normal(size=(3, *canvas, 3)).astype(np.float32)
    labels = rng.integers(0, 3, (3, *canvas)).astype(np.int32)

    def objective(params, images, labels, sizes):
        scores = NET.apply({"params": params, "batch_stats": stats}, images, sizes=sizes)
        loss = softmax_loss(scores, labels, normalization=Normalization.SUM, sizes=sizes)
        return loss, scores

    run = jax.jit(
        jax.value_and_grad(objective, has_aux=True),
        compiler_options={"xla_backend_optimization_level": 0},
    )
    (loss, scores), gradient = run(variables["params"], images, labels, sizes)
    losses, gradients = [], []
    for b, (h, w) in enumerate(sizes):
        alone = images[b : b + 1, :h, :w], labels[b : b + 1, :h, :w], None
        (value, expected), part = run(variables["params"], *alone)
        close(scores[b : b + 1, :h, :w], expected)
        losses.append(value)
        gradients.append(part)
    close(loss, np.sum(losses))
    close(gradient, jax.tree.map(lambda *parts: np.sum(parts, axis=0), *gradients))
    outside = np.arange(11)[:, None] >= sizes[:, 0, None, None]
    outside = outside | (np.arange(14) >= sizes[:, 1, None, None])
    assert not np.asarray(scores)[outside].any()
