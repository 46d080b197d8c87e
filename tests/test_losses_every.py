"""What every loss does alike: the formula, void pixels, sizes, dtypes, and the edges."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from naive_losses import CLASSES, DEPTHS, LOSSES, draw, images_of, jit, naive_gradient

from fcn_jax.losses import Softmax, Sum

FULL = ((4, 5), (4, 5), (4, 5))
RAGGED = ((4, 5), (2, 4), (3, 1))
ONE_EMPTY = ((4, 5), (0, 0), (3, 4))
every_loss = pytest.mark.parametrize("name", LOSSES)


@functools.partial(jit, static_argnums=0)
def compiled(loss, scores, labels, sizes):
    return jax.value_and_grad(lambda s: loss(s, labels, sizes=sizes))(scores)


def value_and_grad(name, scores, labels, sizes=FULL):
    """Always of the same shapes, so that each loss is compiled once."""
    loss, _ = LOSSES[name]
    got = compiled(loss, jnp.asarray(scores), jnp.asarray(labels), jnp.asarray(sizes, jnp.int32))
    return np.asarray(got[0]), np.asarray(got[1])


@pytest.mark.parametrize(
    "sizes", [FULL, RAGGED, ONE_EMPTY], ids=["full", "ragged", "an image without pixels"]
)
@every_loss
def test_loss_and_gradient_are_the_formula_over_the_labelled_pixels(name, sizes):
    scores, labels, void = draw(name)
    naive = LOSSES[name][1]
    value, gradient = value_and_grad(name, scores, labels, sizes)
    assert value.dtype == np.float32
    np.testing.assert_allclose(value, naive(images_of(scores, labels, void, sizes)), rtol=1e-5)
    expected = naive_gradient(naive, scores, labels, void, sizes)
    np.testing.assert_allclose(gradient, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("garbage", [3e38, np.nan, np.inf])
@every_loss
def test_void_pixels_have_exactly_no_part(name, garbage):
    if isinstance(LOSSES[name][0], Softmax | Sum) and not np.isfinite(garbage):
        return  # these promise it for finite scores
    scores, labels, void = draw(name)
    outside = np.ones(void.shape, bool)
    for i, (h, w) in enumerate(RAGGED):
        outside[i, :h, :w] = void[i, :h, :w]
    first, _ = value_and_grad(name, scores, labels, RAGGED)
    scores[outside] = garbage
    second, gradient = value_and_grad(name, scores, labels, RAGGED)
    assert np.isfinite(second) and first == second
    assert (gradient[outside] == 0).all() and (gradient[~outside] != 0).any()


@pytest.mark.parametrize("name", ["dice", "lovasz", "focal", "top k", "class weights", "silog"])
def test_an_image_on_a_larger_canvas_is_the_image_alone(name):
    loss, _ = LOSSES[name]
    scores, labels, _ = draw(name)
    one = jnp.asarray(scores[:1, :3, :4]), jnp.asarray(labels[:1, :3, :4])
    alone, expected = jit(jax.value_and_grad(loss))(*one)  # without sizes
    value, gradient = value_and_grad(name, scores, labels, ((3, 4), (0, 0), (0, 0)))
    np.testing.assert_allclose(value, alone, rtol=1e-6)
    np.testing.assert_allclose(gradient[0, :3, :4], expected[0], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["dice", "lovasz", "focal", "sigmoid focal", "top k", "silog"])
def test_sums_are_of_float32_whatever_the_scores(name):
    scores, labels, _ = draw(name)
    half = jnp.asarray(scores, jnp.bfloat16)
    value, gradient = value_and_grad(name, half, labels)
    expected, _ = value_and_grad(name, half.astype(jnp.float32), labels)
    assert value.dtype == np.float32 and gradient.dtype == jnp.bfloat16
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def edges(name):
    """Labels and scores at the ends of what there is."""
    scores, labels, void = draw(name)
    nothing = np.full_like(labels, 0 if name in DEPTHS else 255)
    one = nothing.copy()
    one[1, 2, 3] = 1
    same = np.ones_like(labels)
    yield scores, nothing
    yield scores, one
    yield scores, same
    yield np.zeros_like(scores), labels
    yield np.ones_like(scores), same  # right to the last digit, in depth
    for size in (50, 1e4, -1e4):
        yield scores * np.float32(size), labels
        for labelled in (labels, one, same):
            right = np.where(np.isfinite(labelled) & (labelled < 3), labelled, 0)[..., None]
            right = right if name in DEPTHS else right == np.arange(3)
            yield (right * size).astype(np.float32), labelled  # all right, or all wrong


@every_loss
def test_loss_and_gradient_are_finite_at_the_edges(name):
    for number, (scores, labels) in enumerate(edges(name)):
        value, gradient = value_and_grad(name, scores, labels)
        assert np.isfinite(value) and np.isfinite(gradient).all(), number
        assert value >= -1e-6, number
        if number == 0:
            assert value == 0 and (gradient == 0).all()


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("label", [3, 254, -1])
def test_a_label_that_is_not_a_class_gives_nan(name, label):
    scores, labels, _ = draw(name)
    labels[1, 2, 3] = label
    assert np.isnan(value_and_grad(name, scores, labels)[0])
