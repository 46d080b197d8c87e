"""Tiles of nets from parts: exact where a score sees a part of the image, else refused."""

import jax.numpy as jnp
import numpy as np
import pytest
from test_segmenter import DECODERS, TRUNKS, Small, drawn

from fcn_jax.inference.predictor import Predictor
from fcn_jax.inference.tile_spans import net_geometry
from fcn_jax.inference.tiling import TiledPredictor
from fcn_jax.nets import heads
from fcn_jax.nets.segmenter import Segmenter

FINITE = {"none", "unet", "skips"}  # the others have a mean, a group norm or stretch to a size
FAST = {"xla_backend_optimization_level": 0}


def plain(images, sizes):
    return images.astype(jnp.float32) / 64 - 2


def net_of(trunk, decoder, head=None):
    net = Segmenter(trunk=trunk, decoder=DECODERS[decoder], heads=head or heads.Pixels(3))
    image = np.zeros((1, 64, 64, 3), np.float32)
    return net, drawn(net, image, jnp.asarray([[64, 64]]))


@pytest.mark.parametrize("decoder", sorted(FINITE))
def test_tiles_have_the_scores_of_the_whole_image(decoder, monkeypatch):
    monkeypatch.setattr("fcn_jax.devices.compiling.compiler_options", lambda: FAST)
    net, variables = net_of(Small(), decoder)
    tiled = TiledPredictor(net, variables, plain, tile=512)
    image = np.random.default_rng(2).integers(0, 256, (530, 700, 3)).astype(np.uint8)
    whole = Predictor(net, variables, plain).scores(image)
    assert tiled.tile_for((530, 700), scores=True) < 700
    found = tiled.scores(image)
    assert found.shape == whole.shape
    np.testing.assert_allclose(found, whole, atol=1e-5 * np.abs(whole).max())


@pytest.mark.parametrize("decoder", sorted(set(DECODERS) - FINITE))
def test_decoders_that_look_at_the_whole_image_are_refused(decoder):
    net, variables = net_of(Small(), decoder)
    with pytest.raises(ValueError, match="looks at the whole image"):
        net_geometry(net, variables, plain)


@pytest.mark.parametrize("trunk", sorted(TRUNKS))
def test_trunks_have_a_finite_field_or_say_what_looks_at_all(trunk):
    net, variables = net_of(TRUNKS[trunk], "skips")
    if trunk == "mobilenet":
        with pytest.raises(ValueError, match="looks at the whole image"):
            net_geometry(net, variables, plain)
    else:
        assert net_geometry(net, variables, plain).margin > 15


def test_a_head_for_the_whole_image_is_refused():
    net, variables = net_of(Small(), "none", heads.Vector(3))
    with pytest.raises(ValueError):
        net_geometry(net, variables, plain)
