"""The layers that newer nets are made of, against plain numpy in float64.

Each is compared for a plain map and for a canvas with images of several sizes: values, sizes, zeros
outside, and the derivative along a random direction, of the input and of the parameters.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from fcn_jax.nn import ops
from fcn_jax.nn.activations import gelu, hard_sigmoid, hard_swish, relu6
from fcn_jax.nn.feature_map import WHOLE_IMAGE, FeatureMap, Grid
from fcn_jax.nn.layers import BatchNorm, Conv, MaxPool, SqueezeExcite
from fcn_jax.nn.normalization import LayerNorm, LayerScale
from fcn_jax.nn.pooling import AdaptivePool, GlobalMean, global_mean

CANVAS, SIZES = (9, 11), ((7, 5), (9, 11), (2, 8))
CHANNELS = 4


def conv(stride=1, padding=(0, 0), dilation=1, groups=1):
    """Cross-correlation of (h, w, c) images, tap by tap."""

    def reference(params, images):
        kernel, results = params["kernel"], []
        k, _, per_in, out = kernel.shape
        for x in images:
            x = np.pad(x, (padding, padding, (0, 0)))
            h, w = ((n - (k - 1) * dilation - 1) // stride + 1 for n in x.shape[:2])
            y = np.zeros((h, w, out)) + params.get("bias", 0)
            for o in range(out):
                first = o // (out // groups) * per_in
                for i, j in np.ndindex(k, k):
                    rows = x[i * dilation :: stride][:h, j * dilation :: stride][:, :w]
                    y[..., o] += rows[..., first : first + per_in] @ kernel[i, j, :, o]
            results.append(y)
        return results

    return reference


def max_pool(k, stride, padding):
    """Floor mode: complete windows only, counted with the padding."""

    def one(x):
        x = np.pad(x, ((padding, padding), (padding, padding), (0, 0)), constant_values=-np.inf)
        h, w = ((n - k) // stride + 1 for n in x.shape[:2])
        windows = [[x[i * stride :, j * stride :][:k, :k] for j in range(w)] for i in range(h)]
        return np.array([[window.max((0, 1)) for window in row] for row in windows])

    return lambda params, images: [one(x) for x in images]


def cell_by_cell(function):
    return lambda params, images: [function(params, x) for x in images]


def batch_norm(epsilon):
    def reference(params, images):
        cells = np.concatenate([x.reshape(-1, CHANNELS) for x in images])
        mean, var = cells.mean(0), cells.var(0)
        norm = params["norm"]
        factor = norm["scale"] / np.sqrt(var + epsilon)
        return [(x - mean) * factor + norm["bias"] for x in images]

    return reference


def layer_norm(params, x):
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-6) * params["scale"] + params["bias"]


def hard(x):
    return np.clip(x + 3, 0, 6) / 6


def squeeze_excite(params, x):
    one, two = params["fc1"], params["fc2"]
    y = np.maximum(x.mean((0, 1)) @ one["kernel"][0, 0] + one["bias"], 0)
    return x * hard(y @ two["kernel"][0, 0] + two["bias"])


def adaptive(bins):
    def one(params, x):
        def part(i, n):
            return slice(i * n // bins, -(-(i + 1) * n // bins))

        h, w = x.shape[:2]
        parts = [[x[part(i, h), part(j, w)] for j in range(bins)] for i in range(bins)]
        return np.array([[p.mean((0, 1)) for p in row] for row in parts])

    return cell_by_cell(one)


class Function(nn.Module):
    """A layer without parameters."""

    function: Callable[[FeatureMap], FeatureMap]

    def __call__(self, x):
        return self.function(x)


@dataclasses.dataclass(frozen=True)
class Case:
    """A layer, what it computes, and its grid on pixels: stride, offset, field."""

    layer: nn.Module
    reference: Any
    grid: tuple[float, float, float] = (1, 0, 1)
    positive: bool = False  # the input is not below zero, as after a ReLU
    call: dict = dataclasses.field(default_factory=dict)


def conv_case(k, stride=1, low=0, high=0, dilation=1, groups=1, features=CHANNELS, **fields):
    padding = low if low == high else (low, high)
    reach = (k - 1) * dilation + 1
    layer = Conv(
        features, k, stride, padding, groups=groups, dilation=dilation, name="conv", **fields
    )
    grid = (stride, (reach - 1) / 2 - low, reach)
    return Case(layer, conv(stride, (low, high), dilation, groups), grid)


CASES = {
    "dilated": conv_case(3, low=2, high=2, dilation=2, features=6),
    "dilated, strided, grouped": conv_case(3, 2, 3, 3, dilation=3, groups=2),
    "uneven": conv_case(3, 2, 0, 1, features=5),
    "uneven, even kernel": conv_case(2, 1, 0, 1),
    "patches that drop a remainder": conv_case(2, 2),
    "depthwise": conv_case(3, low=1, high=1, groups=CHANNELS),
    "depthwise, large, without bias": conv_case(7, 1, 3, 3, groups=CHANNELS, use_bias=False),
    "depthwise, uneven": conv_case(5, 2, 1, 2, groups=CHANNELS),
    "depthwise, dilated": conv_case(5, low=4, high=4, dilation=2, groups=CHANNELS),
    "max pool": Case(MaxPool(3, 2, 1, ceil_mode=False), max_pool(3, 2, 1), (2, 0, 3)),
    "max pool after a ReLU": Case(
        MaxPool(2, 2, ceil_mode=False), max_pool(2, 2, 0), (2, 0.5, 2), positive=True
    ),
    "batch norm": Case(
        BatchNorm(0.99, 1e-3, unbiased=True), batch_norm(1e-3), call={"train": True}
    ),
    "layer norm": Case(LayerNorm(), cell_by_cell(layer_norm)),
    "layer scale": Case(LayerScale(), cell_by_cell(lambda params, x: x * params["scale"])),
    "gelu": Case(Function(gelu), cell_by_cell(lambda _, x: x * (1 + erf(x / np.sqrt(2))) / 2)),
    "hard swish": Case(Function(hard_swish), cell_by_cell(lambda _, x: x * hard(x))),
    "hard sigmoid": Case(Function(hard_sigmoid), cell_by_cell(lambda _, x: hard(x))),
    "relu6": Case(Function(relu6), cell_by_cell(lambda _, x: np.clip(x, 0, 6))),
    "squeeze and excite": Case(SqueezeExcite(3), cell_by_cell(squeeze_excite), (1, 0, WHOLE_IMAGE)),
    "adaptive pool": Case(AdaptivePool(3), adaptive(3), (1, 0, WHOLE_IMAGE)),
    "adaptive pool, more bins than cells": Case(AdaptivePool(6), adaptive(6), (1, 0, WHOLE_IMAGE)),
    "global mean": Case(
        GlobalMean(),
        cell_by_cell(lambda _, x: np.broadcast_to(x.mean((0, 1)), x.shape)),
        (1, 0, WHOLE_IMAGE),
    ),
    "the mean alone": Case(
        Function(global_mean),
        cell_by_cell(lambda _, x: x.mean((0, 1), keepdims=True)),
        (1, 0, WHOLE_IMAGE),
    ),
}


def filled(tree, rng):
    """Random arrays in the shapes of a tree; around 1 for scales."""
    return jax.tree.map(lambda leaf: rng.normal(0.3, 1, leaf.shape).astype(np.float32), tree)


def in_float64(tree):
    return jax.tree.map(np.float64, tree)


def images_of(values, sizes):
    return [np.float64(x[:h, :w]) for x, (h, w) in zip(values, sizes, strict=True)]


def moved(tree, direction, step):
    return jax.tree.map(lambda a, d: a + step * d, in_float64(tree), in_float64(direction))


@pytest.mark.parametrize("sizes", [None, SIZES], ids=["plain", "ragged"])
@pytest.mark.parametrize("name", CASES)
def test_a_layer_is_the_plain_one(name, sizes):
    case, rng = CASES[name], np.random.default_rng(0)
    # Four times as wide as the kinks of hard-swish and ReLU6 are.
    x = rng.normal(0, 4, (3, *CANVAS, CHANNELS)).astype(np.float32)
    x = np.abs(x) if case.positive else x
    size = None if sizes is None else jnp.array(sizes, jnp.int32)
    sizes = sizes or (CANVAS,) * 3

    def apply(params, x):
        given = FeatureMap(x, size, nonnegative=case.positive).masked()
        variables = {"params": params, **stats}
        return case.layer.apply(variables, given, mutable=["batch_stats"], **case.call)[0]

    given = FeatureMap(jax.ShapeDtypeStruct((3, *CANVAS, CHANNELS), jnp.float32))
    init = functools.partial(case.layer.init, **case.call)
    shapes = jax.eval_shape(init, jax.random.key(0), given)
    params = filled(shapes.get("params", {}), rng)
    # Not used in training.
    stats = {k: filled(tree, rng) for k, tree in shapes.items() if k == "batch_stats"}
    result = jax.eval_shape(apply, params, x)
    weights = rng.normal(size=result.values.shape).astype(np.float32)

    def objective(params, x):
        y = apply(params, x)
        return jnp.sum(y.values * weights), y

    run = jax.value_and_grad(objective, (0, 1), has_aux=True)
    compiled = jax.jit(run, compiler_options={"xla_backend_optimization_level": 0})
    (_, y), gradients = compiled(params, x)
    expected = case.reference(in_float64(params), images_of(x, sizes))
    check_values(y, expected, size is not None)
    grid = y.grid
    assert (float(grid.stride), float(grid.offset), float(grid.field)) == case.grid

    def along(step, directions):
        """The reference's objective, some way along a direction."""
        new_params, new_x = moved((params, x), directions, step)
        results = case.reference(new_params, images_of(new_x, sizes))
        return sum(
            np.sum(r * np.float64(w[: len(r), : r.shape[1]]))
            for r, w in zip(results, weights, strict=True)
        )

    for part in range(2):  # of the parameters, of the input
        directions = [jax.tree.map(np.zeros_like, params), np.zeros_like(x)]
        directions[part] = filled((params, x)[part], rng)
        slope = (along(1e-6, tuple(directions)) - along(-1e-6, tuple(directions))) / 2e-6
        pairs = zip(*map(jax.tree.leaves, (gradients[part], directions[part])), strict=True)
        found = [np.float64(g) * d for g, d in pairs]
        scale = sum(np.abs(f).sum() for f in found) + 1e-30
        assert abs(sum(f.sum() for f in found) - slope) < 1e-5 * scale, part


def check_values(y, expected, ragged):
    """Values, sizes, and zeros outside."""
    for b, image in enumerate(expected):
        h, w = image.shape[:2]
        found = np.array(y.values[b])
        np.testing.assert_allclose(found[:h, :w], image, rtol=1e-5, atol=1e-5 * np.abs(image).max())
        found[:h, :w] = 0
        assert not found.any()
        if y.size is not None:
            assert tuple(y.size[b]) == (h, w)
        else:
            assert not ragged or len({image.shape for image in expected}) == 1


def test_the_derivative_is_zero_outside_an_image():
    """What lies on the canvas beside an image never counts, not even in a mean."""
    x, size = jnp.ones((1, *CANVAS, CHANNELS)), jnp.array([[7, 5]])
    layer = SqueezeExcite(3)

    @jax.jit
    def gradient_of(key):
        variables = layer.init(key, FeatureMap(x))
        return jax.grad(
            lambda x: jnp.sum(layer.apply(variables, FeatureMap(x, size).masked()).values)
        )(x)

    gradient = np.array(gradient_of(jax.random.key(0)))
    assert gradient[0, :7, :5].any()
    gradient[0, :7, :5] = 0
    assert not gradient.any()


@pytest.mark.parametrize("unbiased", [False, True])
def test_running_statistics_of_a_batch_norm(unbiased):
    """Kept 3/4, and a quarter of the new; unbiased as torch, over true cells only."""
    x = np.random.default_rng(0).normal(2, 3, (3, *CANVAS, 2)).astype(np.float32)
    layer = BatchNorm(0.75, unbiased=unbiased)
    start = {"batch_stats": {"norm": {"mean": jnp.array([1.0, -1]), "var": jnp.array([2.0, 3])}}}
    params = {"norm": {"scale": jnp.ones(2), "bias": jnp.zeros(2)}}

    @jax.jit
    def run(x):
        given, variables = FeatureMap(x, jnp.array(SIZES)).masked(), {"params": params, **start}
        used = BatchNorm(epsilon=0.5).apply(variables, given, train=False)
        return layer.apply(variables, given, train=True, mutable=["batch_stats"])[1], used

    changed, y = run(x)
    cells = np.concatenate([image.reshape(-1, 2) for image in images_of(x, SIZES)])
    found = changed["batch_stats"]["norm"]
    expected = 0.75 * np.array([1, -1]) + 0.25 * cells.mean(0)
    np.testing.assert_allclose(found["mean"], expected, rtol=1e-5)
    expected = 0.75 * np.array([2, 3]) + 0.25 * cells.var(0, ddof=int(unbiased))
    np.testing.assert_allclose(found["var"], expected, rtol=1e-5)
    # In use, the running statistics and the epsilon.
    expected = (images_of(x, SIZES)[0] - [1, -1]) / np.sqrt(np.array([2, 3]) + 0.5)
    np.testing.assert_allclose(y.values[0, :7, :5], expected, rtol=1e-4, atol=1e-5)


def test_bins_of_65_cells_are_those_of_torch():
    """Source: torch's `adaptive_avg_pool2d`; bins of 6 overlap where 6 does not divide 65."""
    bins = [(0, 11), (10, 22), (21, 33), (32, 44), (43, 55), (54, 65)]
    matrix = np.asarray(ops.averaging_matrix(65, 6))[0]
    for row, (start, end) in zip(matrix, bins, strict=True):
        expected = np.zeros(65)
        expected[start:end] = 1 / (end - start)
        np.testing.assert_allclose(row, expected, rtol=1e-6)


# Some values of torch 2.14.1's `interpolate(x, size=new, mode="bilinear", align_corners=...)` along
# one axis; x is `default_rng(cells).standard_normal(cells, dtype=float32)`.
TORCH = {
    (13, 97, False): {1: 1.782146, 32: 0.05384822, 48: 0.7163384, 69: -0.1267131, 95: 1.21205},
    (13, 97, True): {1: 1.283808, 32: 0.1364246, 48: 0.716338, 69: -0.01306155, 95: 1.326426},
    (9, 65, False): {1: -0.3518046, 21: 0.5684558, 32: -0.2295461, 46: 1.945148, 63: 1.008532},
    (9, 65, True): {1: -0.05042701, 21: 0.4989269, 32: -0.2295461, 46: 1.813061, 63: 0.77521},
    (1, 7, False): {1: 1.729104, 2: 1.729104, 3: 1.729104, 5: 1.729104},
    (1, 7, True): {1: 1.729104, 2: 1.729104, 3: 1.729104, 5: 1.729104},
    (97, 13, False): {1: 0.984394, 4: -0.0190878, 6: -0.5618415, 9: 0.2620436, 11: 1.127495},
    (97, 13, True): {1: -1.943668, 4: 0.9856566, 6: -0.5618415, 9: 0.9626192, 11: -0.5443128},
    (65, 9, False): {1: -0.09953876, 3: 1.260574, 4: -1.824803, 6: 0.540338, 7: 0.5769931},
    (65, 9, True): {1: 2.091589, 3: 0.3027281, 4: -1.824803, 6: -1.313967, 7: 0.2170778},
    (66, 521, False): {1: 1.307349, 173: -0.5707077, 260: -1.193151, 372: 1.980111},
    (66, 521, True): {1: 1.390393, 173: -0.4731344, 260: -1.193151, 372: 2.207118},
}


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def matrices(cells, new, align_corners):
    """Of a map alone, and on a canvas with 5 more cells, and 10 more new ones."""
    found = []
    for more in (0, 5):
        old_n, new_n = jnp.array([[float(cells)]]), jnp.array([[float(new)]])
        target = jnp.arange(new + 2 * more, dtype=jnp.float32)
        source = ops.source_index(target, old_n, new_n, align_corners=align_corners)
        found.append(ops.bilinear_matrix(source, old_n, new_n, cells + more))
    return found


@pytest.mark.parametrize(("cells", "new", "align_corners"), TORCH)
def test_bilinear_interpolation_is_that_of_torch(cells, new, align_corners):
    matrix, larger = map(np.array, matrices(cells, new, align_corners))
    np.testing.assert_array_equal(larger[0, :new, :cells], matrix[0])
    larger[0, :new, :cells] = 0
    assert larger.shape == (1, new + 10, cells + 5) and not larger.any()
    x = np.random.default_rng(cells).standard_normal(cells, dtype=np.float32)
    found = matrix[0] @ x
    index = np.arange(new)
    if align_corners:
        place = index * (cells - 1) / (new - 1)
    else:
        place = (index + 0.5) * cells / new - 0.5  # numpy repeats the outermost values too
    expected = np.interp(place, np.arange(cells), x)
    np.testing.assert_allclose(found, expected, atol=4e-5)  # the index is float32
    noted = TORCH[cells, new, align_corners]
    np.testing.assert_allclose([found[i] for i in noted], list(noted.values()), atol=4e-6)


def test_resampling_is_two_matrix_products():
    """Also with a matrix for each image on either axis."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 4, 5, 3)).astype(np.float32)
    for rows, columns in ((1, 1), (2, 2), (1, 2)):
        r, c = (rng.normal(size=s).astype(np.float32) for s in ((rows, 6, 4), (columns, 7, 5)))
        found = ops.resample(jnp.asarray(x), jnp.asarray(r), jnp.asarray(c))
        for b in range(2):
            wide, tall = np.float64(c[b % columns]), np.float64(r[b % rows])
            expected = np.einsum("nh,hwc,mw->nmc", tall, x[b], wide)
            np.testing.assert_allclose(found[b], expected, rtol=1e-4, atol=1e-5)
    assert Grid() == FeatureMap(x).grid
