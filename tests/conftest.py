"""What the tests of the core share: a seeded hypothesis profile and random parameters."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import settings

from fcn_jax.nets.inputs import placeholder

os.environ.setdefault("JAX_PLATFORMS", "cpu")
jax.config.update("jax_platforms", os.environ["JAX_PLATFORMS"])

settings.register_profile("fcn_jax", deadline=None, derandomize=True, database=None)
settings.load_profile("fcn_jax")


@pytest.fixture(scope="session")
def random_variables():
    """`random_variables(net, seed=0, channels=3, size=8)`: a net's variables, all of them random.

    Score layers start at zero, and a test of a net that answers zero tests nothing.
    """

    def make(net, seed=0, channels=3, size=8):
        images = placeholder(net, (1, size, size), channels=channels)
        shapes = jax.eval_shape(net.init, jax.random.key(0), images)
        rng = np.random.default_rng(seed)

        def fill(keys, leaf):
            name = jax.tree_util.keystr(keys, simple=True, separator="/").rsplit("/", 1)[-1]
            if name == "kernel":
                fan_in = max(np.prod(leaf.shape[:3]), 1)
                value = rng.normal(size=leaf.shape) * np.sqrt(2 / fan_in)
            elif name in ("scale", "var"):
                value = rng.uniform(0.5, 2, leaf.shape)
            else:
                value = rng.normal(size=leaf.shape) * 0.1
            return jnp.asarray(value, jnp.float32)

        return jax.tree_util.tree_map_with_path(fill, shapes)

    return make


@pytest.fixture(scope="session")
def close():
    """`close(a, b, tolerance=1e-5)`: equal trees, relative to each array's largest value."""

    def check(a, b, tolerance=1e-5):
        assert jax.tree.structure(a) == jax.tree.structure(b)
        for (path, x), y in zip(jax.tree.leaves_with_path(a), jax.tree.leaves(b), strict=True):
            x, y = np.asarray(x), np.asarray(y)
            assert x.shape == y.shape, (path, x.shape, y.shape)
            largest = max(np.abs(y).max(), 1e-30) if y.size else 1
            worst = np.abs(x - y).max() / largest if y.size else 0
            assert worst <= tolerance, f"{jax.tree_util.keystr(path)}: {worst} of the largest"

    return check
