from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from naive import compiled, draw, scatter_add

from fcn_jax.nn import savings
from fcn_jax.nn.coarse_scores import CoarseScores
from fcn_jax.nn.feature_map import FeatureMap, Grid
from fcn_jax.nn.upsampling import (
    BilinearUpsampling,
    DenseUpsampling,
    LearnedUpsampling,
    NormalizedUpsampling,
    Upsampling,
)

UPSAMPLINGS = [(2, 4), (3, 5)]


@pytest.mark.parametrize("factor, kernel", UPSAMPLINGS)
def test_learned_upsampling_is_scatter_add(factor, kernel):
    x, weights = draw(2, 3, 4, 2), draw(kernel, kernel, 2, seed=1)
    y = compiled(LearnedUpsampling(factor, kernel))({"params": {"kernel": weights}}, FeatureMap(x))
    expected = scatter_add(x, np.einsum("klc,cd->klcd", weights, np.eye(2)), factor)
    np.testing.assert_allclose(y.values, expected, atol=1e-5)


@pytest.mark.parametrize("factor, kernel", UPSAMPLINGS)
def test_dense_upsampling_is_scatter_add(factor, kernel):
    x, weights = draw(2, 3, 4, 3), draw(kernel, kernel, 3, 3, seed=1)
    y = compiled(DenseUpsampling(factor, kernel))({"params": {"kernel": weights}}, FeatureMap(x))
    np.testing.assert_allclose(y.values, scatter_add(x, weights, factor), atol=1e-5)


@pytest.mark.parametrize("platform", ["cpu", "tpu"])
@pytest.mark.parametrize("factor, kernel", [(2, 4), (8, 15)])
def test_every_upsampling_starts_bilinear(factor, kernel, platform):
    x = FeatureMap(draw(1, 2, 3, 2))
    with savings.traced_for(platform):
        bilinear = compiled(BilinearUpsampling(factor, kernel))({}, x)
    f, centre = (kernel + 1) // 2, (kernel - 1) / 2
    taps = 1 - np.abs(np.arange(kernel) - centre) / f
    expected = scatter_add(x.values, np.einsum("k,l,cd->klcd", taps, taps, np.eye(2)), factor)
    np.testing.assert_allclose(bilinear.values, expected, atol=1e-5)
    for layer in (LearnedUpsampling(factor, kernel), DenseUpsampling(factor, kernel)):
        y, _ = jax.jit(layer.init_with_output)(jax.random.key(0), x)
        np.testing.assert_allclose(y.values, bilinear.values, atol=1e-5)
        assert y.grid == bilinear.grid


class Softened(BilinearUpsampling):
    """A layer of a user's, with a field of its own."""

    share_of_zero: float = 0.0

    def enlarge(self, values, weights, rows, columns):
        return super().enlarge(values, weights, rows, columns) * (1 - self.share_of_zero)


def test_a_layer_keeps_its_own_fields():
    x, plain = FeatureMap(draw(1, 3, 4, 2)), BilinearUpsampling(2, 4)
    layer = Softened(2, 4, share_of_zero=0.75, name="upscore")
    expected = compiled(plain)({}, x).values / 4
    np.testing.assert_allclose(compiled(layer)({}, x).values, expected, rtol=1e-6)
    coarse: Any = layer.apply({}, x, 1, (5, 6), None, method="without_upsampling")
    np.testing.assert_allclose(coarse.dense(), expected[:, 1:6, 1:7], rtol=1e-6)
    other: Any = Softened(2, 4).apply({}, x, 1, (5, 6), None, method="without_upsampling")
    with pytest.raises(ValueError, match="upsamplings differ"):
        CoarseScores.mean([coarse, other])


def test_upsampling_alone_is_abstract():
    with pytest.raises(NotImplementedError):
        Upsampling(2, 4).apply({}, FeatureMap(draw(1, 2, 2, 1)))


@pytest.mark.parametrize("layer", [BilinearUpsampling(8, 16), NormalizedUpsampling(8, 16)])
def test_a_ramp_upsamples_to_a_ramp(layer):
    """Cell i holds the image coordinate under it; so must every cell of the result, inside."""
    grid = Grid(Fraction(8), Fraction(3))
    centres = float(grid.offset) + 8 * np.arange(6, dtype=np.float32)
    values = np.stack(np.broadcast_arrays(centres[:, None], centres[None, :]), -1)[None]
    y = compiled(layer)({}, FeatureMap(jnp.asarray(values), grid=grid))
    at = float(y.grid.offset) + np.arange(y.shape[0])
    inside = (at >= centres[0]) & (at <= centres[-1])
    expected = np.stack(np.broadcast_arrays(at[:, None], at[None, :]), -1)
    found = np.asarray(y.values[0])
    np.testing.assert_allclose(found[inside][:, inside], expected[inside][:, inside], rtol=1e-5)


def test_border_factors_of_32s_at_500_pixels():
    """Caffe's taps sum to less than one near the borders."""
    up = compiled(BilinearUpsampling(32, 64))({}, FeatureMap(jnp.ones((1, 16, 16, 1))))
    share = np.asarray(up.values)[0, 19 : 19 + 500, 300, 0]
    assert share[0] == pytest.approx(0.609, abs=5e-4)
    assert share[499] == pytest.approx(0.797, abs=5e-4)
    assert share[12] < 1 and share[13] == share[14] == 1


@pytest.mark.parametrize("factor, kernel", [(2, 4), (4, 7)])
def test_normalized_upsampling_of_a_constant_is_constant(factor, kernel):
    sizes = jnp.array([[5, 4], [1, 1], [2, 3]], jnp.int32)
    x = FeatureMap(jnp.full((3, 5, 4, 2), 3.0), sizes).masked()
    apply = compiled(NormalizedUpsampling(factor, kernel))
    y = apply({}, x)
    expected = np.broadcast_to(np.where(y.inside(), 3.0, 0.0), y.values.shape)
    np.testing.assert_allclose(y.values, expected, rtol=1e-6)
    alone = apply({}, FeatureMap(jnp.full((1, 2, 3, 1), 3.0)))
    np.testing.assert_allclose(alone.values, 3.0, rtol=1e-6)
