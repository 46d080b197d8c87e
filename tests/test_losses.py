import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcn_jax.labels import IGNORE
from fcn_jax.losses import (
    ByOutput,
    Normalization,
    PerPixel,
    Softmax,
    sigmoid_loss,
    softmax_loss,
    takes_coarse_scores,
)
from fcn_jax.losses.per_pixel import check_arguments
from fcn_jax.nn.coarse_scores import CoarseScores
from fcn_jax.nn.upsampling import BilinearUpsampling


def draw(seed=0, shape=(3, 5, 7, 4), void=0.3, scale=3.0):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=shape).astype(np.float32) * np.float32(scale)
    labels = rng.integers(0, shape[-1], shape[:-1])
    labels[rng.random(labels.shape) < void] = IGNORE
    return scores, labels


def softmax_pixel(s, label):
    p = np.exp(s - s.max())
    p /= p.sum()
    return -np.log(p[label]), p - np.eye(len(s))[label]


def sigmoid_pixel(s, label):
    p = 1 / (1 + np.exp(-s))
    t = np.eye(len(s))[label]
    return -(t * np.log(p) + (1 - t) * np.log(1 - p)).sum(), p - t


def reference(pixel, scores, labels):
    """Loss and gradient as plain sums over the pixels, in float64."""
    loss, grad = 0.0, np.zeros(scores.shape)
    for at in np.ndindex(labels.shape):
        if labels[at] != IGNORE:
            value, grad[at] = pixel(scores[at].astype(np.float64), labels[at])
            loss += value
    return loss, grad


@functools.partial(jax.jit, static_argnums=(0, 3))
def compiled(loss, scores, labels, normalization, sizes):
    return jax.value_and_grad(lambda s: loss(s, labels, normalization=normalization, sizes=sizes))(
        scores
    )


def value_and_grad(loss, scores, labels, normalization, sizes=None):
    return compiled(loss, jnp.asarray(scores), jnp.asarray(labels), normalization, sizes)


@pytest.mark.parametrize(
    "loss, pixel", [(softmax_loss, softmax_pixel), (sigmoid_loss, sigmoid_pixel)]
)
@pytest.mark.parametrize("normalization", Normalization)
def test_loss_and_gradient_are_the_written_out_sums(loss, pixel, normalization):
    scores, labels = draw()
    want, want_grad = reference(pixel, scores, labels)
    divisor = {
        Normalization.SUM: 1,
        Normalization.BATCH: 3,
        Normalization.VALID: (labels != IGNORE).sum(),
        Normalization.FULL: labels.size,
    }[normalization]
    got, grad = value_and_grad(loss, scores, labels, normalization)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, want / divisor, rtol=1e-5)
    np.testing.assert_allclose(grad, want_grad / divisor, atol=1e-6)


@pytest.mark.parametrize("loss", [softmax_loss, sigmoid_loss])
def test_ignored_pixels_have_no_loss_and_exactly_no_gradient(loss):
    scores, labels = draw()
    void = labels == IGNORE
    changed = scores.copy()
    changed[void] = 3e38
    first, _ = value_and_grad(loss, scores, labels, Normalization.VALID)
    second, grad = value_and_grad(loss, changed, labels, Normalization.VALID)
    assert np.isfinite(second) and first == second
    assert (np.asarray(grad)[void] == 0).all() and (np.asarray(grad)[~void] != 0).any()


@pytest.mark.parametrize("normalization", Normalization)
@pytest.mark.parametrize("loss", [softmax_loss, sigmoid_loss])
def test_nothing_labelled_is_zero_not_nan(loss, normalization):
    scores, labels = draw()
    got, grad = value_and_grad(loss, scores, np.full_like(labels, IGNORE), normalization)
    assert got == 0 and (np.asarray(grad) == 0).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32])
def test_label_types_agree(dtype):
    scores, labels = draw()
    got, _ = value_and_grad(softmax_loss, scores, labels.astype(dtype), Normalization.SUM)
    np.testing.assert_allclose(got, reference(softmax_pixel, scores, labels)[0], rtol=1e-5)


@pytest.mark.parametrize("loss", [softmax_loss, sigmoid_loss])
@pytest.mark.parametrize("label", [4, 200, 254, 256, -1])
def test_a_label_that_is_not_a_class_gives_nan(loss, label):
    scores, labels = draw()
    labels[1, 2, 3] = label
    assert np.isnan(value_and_grad(loss, scores, labels, Normalization.SUM)[0])


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 2**31),
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 7)), min_size=3, max_size=3),
)
def test_a_ragged_batch_is_its_single_images(seed, sizes):
    scores, labels = draw(seed)
    sums = np.zeros(3)
    for i, (h, w) in enumerate(sizes):
        sums[i] = reference(softmax_pixel, scores[i, :h, :w], labels[i, :h, :w])[0]
    valid = sum((labels[i, :h, :w] != IGNORE).sum() for i, (h, w) in enumerate(sizes))
    divisors = {
        Normalization.SUM: 1,
        Normalization.BATCH: 3,
        Normalization.VALID: max(valid, 1),
        Normalization.FULL: sum(h * w for h, w in sizes),
    }
    for normalization, divisor in divisors.items():
        got, _ = value_and_grad(softmax_loss, scores, labels, normalization, jnp.asarray(sizes))
        np.testing.assert_allclose(got, sums.sum() / divisor, rtol=2e-5)


def test_an_image_without_pixels_does_not_count():
    scores, labels = draw(void=0)
    sizes = jnp.array([[5, 7], [0, 0], [5, 7]])
    got, _ = value_and_grad(softmax_loss, scores, labels, Normalization.BATCH, sizes)
    want = reference(softmax_pixel, scores[::2], labels[::2])[0] / 2
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_loss_of_a_new_network_is_log_of_the_classes():
    # Zero-initialised score layers: 500 x 375 pixels of 21 classes cost 570,848 nats.
    labels = np.zeros((1, 375, 500), np.int32)
    got, _ = value_and_grad(softmax_loss, np.zeros((1, 375, 500, 21)), labels, Normalization.SUM)
    np.testing.assert_allclose(got, 570_848, rtol=1e-6)


def test_bfloat16_scores_are_summed_in_float32():
    scores, labels = draw(shape=(1, 64, 64, 4), void=0)
    half = jnp.asarray(scores, jnp.bfloat16)
    got, _ = value_and_grad(softmax_loss, half, labels, Normalization.SUM)
    want, _ = reference(softmax_pixel, np.asarray(half, np.float32), labels)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_large_scores_stay_finite():
    scores = jnp.array([[[[1e4, -1e4]]]])
    for loss in (softmax_loss, sigmoid_loss):
        got, _ = value_and_grad(loss, scores, np.array([[[1]]]), Normalization.SUM)
        np.testing.assert_allclose(got, 2e4)


def test_errors_name_what_does_not_fit():
    scores, labels = (jnp.asarray(x) for x in draw())
    mode = Normalization.SUM
    with pytest.raises(ValueError, match="at most 255 classes; found 256"):
        softmax_loss(jnp.zeros((1, 1, 1, 256)), labels[:1, :1, :1], normalization=mode)
    with pytest.raises(ValueError, match=r"\(3, 5, 7, 4\).*\(1, 5, 7\)"):
        check_arguments(scores, labels[:1], mode, None)
    with pytest.raises(ValueError, match="float32"):
        check_arguments(scores, labels.astype(jnp.float32), mode, None)
    with pytest.raises(ValueError, match=r"\(2, 2\)"):
        check_arguments(scores, labels, mode, jnp.ones((2, 2), jnp.int32))
    with pytest.raises(ValueError, match="'sum'"):
        check_arguments(scores, labels, "sum", None)


OPTAX = optax.losses.softmax_cross_entropy_with_integer_labels


def per_pixel(scores, labels, *, normalization, sizes=None):
    return PerPixel(OPTAX, normalization)(scores, labels, sizes=sizes)


@pytest.mark.parametrize("normalization", Normalization)
@pytest.mark.parametrize("sizes", [None, ((5, 7), (1, 1), (4, 2))])
def test_a_loss_per_pixel_of_optax_is_the_softmax_loss(normalization, sizes):
    scores, labels = draw()
    sizes = None if sizes is None else jnp.asarray(sizes)
    want = value_and_grad(softmax_loss, scores, labels, normalization, sizes)
    got = value_and_grad(per_pixel, scores, labels, normalization, sizes)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def test_a_ragged_batch_per_pixel_is_its_single_images():
    scores, labels = draw()
    sizes = [(5, 7), (1, 2), (4, 3)]
    together, gradient = value_and_grad(
        per_pixel, scores, labels, Normalization.SUM, jnp.asarray(sizes)
    )
    total, outside = 0.0, np.ones(labels.shape, bool)
    for i, (h, w) in enumerate(sizes):
        own = scores[i : i + 1, :h, :w], labels[i : i + 1, :h, :w]
        value, alone = value_and_grad(per_pixel, *own, Normalization.SUM)
        np.testing.assert_allclose(gradient[i, :h, :w], alone[0], atol=1e-7)
        total, outside[i, :h, :w] = total + value, False
    np.testing.assert_allclose(together, total, rtol=1e-6)
    assert (np.asarray(gradient)[outside] == 0).all()


def undefined_at_zero(logits, labels):
    """NaN with a NaN gradient where all logits are 0; infinite for labels other than 0..3."""
    assert labels.dtype == jnp.int32
    direction = logits / jnp.sqrt(jnp.sum(logits**2, -1, keepdims=True))
    return jnp.where((labels < 0) | (labels > 3), jnp.inf, OPTAX(direction, labels))


@pytest.mark.parametrize("function", [OPTAX, undefined_at_zero])
@pytest.mark.parametrize("at_void", [0.0, np.nan, np.inf, 3e38])
def test_void_pixels_have_exactly_no_loss_and_gradient_whatever_the_function(function, at_void):
    scores, labels = draw()
    void = labels == IGNORE
    loss = PerPixel(function)
    differentiate = jax.jit(jax.value_and_grad(lambda s: loss(s, jnp.asarray(labels))))
    value, gradient = differentiate(jnp.asarray(scores))
    scores[void] = at_void
    again, changed = differentiate(jnp.asarray(scores))
    assert np.isfinite(value) and value == again
    np.testing.assert_array_equal(gradient, changed)
    assert (np.asarray(gradient)[void] == 0).all() and (np.asarray(gradient)[~void] != 0).any()


def test_a_label_that_is_not_a_class_makes_a_loss_per_pixel_nan():
    scores, labels = draw()
    labels[1, 2, 3] = 4
    for function in (OPTAX, lambda s, t: jnp.zeros(t.shape)):
        assert np.isnan(PerPixel(function)(jnp.asarray(scores), jnp.asarray(labels)))


def test_a_function_that_averages_is_not_per_pixel():
    scores, labels = (jnp.asarray(x) for x in draw())
    with pytest.raises(ValueError, match=r"\(3, 5, 7\); <lambda> gave \(\)"):
        PerPixel(lambda s, t: OPTAX(s, t).mean())(scores, labels)


def test_coarse_scores_per_pixel_are_those_of_every_pixel():
    rng = np.random.default_rng(0)
    values = jnp.asarray(rng.normal(size=(2, 20, 12, 3)), jnp.float32)
    labels = rng.integers(0, 3, (2, 130, 70))
    labels[rng.random(labels.shape) < 0.3] = IGNORE
    layer = BilinearUpsampling(8, 16)

    def loss(values, upsampled):
        scores = CoarseScores(
            values=values,
            weights=None,
            extent=None,
            sizes=None,
            layer=layer,
            start=4,
            pixels=(130, 70),
        )
        return PerPixel(OPTAX)(scores.dense() if upsampled else scores, jnp.asarray(labels))

    differentiate = jax.jit(jax.value_and_grad(loss), static_argnums=1)
    tiled, whole = differentiate(values, False), differentiate(values, True)
    np.testing.assert_allclose(tiled[0], whole[0], rtol=1e-6)
    np.testing.assert_allclose(tiled[1], whole[1], atol=1e-6 * np.abs(whole[1]).max())


def test_a_loss_says_whether_it_takes_coarse_scores():
    softmax = Softmax(normalization=Normalization.SUM)
    summed = functools.partial(softmax_loss, normalization=Normalization.SUM)
    for loss in (softmax, softmax_loss, sigmoid_loss, summed, functools.partial(summed, offsets=1)):
        assert takes_coarse_scores(loss)
    assert takes_coarse_scores(PerPixel(OPTAX))
    for loss in (OPTAX, lambda scores, labels, sizes=None: 0.0, functools.partial(OPTAX, axis=-1)):
        assert not takes_coarse_scores(loss)
    assert takes_coarse_scores(ByOutput({"a": softmax, "b": PerPixel(OPTAX)}))
    assert not takes_coarse_scores(ByOutput({"a": softmax, "b": lambda s, t, sizes: 0.0}))


def test_a_loss_per_pixel_is_a_value():
    assert PerPixel(OPTAX) == PerPixel(OPTAX, Normalization.VALID)
    assert hash(PerPixel(OPTAX)) != hash(PerPixel(OPTAX, Normalization.SUM))


SHARDED = """
import jax
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 4)
import jax.numpy as jnp, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from fcn_jax.labels import IGNORE
from fcn_jax.losses import Normalization, softmax_loss
mesh = jax.make_mesh((2, 2), ("data", "space"), axis_types=(AxisType.Auto,) * 2)
rng = np.random.default_rng(0)
scores = rng.normal(size=(4, 6, 5, 3)).astype(np.float32)
labels = rng.integers(0, 3, (4, 6, 5))
labels[:2] = IGNORE  # the shards hold very different numbers of labelled pixels
labels[0, 0, 0] = 1
def run(normalization, put):
    f = lambda s, l: softmax_loss(s, l, normalization=normalization)
    return jax.jit(jax.value_and_grad(f))(put(scores), put(labels))
sharded = lambda x: jax.device_put(x, NamedSharding(mesh, P("data", "space")))
for normalization in (Normalization.VALID, Normalization.BATCH):
    one, many = run(normalization, jnp.asarray), run(normalization, sharded)
    assert len(many[1].sharding.device_set) == 4
    np.testing.assert_allclose(many[0], one[0], rtol=1e-6)
    np.testing.assert_allclose(many[1], one[1], atol=1e-7)
"""


def test_a_sharded_batch_has_the_loss_of_the_whole():
    done = subprocess.run([sys.executable, "-c", SHARDED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
