"""The options for the compiler on a CPU, and their effect."""

import ctypes
import re

import jax
import jax.numpy as jnp
import pytest

from fcn_jax.devices import compiling
from fcn_jax.devices.compiling import compiler_options, jit


@pytest.fixture(autouse=True)
def fresh():
    compiler_options.cache_clear()
    yield
    compiler_options.cache_clear()


def test_options_that_this_jaxlib_does_not_know_are_left_out(monkeypatch):
    known = compiler_options()
    monkeypatch.setitem(compiling.CPU_OPTIONS, "xla_cpu_no_such_option", True)
    compiler_options.cache_clear()
    assert compiler_options() == known != {}


def test_parameters_are_updated_in_place(monkeypatch):
    def step(parameters, x):
        def loss(parameters):
            a, b = parameters
            return jnp.sum(jnp.maximum(x @ a, 0) @ b)

        gradient = jax.grad(loss)(parameters)
        return jax.tree.map(lambda p, g: p - 0.1 * g, parameters, gradient)

    def copies():
        wide = jax.ShapeDtypeStruct((256, 256), jnp.float32)
        compiled = jit(step, donate_argnums=0).lower([wide, wide], wide).compile()
        return len(re.findall(r"= f32\[256,256\]\S* copy\(", compiled.as_text()))

    assert copies() == 0
    # Without the option there is a copy, and it is found: the text has not changed.
    monkeypatch.delitem(compiling.CPU_OPTIONS, "xla_cpu_copy_insertion_use_region_analysis")
    compiler_options.cache_clear()
    assert copies() > 0


def test_memory_goes_back_after_a_long_compilation(monkeypatch):
    calls = []

    class C:
        def __init__(self, name):
            self.malloc_trim = calls.append

    monkeypatch.setattr(ctypes, "CDLL", C)
    monkeypatch.setattr(compiling, "_LONG", -1.0)
    compiler_options()
    jax.jit(lambda x: x * 3 + 2).lower(1.0).compile()
    assert calls and set(calls) == {0}
    calls.clear()
    monkeypatch.setattr(compiling, "_LONG", 1e9)
    jax.jit(lambda x: x * 5 + 2).lower(1.0).compile()
    assert not calls
