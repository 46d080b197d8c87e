"""Modules that moved are found by their old names."""

import importlib
import subprocess
import sys
import warnings

import pytest

from fcn_jax.moved import MOVED, install, new_name


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    """No old name has been imported before, and none stays in `sys.modules`."""
    for name in [name for name in sys.modules if new_name(name)]:
        monkeypatch.delitem(sys.modules, name)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if new_name(name):
            del sys.modules[name]


def imported(name):
    """The module, and the messages of its DeprecationWarnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        module = importlib.import_module(name)
    assert {warning.category for warning in caught} <= {DeprecationWarning}
    return module, [str(warning.message) for warning in caught]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("mesh", "devices.mesh"),
        ("trunks", "nets.trunks"),
        ("trunks.vgg", "nets.trunks.vgg"),
        ("training.processes", "devices.processes"),
        ("convert.weights_file", "weights.weights_file"),
        ("convert.caffemodel", "weights.foreign.caffemodel"),
    ],
)
def test_an_old_name_is_the_same_module(old, new):
    expected = importlib.import_module(f"fcn_jax.{new}")
    spec = expected.__spec__
    module, messages = imported(f"fcn_jax.{old}")
    assert module is expected and module.__spec__ is spec
    assert module.__name__ == spec.name == f"fcn_jax.{new}"
    assert messages[-1] == f"fcn_jax.{old} is now fcn_jax.{new}"
    assert imported(f"fcn_jax.{old}") == (expected, [])  # once imported, it is silent


def test_a_script_with_old_names_runs_and_shows_the_warning():
    script = (
        "import fcn_jax as fcn\nfrom fcn_jax.feature_map import Grid\n"
        "from fcn_jax.trunks import vgg\nassert (Grid, vgg.VGG16) == (fcn.Grid, fcn.VGG16)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for line, old, new in ((2, "feature_map", "nn.feature_map"), (3, "trunks", "nets.trunks")):
        warning = f"<string>:{line}: DeprecationWarning: fcn_jax.{old} is now fcn_jax.{new}"
        assert warning in done.stderr.splitlines()


@pytest.mark.parametrize("new", sorted(set(MOVED.values())))
def test_every_new_name_is_there(new):
    importlib.import_module(f"fcn_jax.{new}")
    assert new_name(f"fcn_jax.{new}") is None


def test_an_unknown_name_is_not_found():
    with pytest.raises(ModuleNotFoundError, match="fcn_jax.nothing"):
        importlib.import_module("fcn_jax.nothing")
    imported("fcn_jax.trunks")
    # Warnings are errors here: what does not exist is not called moved either.
    with pytest.raises(ModuleNotFoundError, match="trunks.nothing"):
        importlib.import_module("fcn_jax.trunks.nothing")


def test_names_that_have_not_moved():
    for name in (
        "fcn_jax",
        "fcn_jax.losses",
        "fcn_jax.data.voc",
        "jax.mesh",
        "mesh",
        "experiments",
    ):
        assert new_name(name) is None


def test_installing_again_changes_nothing():
    before = list(sys.meta_path)
    install()
    assert sys.meta_path == before
