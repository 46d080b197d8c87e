"""Help does not wait for jax, and public names are imported when they are used."""

import importlib
import json
import subprocess
import sys

import pytest

import fcn_jax
from fcn_jax.__main__ import COMMANDS, overview

HEAVY = {"jax", "flax", "optax", "orbax", "grain", "scipy", "PIL", "tensorflow_datasets"}


def modules_after(*calls):
    """Exit codes of `python -m fcn_jax CALL` for each call, and the modules then imported."""
    program = f"""
import contextlib, io, json, runpy, sys
codes = []
for call in {calls!r}:
    sys.argv = ["fcn_jax", *call.split()]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            runpy.run_module("fcn_jax", run_name="__main__")
            codes.append(0)
        except SystemExit as end:
            codes.append(end.code or 0)
print(json.dumps([codes, sorted(sys.modules)]))
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_help_imports_neither_jax_nor_tyro():
    codes, modules = modules_after("--help", "-h", "", "nonsense")
    assert codes == [0, 0, 2, 2]
    assert not {name.split(".")[0] for name in modules} & (HEAVY | {"tyro", "numpy", "rich"})


def test_help_of_every_command_imports_nothing_heavy():
    codes, modules = modules_after(*(f"{name} --help" for name in COMMANDS))
    assert codes == [0] * len(COMMANDS)
    assert not {name.split(".")[0] for name in modules} & HEAVY


@pytest.mark.parametrize("name", COMMANDS)
def test_summaries_are_those_of_the_functions(name):
    command = getattr(importlib.import_module(f"fcn_jax.commands.{name}"), name)
    assert COMMANDS[name] == command.__doc__.strip().split("\n")[0]
    assert COMMANDS[name] in overview()


def test_every_public_name_is_found_where_it_is_defined():
    for name in fcn_jax.__all__:
        value = getattr(fcn_jax, name)
        assert value.__name__.split(".")[-1] == name
        assert name in dir(fcn_jax)
    with pytest.raises(AttributeError, match="no attribute 'FCN4s'"):
        _ = fcn_jax.FCN4s
