import functools
from fractions import Fraction

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from naive import compiled, draw

import fcn_jax as fcn
from fcn_jax.nets.explain import explain
from fcn_jax.nn.feature_map import FeatureMap, Grid
from fcn_jax.nn.layers import (
    AveragePool,
    BatchNorm,
    Conv,
    Dropout,
    GlobalMean,
    MaxPool,
    Scale,
    Sum,
    concat,
)
from fcn_jax.nn.upsampling import (
    BilinearUpsampling,
    DenseUpsampling,
    LearnedUpsampling,
    NormalizedUpsampling,
)


def naive_conv(x, kernel, bias, stride, padding, groups):
    """Cross-correlation with groups, as Caffe's; `kernel` is `(k, k, c_in / groups, c_out)`."""
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0))).astype(np.float64)
    k, per_in, out = kernel.shape[0], kernel.shape[2], kernel.shape[3]
    per_out = out // groups
    h, w = ((n - k) // stride + 1 for n in x.shape[1:3])
    y = np.zeros((x.shape[0], h, w, out))
    for i, j, o in np.ndindex(h, w, out):
        group = o // per_out
        window = x[:, stride * i :, stride * j :, group * per_in : (group + 1) * per_in]
        y[:, i, j, o] = np.einsum("bklc,klc->b", window[:, :k, :k], kernel[..., o])
    return y + bias


@pytest.mark.parametrize(
    "kernel, stride, padding, ring, groups",
    [(3, 1, 1, 0, 1), (3, 1, 1, 2, 1), (3, 2, 0, 0, 2), (2, 3, 1, 0, 4), (1, 1, 0, 0, 2)],
)
def test_conv_is_the_naive_one(kernel, stride, padding, ring, groups):
    x = FeatureMap(draw(2, 5, 6, 4), ring=ring)
    layer = Conv(8, kernel, stride=stride, padding=padding, groups=groups, name="conv")
    weights = {"kernel": draw(kernel, kernel, 4 // groups, 8, seed=1), "bias": draw(8, seed=2)}
    y = compiled(layer)({"params": weights}, x)
    expected = naive_conv(
        x.values, weights["kernel"], weights["bias"], stride, padding + ring, groups
    )
    np.testing.assert_allclose(y.values, expected, atol=1e-5)
    assert (y.ring, y.name) == (0, "conv")
    assert y.grid == Grid().window(kernel, stride, padding + ring)


def test_conv_fits_or_says_so():
    layer = Conv(1, 7, name="fc6")
    small = FeatureMap(draw(1, 6, 9, 1), name="pool5")
    init = functools.partial(jax.eval_shape, layer.init_with_output, jax.random.key(0))
    with pytest.raises(ValueError, match="fc6: a 7x7 kernel with padding 0.*pool5, which is 6x9"):
        init(small)
    assert init(small.replace(ring=1))[0].shape == (2, 5)


def test_conv_starts_as_it_should():
    x, key = FeatureMap(draw(1, 4, 4, 32)), jax.random.key(0, impl="rbg")
    zero = jax.jit(Conv(9, 1, zero_init=True).init)(key, x)["params"]
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(zero))
    he = jax.jit(Conv(64, 3).init)(key, x)["params"]
    assert not np.any(he["bias"])
    assert np.std(he["kernel"]) == pytest.approx(np.sqrt(2 / (9 * 32)), rel=0.02)


def test_relu_and_no_bias():
    x, kernel = FeatureMap(draw(1, 3, 3, 2)), draw(1, 1, 2, 4, seed=1)
    layer = Conv(4, 1, relu=True, use_bias=False)
    assert set(jax.eval_shape(layer.init, jax.random.key(0), x)["params"]) == {"kernel"}
    plain = np.einsum("bhwc,cd->bhwd", x.values, kernel[0, 0])
    assert plain.min() < 0
    found = compiled(layer)({"params": {"kernel": kernel}}, x).values
    np.testing.assert_allclose(found, np.maximum(plain, 0), atol=1e-6)


@pytest.mark.parametrize(
    "layer",
    [
        Conv(3, 3, padding=1),
        Conv(3, 3, stride=2, padding=2),
        MaxPool(2, 2),
        MaxPool(3, 2, padding=1),
        AveragePool(1),
        GlobalMean(),
        BilinearUpsampling(2, 4),
        NormalizedUpsampling(4, 7),
        LearnedUpsampling(2, 4),
        DenseUpsampling(3, 5),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_a_layer_does_the_same_on_a_canvas_as_alone(layer):
    sizes = [(5, 6), (1, 1), (3, 4)]
    values = draw(3, 5, 6, 2)
    x = FeatureMap(values, jnp.array(sizes, jnp.int32)).masked()
    variables = jax.eval_shape(layer.init, jax.random.key(0), x)
    variables = jax.tree.map(lambda leaf: draw(*leaf.shape, seed=leaf.size), variables)
    apply = compiled(layer)
    y = apply(variables, x)
    for b, (h, w) in enumerate(sizes):
        alone = apply(variables, FeatureMap(values[b : b + 1, :h, :w])).values[0]
        rows, columns = alone.shape[:2]
        np.testing.assert_array_equal(y.size[b], [rows, columns])
        np.testing.assert_allclose(y.values[b, :rows, :columns], alone, atol=1e-5)
        outside = np.array(y.values[b])
        outside[:rows, :columns] = 0
        assert not outside.any()


def test_batch_norm_sees_the_true_extents_only():
    values, sizes = draw(2, 4, 5, 3), np.array([[4, 3], [2, 5]])
    x = FeatureMap(values, jnp.asarray(sizes, jnp.int32))
    layer = BatchNorm(momentum=0.9)
    one, zero = jnp.ones(3), jnp.zeros(3)
    variables = {
        "params": {"norm": {"scale": one, "bias": zero}},
        "batch_stats": {"norm": {"mean": zero, "var": one}},
    }
    train = functools.partial(layer.apply, train=True, mutable=["batch_stats"])
    y, changed = jax.jit(train)(variables, x)
    seen = np.concatenate([values[b, :h, :w].reshape(-1, 3) for b, (h, w) in enumerate(sizes)])
    mean, var = seen.mean(0), seen.var(0)
    stats = changed["batch_stats"]["norm"]
    np.testing.assert_allclose(stats["mean"], 0.1 * mean, atol=1e-6)
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * var, rtol=1e-5)
    expected = (values - mean) / np.sqrt(var + 1e-5)
    np.testing.assert_allclose(y.values, np.where(x.inside(), expected, 0), atol=1e-5)
    evaluate = jax.jit(functools.partial(layer.apply, train=False))
    frozen = evaluate({**variables, **changed}, x)
    expected = (values - stats["mean"]) / np.sqrt(stats["var"] + 1e-5)
    np.testing.assert_allclose(frozen.values, np.where(x.inside(), expected, 0), atol=1e-5)


def test_dropout_drops_and_rescales_or_does_nothing():
    x = FeatureMap(jnp.ones((1, 40, 40, 4)))
    layer = Dropout(0.25)
    np.testing.assert_array_equal(layer.apply({}, x, train=False).values, x.values)
    drop = jax.jit(lambda x, key: layer.apply({}, x, train=True, rngs={"dropout": key}))
    y = drop(x, jax.random.key(0, impl="rbg")).values
    np.testing.assert_allclose(np.unique(y), [0, 1 / 0.75], rtol=1e-6)
    assert float((y == 0).mean()) == pytest.approx(0.25, abs=0.03)


def test_average_pool_is_the_mean_of_each_window():
    x = draw(1, 4, 5, 2)
    y = AveragePool(3).apply({}, FeatureMap(x))
    assert y.shape == (2, 3)
    np.testing.assert_allclose(y.values[0, 1, 2], x[0, 1:4, 2:5].mean((0, 1)), atol=1e-6)
    with pytest.raises(ValueError, match=r"pool: conv10 is \(2, 3\), smaller than the 3x3"):
        AveragePool(3, name="pool").apply({}, FeatureMap(draw(1, 2, 3, 1), name="conv10"))


def test_sum_adds_the_cells_that_lie_on_each_other():
    a = FeatureMap(draw(1, 4, 5, 2), grid=Grid(offset=Fraction(-2), field=Fraction(9)), name="a")
    b = FeatureMap(draw(1, 3, 3, 2, seed=1), grid=Grid(field=Fraction(3)), name="b")
    for first, second in ((a, b), (b, a)):
        y = Sum().apply({}, first, second)
        np.testing.assert_allclose(y.values, a.values[:, 2:, 2:] + b.values[:, :2], rtol=1e-6)
        assert (y.grid.offset, y.grid.field) == (0, 9)


def test_scale_and_concat():
    x = FeatureMap(draw(1, 2, 3, 2), name="pool4")
    scaled = Scale(0.01, name="scale_pool4").apply({}, x)
    np.testing.assert_allclose(scaled.values, x.values * 0.01)
    wide = x.replace(grid=Grid(field=Fraction(3)))
    both = concat([x, wide])
    np.testing.assert_array_equal(both.values, np.concatenate([x.values, x.values], -1))
    assert both.grid.field == 3
    with pytest.raises(ValueError, match="pool4.*shifted.*between two cells"):
        concat([x, x.replace(grid=Grid(offset=Fraction(1, 2)), name="shifted")])
    with pytest.raises(ValueError, match="pool4.*coarse.*strides are 1 and 2"):
        concat([x, x.replace(grid=Grid(stride=Fraction(2)), name="coarse")])


def test_concat_takes_the_cells_that_all_maps_have():
    """As `Sum`, and for any number of maps; the images' own sizes are cut as the canvases are."""
    sizes = (4, 6), (5, 8), (4, 3)
    shapes, offsets = ((4, 6), (6, 9), (4, 4)), (0, -2, 1)
    maps = [
        FeatureMap(
            draw(1, *shape, 2, seed=i),
            jnp.asarray([size]),
            grid=Grid(offset=Fraction(offset), field=Fraction(2 * i + 3)),
            name=f"map{i}",
        ).masked()
        for i, (shape, size, offset) in enumerate(zip(shapes, sizes, offsets, strict=True))
    ]
    found = concat(maps)
    starts = (1, 3, 0)  # image pixel 1
    cut = [m.values[:, o : o + 3, o : o + 4] for m, o in zip(maps, starts, strict=True)]
    np.testing.assert_array_equal(found.size, [[2, 3]])
    expected = np.zeros((1, 3, 4, 6))
    expected[:, :2, :3] = np.concatenate(cut, -1)[:, :2, :3]
    np.testing.assert_array_equal(found.values, expected)
    assert (found.grid, found.name) == (Grid(offset=Fraction(1), field=Fraction(7)), "map0")
    for one, other in ((maps[0], maps[1]), (maps[2], maps[0])):
        pair, total = concat([one, other]), Sum().apply({}, one, other)
        np.testing.assert_array_equal(pair.values[..., :2] + pair.values[..., 2:], total.values)
        np.testing.assert_array_equal(pair.size, total.size)
        assert pair.grid == total.grid


class Branches(nn.Module):
    """A trunk whose branches lie on one grid and differ in length: by rounding, and by padding."""

    wide: bool

    @nn.compact
    def __call__(self, x, *, train):
        branches = [Conv(2, 3, stride=2, name="half")(x), MaxPool(3, 2, name="pool")(x)]
        if self.wide:
            branches.append(Conv(3, 5, stride=2, padding=3, name="wide")(x))
        return {"all": concat(branches)}


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("canvas", [(7, 9), (8, 11)])
def test_concat_does_the_same_on_a_canvas_as_alone(canvas, wide):
    """Pools round up and convolutions down: on 7x9 cells both are equal, but not on 6x9."""
    net, sizes = Branches(wide), [canvas, (6, 9), (7, 4)]
    values = draw(3, *canvas, 2)
    x = FeatureMap(values, jnp.array(sizes, jnp.int32)).masked()
    variables = net.init(jax.random.key(0), x, train=False)
    variables = jax.tree.map(lambda leaf: draw(*leaf.shape, seed=leaf.size), variables)
    apply = jax.jit(lambda variables, x: net.apply(variables, x, train=False)["all"])
    y = apply(variables, x)
    for b, (h, w) in enumerate(sizes):
        alone = apply(variables, FeatureMap(values[b : b + 1, :h, :w]))
        np.testing.assert_array_equal(y.size[b], alone.shape)
        rows, columns = alone.shape
        np.testing.assert_allclose(y.values[b, :rows, :columns], alone.values[0], atol=1e-5)
        outside = np.array(y.values[b])
        outside[:rows, :columns] = 0
        assert not outside.any()
        assert alone.grid == y.grid


def test_explain_shows_where_concat_crops():
    rows = explain(fcn.FCN(Branches(wide=True), 2), 7, 9)
    assert [(row.name, row.crop) for row in rows if row.crop is not None][0] == ("widec", 1)


def test_maps_of_one_name_can_be_added():
    """A stem and a residual block may both end in a layer `bn`."""

    class Residual(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Sum(name="sum")(BatchNorm(name="bn")(x, train=False), x.replace(name="bn"))

    x = FeatureMap(draw(1, 4, 5, 2), name="bn")
    y, _ = Residual().init_with_output(jax.random.key(0), x)
    np.testing.assert_allclose(y.values, 2 * x.values, rtol=1e-4)


def test_the_receptive_field_is_what_the_grid_says(random_variables):
    """pool3 of VGG16 with positive weights: no path to a cell is ever switched off."""
    trunk = fcn.VGG16(width=1 / 32, aligned=True)
    params = jax.tree.map(jnp.abs, random_variables(fcn.FCN32s(trunk, 1))["params"]["trunk"])
    names = ("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv3_3")

    @jax.jit
    def pool3(image):
        x = FeatureMap(image)
        for name in names:
            layer = Conv(params[name]["bias"].size, 3, padding=1, relu=True)
            x = layer.apply({"params": params[name]}, x)
            if name in ("conv1_2", "conv2_2", "conv3_3"):
                x = MaxPool(2, 2).apply({}, x)
        return x

    image = np.random.default_rng(0).uniform(0, 1, (1, 48, 64, 3)).astype(np.float32)
    before = pool3(image)
    grid = before.grid
    assert (grid.stride, grid.field) == (8, 44)
    for at in ((0, 0), (3, 2), (5, 7)):
        low = [int(grid.offset + 8 * i - Fraction(43, 2)) for i in at]
        high = [int(grid.offset + 8 * i + Fraction(43, 2)) for i in at]
        inside = np.zeros((48, 64, 1), bool)
        inside[max(low[0], 0) : high[0] + 1, max(low[1], 0) : high[1] + 1] = True
        elsewhere = pool3(np.where(inside, image, 7 - image))
        np.testing.assert_array_equal(elsewhere.values[0, *at], before.values[0, *at])
        corners = [(r, q) for r in (low[0], high[0]) for q in (low[1], high[1])]
        corners = [(r, q) for r, q in corners if 0 <= r < 48 and 0 <= q < 64]
        assert corners
        for r, q in corners:
            touched = image.copy()
            touched[0, r, q] = 1e12  # so large that it wins every maximum on its way
            after = pool3(touched).values[0, *at]
            assert np.all(after > before.values[0, *at]), (at, r, q)


def test_a_gradient_ends_with_the_receptive_field(random_variables):
    """One pixel of the scores of a whole net; far below the padded ring nothing is reached."""
    net = fcn.FCN8s(fcn.VGG16(width=1 / 64, aligned=True), 1)
    variables = jax.tree.map(jnp.abs, random_variables(net))
    image = np.random.default_rng(0).uniform(0, 1, (1, 8, 640, 3)).astype(np.float32)

    def pixel(image, column):
        return net.apply(variables, image)[0, 3, column, 0]

    gradient = jax.jit(jax.grad(pixel), compiler_options={"xla_backend_optimization_level": 0})
    # fc7 sees 404 pixels, and a score pixel mixes the two coarsest cells around it.
    for column in (5, 320, 635):
        reach = np.abs(np.arange(640) - column) <= (404 + 32) / 2 + 32
        seen = np.asarray(gradient(image, column)[0]).any((0, 2))
        assert not seen[~reach].any()
        assert seen[column]
