from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fcn_jax as fcn
from fcn_jax.nets.fcn import upsampling_kernel
from fcn_jax.nn.feature_map import FeatureMap, Grid, conv_size, overlap, pool_size

GEOMETRIES = {
    "vgg-paper": fcn.FCN8s(fcn.VGG16(width=1 / 64), 2),
    "vgg-aligned": fcn.FCN8s(fcn.VGG16(width=1 / 64, aligned=True), 2),
    "squeezenet-paper": fcn.FCN8s(fcn.SqueezeNet(), 2, skips=("fire8", "fire4")),
    "squeezenet-aligned": fcn.FCN8s(fcn.SqueezeNet(aligned=True), 2, skips=("fire8", "fire4")),
}


def check_sizes(net, rectangles):
    variables = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    for h, w in rectangles:
        image = jax.ShapeDtypeStruct((1, h, w, 3), jnp.float32)
        assert jax.eval_shape(net.apply, variables, image).shape == (1, h, w, 2)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_output_is_as_large_as_the_image(name):
    """Every size up to one period (the stride), and a few beyond."""
    largest = 34 if "vgg" in name else 18
    sizes = [(n, n + 1) for n in range(1, largest, 2)]
    check_sizes(GEOMETRIES[name], [*sizes, (69, 70), (97, 500)])


@pytest.mark.slow
@pytest.mark.parametrize("name", GEOMETRIES)
def test_output_is_as_large_as_the_image_at_every_size(name):
    check_sizes(GEOMETRIES[name], [(n, n + 1) for n in range(1, 140, 2)])


WINDOWS = st.tuples(st.integers(1, 7), st.integers(1, 4), st.integers(0, 3))


@given(st.lists(WINDOWS, max_size=5))
def test_a_grid_is_where_the_window_centres_are(windows):
    """Follows the first and last pixel of cell 0's field through the layers, by hand."""
    grid, low, high, step = Grid(), 0, 0, 1
    for kernel, stride, padding in windows:
        grid = grid.window(kernel, stride, padding)
        low, high = low - step * padding, high + step * (kernel - 1 - padding)
        step *= stride
    assert grid.stride == step
    assert grid.offset == Fraction(low + high, 2)
    assert grid.field == high - low + 1


@given(st.integers(1, 5), st.integers(1, 9), st.integers(0, 4))
def test_a_transposed_window_undoes_a_window(stride, kernel, start):
    there = Grid().window(kernel, stride, 0)
    back = there.transposed(kernel, stride)
    assert (back.stride, back.offset) == (1, 0)
    assert back.cropped(start).offset == start
    assert back.index_of(back.cropped(start)) == start


SIZES = (st.integers(1, 40), st.integers(1, 5), st.integers(1, 4), st.integers(0, 2))


@given(*SIZES)
def test_conv_size_counts_the_windows_that_fit(n, kernel, stride, padding):
    fits = [s for s in range(-padding, n + padding, stride) if s + kernel <= n + padding]
    assert max(conv_size(n, kernel, stride, padding), 0) == len(fits)


@given(*SIZES)
def test_pool_size_covers_the_map_with_windows_that_start_inside(n, kernel, stride, padding):
    padding = min(padding, kernel - 1)
    out = pool_size(n, kernel, stride, padding)
    last = (out - 1) * stride - padding
    assert out == 1 or last < n  # starts inside the map, or the left padding
    if stride <= kernel:
        assert last + kernel >= n  # nothing is left over on the right
    assert out == 1 or last - stride + kernel < n + padding  # the one before did not suffice
    assert int(pool_size(np.int32([n]), kernel, stride, padding)[0]) == out


def blank(shape, grid, name, size=None):
    return FeatureMap(jnp.zeros((1, *shape, 1)), size, grid=grid, name=name)


def test_overlap_names_both_layers():
    a = blank((4, 4), Grid(Fraction(2)), "pool1")
    with pytest.raises(ValueError, match="pool1 and up.*strides are 2 and 4.*upsample"):
        overlap(a, blank((4, 4), Grid(Fraction(4)), "up"))
    with pytest.raises(ValueError, match="pool1 and up.*index 1/2 of pool1, between two cells"):
        overlap(a, blank((4, 4), Grid(Fraction(2), Fraction(1)), "up"))
    with pytest.raises(ValueError, match=r"pool1 \(4, 4\) and up \(4, 4\) have no cell in common"):
        overlap(a, blank((4, 4), Grid(Fraction(2), Fraction(8)), "up"))


@given(st.integers(-3, 3), st.integers(4, 9), st.integers(4, 9))
def test_overlap_is_the_cells_at_the_same_pixels(index, m, n):
    a = blank((m, m), Grid(Fraction(2)), "a", jnp.array([[m, m - 1]], jnp.int32))
    b = blank((n, n), Grid(Fraction(2), Fraction(2 * index)), "b", jnp.array([[n, n]], jnp.int32))
    shared = overlap(a, b)
    both = [2 * i for i in range(m) if index <= i < index + n]
    assert 2 * shared.starts[0] == 2 * shared.starts[1] + 2 * index == both[0]
    assert shared.shape == (len(both), len(both))
    columns = [i for i in range(m - 1) if index <= i < index + n]
    np.testing.assert_array_equal(shared.size, [[len(both), len(columns)]])


def test_overlap_of_several_maps():
    """Each shares cells with its neighbours; cells 2 and 3 of `a` belong to all three."""
    a = blank((4, 6), Grid(field=Fraction(5)), "a", jnp.array([[4, 6]]))
    b = blank((6, 9), Grid(offset=Fraction(-2), field=Fraction(7)), "b", jnp.array([[5, 9]]))
    c = blank((9, 2), Grid(offset=Fraction(2), field=Fraction(3)), "c", jnp.array([[9, 2]]))
    shared = overlap(a, b, c)
    assert (shared.starts, shared.shape) == ((2, 4, 0), (2, 2))
    assert shared.grid == Grid(offset=Fraction(2), field=Fraction(7))
    np.testing.assert_array_equal(shared.size, [[1, 2]])
    assert overlap(a, b, c.replace(size=None)).size is None
    beyond = blank((4, 4), Grid(offset=Fraction(6)), "beyond")
    with pytest.raises(ValueError, match="a .* c .* beyond .*no cell in common.*0, 2, 6 of a"):
        overlap(a, c, beyond)


def test_alexnet_s_63_where_64_falls_between_the_cells():
    grid = Grid()
    for window in ((11, 4, 100), (3, 2, 0), (5, 1, 2), (3, 2, 0)):
        grid = grid.window(*window)
    for window in ((3, 1, 1), (3, 1, 1), (3, 1, 1), (3, 2, 0), (6, 1, 0), (1, 1, 0)):
        grid = grid.window(*window)
    assert (grid.field, grid.stride) == (355, 32)
    coarse, image = blank((16, 16), grid, "score_fr"), blank((500, 500), Grid(), "image")
    assert upsampling_kernel(coarse, image) == (32, 63)
    up = blank((543, 543), grid.transposed(63, 32), "upscore")
    assert overlap(up, image).starts == (18, 0)


def test_googlenet_s_crop_is_its_padding_less_2():
    grid = Grid()
    for window in ((7, 2, 3), (3, 2, 0), (3, 1, 1), (3, 2, 0), (3, 2, 0), (3, 2, 0)):
        grid = grid.window(*window)
    coarse, image = blank((9, 9), grid, "5b"), blank((200, 200), Grid(), "image")
    assert upsampling_kernel(coarse, image) == (32, 63)
    assert grid.transposed(63, 32).index_of(Grid()) == 1


def test_upsampling_kernel_refuses_what_cannot_line_up():
    image = blank((9, 9), Grid(), "image")
    with pytest.raises(ValueError, match=r"odd \(stride 3/2\).*image \(stride 1\).*multiples"):
        upsampling_kernel(blank((4, 4), Grid(Fraction(3, 2)), "odd"), image)
    with pytest.raises(ValueError, match="third .*1/3.* cannot be brought onto image"):
        upsampling_kernel(blank((4, 4), Grid(Fraction(2), Fraction(1, 3)), "third"), image)


def test_masked_zeroes_outside_each_image():
    ones = jnp.ones((2, 3, 4, 2))
    x = FeatureMap(ones, jnp.array([[2, 3], [3, 1]], jnp.int32)).masked(-7.0)
    assert x.shape == (3, 4) and x.channels == 2
    for b, (h, w) in enumerate(((2, 3), (3, 1))):
        expected = np.full((3, 4, 2), -7.0)
        expected[:h, :w] = 1
        np.testing.assert_array_equal(x.values[b], expected)
    whole = FeatureMap(ones)
    assert whole.masked() is whole


def test_new_values_may_be_negative():
    x = FeatureMap(jnp.ones((1, 2, 2, 1)), jnp.array([[1, 2]]), nonnegative=True)
    assert x.replace(name="x").nonnegative and x.masked().nonnegative
    assert not x.replace(values=-x.values).nonnegative and not x.masked(-1.0).nonnegative
