"""Labels and scores of single images, against a net that loops can check."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from three_colours import NET, OFFSET, VARIABLES, plain, random_image, reference_label

from fcn_jax.inference.predictor import Predictor, check_rgb, uint8_labels
from fcn_jax.nets.fcn import FCN8s
from fcn_jax.nets.trunks import VGG16


@pytest.fixture(scope="module")
def predictor():
    return Predictor(NET, VARIABLES, plain, multiple=16)


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (17, 5), (3, 40)])
def test_predicts_at_the_images_own_size(predictor, size):
    image = random_image(0, *size, high=12)
    label = predictor(image)
    assert label.dtype == np.uint8 and label.shape == size
    np.testing.assert_array_equal(label, reference_label(image))
    scores = predictor.scores(image)
    assert scores.dtype == np.float32 and scores.shape == (*size, 3)
    np.testing.assert_array_equal(scores.argmax(-1), label)


def test_of_equal_scores_the_first_class_wins(predictor):
    image = np.full((4, 4, 3), 20, np.uint8) - np.array(OFFSET, np.uint8)
    assert (predictor(image) == 0).all()
    image[..., 1:] += 7
    assert (predictor(image) == 1).all()


def test_close_sizes_share_a_program():
    traced = []

    def counted(images, sizes):
        traced.append(images.shape)
        return plain(images, sizes)

    predict = Predictor(NET, VARIABLES, counted, multiple=32)
    for size in ((1, 1), (32, 32), (20, 31), (33, 5), (64, 32)):
        predict(random_image(1, *size))
    assert traced == [(1, 32, 32, 3), (1, 64, 32, 3)]


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8), {"a": 1}],
)
def test_anything_but_an_rgb_image_is_refused(image):
    with pytest.raises(
        ValueError, match=r"expected an RGB image, a uint8 array \(h, w, 3\).*found"
    ):
        check_rgb(image)


def test_more_classes_than_a_label_holds_are_refused():
    assert uint8_labels(jnp.zeros((1, 1, 1, 255))).dtype == jnp.uint8
    with pytest.raises(ValueError, match="at most 255 classes, found 256"):
        uint8_labels(jnp.zeros((1, 1, 1, 256)))
    with pytest.raises(ValueError, match="multiple of at least 1"):
        Predictor(NET, VARIABLES, plain, multiple=0)


def test_a_net_predicts_on_a_canvas_as_without_one():
    net = FCN8s(trunk=VGG16(aligned=True, width=1 / 32), num_classes=4)
    image = random_image(2, 37, 50)
    alone = jnp.asarray(image[None], jnp.float32) / 128 - 1
    shapes = jax.eval_shape(net.init, jax.random.key(0), alone)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda p: (rng.standard_normal(p.shape) / np.prod(p.shape[:-1]) ** 0.5).astype(np.float32),
        shapes,
    )
    predictor = Predictor(net, variables, lambda i, s: i.astype(jnp.float32) / 128 - 1)
    expected = np.asarray(jax.jit(net.apply)(variables, alone))[0]
    scale = np.abs(expected).max()
    assert scale > 0
    np.testing.assert_allclose(predictor.scores(image), expected, atol=1e-5 * scale)
