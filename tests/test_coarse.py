"""Scores taken a few rows at a time: the same loss, gradient, labels and counts as all at once."""

import dataclasses
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fcn_jax as fcn
from fcn_jax.losses import ByOutput, Normalization, Softmax, sigmoid_loss, softmax_loss
from fcn_jax.metrics import confusion_matrix
from fcn_jax.nn import coarse_scores as coarse
from fcn_jax.nn.coarse_scores import (
    CoarseScores,
    best_classes,
    is_coarse,
    scores_of,
    sum_over_tiles,
)
from fcn_jax.nn.feature_map import FeatureMap
from fcn_jax.nn.layers import Conv, MaxPool
from fcn_jax.nn.upsampling import (
    BilinearUpsampling,
    DenseUpsampling,
    LearnedUpsampling,
    NormalizedUpsampling,
)

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def low_tiles(monkeypatch):
    monkeypatch.setattr(coarse, "_TILE_BYTES", 20_000)


def of_layer(layer, factor, kernel, start, pixels, ragged):
    """Coarse scores (b = 2, 5 classes) and labels, as a net's head makes them."""
    n, m = (-(-(start + p - kernel) // factor) + 2 for p in pixels)
    extent = sizes = None
    if ragged:
        extent, sizes = jnp.array([[n, m], [n - 2, m - 1]]), jnp.array([pixels, (3, pixels[1] - 4)])
    x = FeatureMap(jnp.asarray(RNG.normal(0, 1, (2, n, m, 5)), jnp.float32), extent).masked()
    net = layer(factor, kernel)
    variables = net.init(jax.random.key(0), x)
    variables = jax.tree.map(lambda p: p + RNG.normal(0, 0.1, p.shape), variables)
    labels = RNG.integers(0, 5, (2, *pixels))
    labels[RNG.random(labels.shape) < 0.2] = 255
    scores: Any = net.apply(variables, x, start, pixels, sizes, method="without_upsampling")
    return net, variables, x, scores, jnp.asarray(labels)


@pytest.mark.parametrize(
    ("layer", "factor", "kernel", "start", "pixels", "ragged", "tile_bytes"),
    [
        (BilinearUpsampling, 8, 16, 31, (61, 37), True, 1),
        (BilinearUpsampling, 32, 63, 18, (150, 70), False, 50_000),
        (BilinearUpsampling, 8, 16, 31, (61, 37), False, 10**9),
        (NormalizedUpsampling, 4, 8, 2, (50, 33), True, 30_000),
        (LearnedUpsampling, 8, 16, 31, (61, 37), True, 40_000),
        (DenseUpsampling, 4, 7, 5, (41, 20), True, 20_000),
    ],
)
def test_tiles_are_the_whole(layer, factor, kernel, start, pixels, ragged, tile_bytes, monkeypatch):
    monkeypatch.setattr(coarse, "_TILE_BYTES", tile_bytes)
    net, variables, x, scores, labels = of_layer(layer, factor, kernel, start, pixels, ragged)

    def counts(scores, labels):
        return confusion_matrix(labels, jnp.argmax(scores, -1), 5)

    def loss(values, weights, tiled):
        coarse_scores = dataclasses.replace(scores, values=values, weights=weights)
        return softmax_loss(
            coarse_scores if tiled else coarse_scores.dense(),
            labels,
            normalization=Normalization.VALID,
            sizes=scores.sizes,
        )

    @jax.jit
    def everything(variables, x, scores):
        full = net.apply(variables, x).values
        full = full[:, start : start + pixels[0], start : start + pixels[1]]
        whole = FeatureMap(full, scores.sizes).masked().values
        differentiate = jax.value_and_grad(loss, argnums=(0, 1))
        at = scores.values, scores.weights
        tiled = (
            scores.dense(),
            best_classes(scores),
            sum_over_tiles(counts, scores, labels),
            differentiate(*at, True),
        )
        return tiled, (whole, best_classes(whole), counts(whole, labels), differentiate(*at, False))

    tiled, whole = everything(variables, x, scores)
    for a, b in zip(jax.tree.leaves(tiled), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6 * float(jnp.max(jnp.abs(b))))


@pytest.mark.parametrize("normalization", [Normalization.SUM, Normalization.VALID])
def test_other_normalisations_the_sigmoid_and_a_factor_on_the_loss(normalization):
    *_, scores, labels = of_layer(BilinearUpsampling, 4, 8, 2, (21, 30), True)

    def loss(values, tiled):
        coarse_scores = dataclasses.replace(scores, values=values)
        value = sigmoid_loss(
            coarse_scores if tiled else coarse_scores.dense(),
            labels,
            normalization=normalization,
            sizes=scores.sizes,
        )
        return value**2 / 7  # the gradient of the sum is scaled by what follows

    (one, by_one), (all_, by_all) = (
        jax.jit(jax.value_and_grad(loss), static_argnums=1)(scores.values, tiled)
        for tiled in (True, False)
    )
    np.testing.assert_allclose(one, all_, rtol=3e-6)
    np.testing.assert_allclose(by_one, by_all, atol=3e-6 * float(jnp.max(jnp.abs(by_all))))


def test_a_label_that_is_no_class_makes_the_loss_nan():
    *_, scores, labels = of_layer(BilinearUpsampling, 4, 8, 0, (20, 33), False)
    loss = softmax_loss(scores, labels.at[1, 17, 3].set(5), normalization=Normalization.SUM)
    assert np.isnan(loss)


class Tiny(nn.Module):
    """Two maps, of strides 2 and 4."""

    ring: ClassVar[int] = 3

    @nn.compact
    def __call__(self, x, *, train):
        half = MaxPool(name="pool1")(Conv(4, 3, padding=1, relu=True, name="conv1")(x))
        return {"half": half, "quarter": MaxPool(name="pool2")(half)}


TINY = {"trunk": Tiny(), "skips": ("half",)}
NETS = {
    "one": fcn.FCN(num_classes=3, **TINY),
    "heads": fcn.FCN(num_classes={"semantic": 4, "geometric": 3}, **TINY),
    "streams": fcn.LateFusion(dict.fromkeys(("color", "hha"), fcn.FCN(num_classes=3, **TINY))),
}


@pytest.mark.parametrize("name", NETS)
def test_a_net_with_row_tiles_is_the_net_without(name):
    net, sizes = NETS[name], jnp.array([[40, 51], [33, 12]])
    image = jnp.asarray(RNG.normal(0, 1, (2, 40, 51, 3)), jnp.float32)
    images = {"color": image, "hha": -image} if name == "streams" else image
    shapes = jax.eval_shape(net.init, jax.random.key(0), images)
    variables = jax.tree.map(lambda s: jnp.asarray(RNG.normal(0, 0.2, s.shape), s.dtype), shapes)
    one = Softmax(normalization=Normalization.SUM, prior=(0.2, 0.5, 0.3), adjustment=0.5)
    loss, labels = one, jnp.asarray(RNG.integers(0, 3, (2, 40, 51)))
    if name == "heads":
        plain = Softmax(normalization=Normalization.VALID)
        loss = ByOutput({"semantic": plain, "geometric": one})
        labels = {"semantic": labels, "geometric": labels}

    def objective(variables, upsample):
        if upsample:
            return loss(net.apply(variables, images, sizes=sizes), labels, sizes=sizes)
        scores = scores_of(net, variables, images, sizes=sizes)
        assert all(is_coarse(s) for s in jax.tree.leaves(scores, is_leaf=is_coarse))
        return loss(scores, labels, sizes=sizes)

    (one, by_one), (all_, by_all) = (
        jax.jit(jax.value_and_grad(objective), static_argnums=1)(variables, upsample)
        for upsample in (False, True)
    )
    np.testing.assert_allclose(one, all_, rtol=1e-6)
    largest = max(float(jnp.max(jnp.abs(g))) for g in jax.tree.leaves(by_all))
    for a, b in zip(jax.tree.leaves(by_one), jax.tree.leaves(by_all), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-6 * largest)


def test_scores_of_every_pixel_are_never_there():
    labels = jnp.zeros((1, 512, 512), jnp.int32)
    layer = BilinearUpsampling(8, 16)

    def loss(values, tiled):
        scores = CoarseScores(values, None, None, None, layer, 4, (512, 512))
        return softmax_loss(
            scores if tiled else scores.dense(), labels, normalization=Normalization.SUM
        )

    values = jax.ShapeDtypeStruct((1, 66, 66, 150), jnp.float32)

    def memory(tiled):
        compiled = jax.jit(jax.grad(lambda v: loss(v, tiled))).lower(values).compile()
        return getattr(compiled.memory_analysis(), "temp_size_in_bytes")  # noqa: B009

    assert memory(False) > 512 * 512 * 150 * 4 > 5 * memory(True)


def test_streams_that_are_upsampled_differently_have_no_mean():
    *_, a, _ = of_layer(BilinearUpsampling, 4, 8, 2, (21, 30), False)
    *_, b, _ = of_layer(NormalizedUpsampling, 4, 8, 2, (21, 30), False)
    with pytest.raises(ValueError, match="average the scores at every pixel"):
        CoarseScores.mean([a, b])
