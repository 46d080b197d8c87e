"""The home folder: `~` in paths, and a cache folder that cannot be used."""

import errno
import os
import sys
import warnings
from pathlib import Path

import jax
import pytest

from fcn_jax.devices.compiling import use_compile_cache
from fcn_jax.prepare.hha import files as hha_files
from fcn_jax.prepare.tfds import build
from fcn_jax.runs.command_line import arguments
from fcn_jax.runs.place import Place


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_every_argument_may_begin_with_the_home_folder(home, monkeypatch):
    given = ["x", "run", "--workdir=~/r", "--data", "~", "~/a b", "--mesh=data=2", "a~", "./~"]
    monkeypatch.setattr(sys, "argv", given)
    here = [f"--workdir={home}/r", "--data", f"{home}", f"{home}/a b", "--mesh=data=2", "a~", "./~"]
    assert arguments() == ["run", *here]


def test_a_home_folder_that_is_not_there_is_a_message(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["x", "--out=~nobody.of.this.name/x"])
    with pytest.raises(SystemExit, match="--out=~nobody.of.this.name/x: there is no such home"):
        arguments()


def test_the_commands_take_expanded_paths(home, monkeypatch):
    """Whatever option it is: the command line is expanded before it is parsed."""
    import fcn_jax.__main__ as program

    given = []
    monkeypatch.setattr("tyro.cli", lambda *_, args, **__: given.extend(args))
    monkeypatch.setattr("fcn_jax.runs.command_line.own_process", lambda: None)
    for name in program.COMMANDS:
        given.clear()
        monkeypatch.setattr(sys, "argv", ["fcn_jax", name, "~/a", "--out=~/b"])
        program.main()
        assert given == [f"{home}/a", f"--out={home}/b"]


def test_paths_of_the_library_are_expanded(home):
    place = Place(data=Path("~/d"), workdir=Path("~/r"), init=Path("~"))
    assert (place.data, place.workdir, place.init) == (home / "d", home / "r", home)
    assert Place(data=Path("tfds:voc/2012")).data == Path("tfds:voc/2012")
    with pytest.raises(ValueError, match=f"{home}/nowhere: no such folder"):
        build("voc_segmentation", "~/nowhere")
    written = hha_files.write_hha([Path("~/depth.png")], "~/out")
    assert str(home / "depth.png") in str(written.failures[0])


@pytest.fixture
def cache_option(monkeypatch):
    """JAX's cache folder is what it was afterwards."""
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    before = jax.config.values["jax_compilation_cache_dir"]
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        yield lambda: jax.config.values["jax_compilation_cache_dir"]
    jax.config.update("jax_compilation_cache_dir", before)


def test_without_a_home_folder_there_is_no_cache(cache_option, monkeypatch, capsys):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    before = cache_option()
    use_compile_cache()
    assert cache_option() == before
    assert capsys.readouterr().err.count("Could not determine home directory") == 1
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    use_compile_cache()
    assert cache_option() == "/somewhere/fcn_jax/xla" and capsys.readouterr().err == ""


def test_a_cache_folder_that_fails_is_named_once(home, cache_option, capsys):
    use_compile_cache()
    for name in ("jit_a", "jit_b", "jit_c"):
        text = f"Error writing persistent compilation cache entry for '{name}'"
        warnings.warn(f"{text}: OSError: {os.strerror(errno.ENOSPC)}", stacklevel=1)
    with pytest.warns(UserWarning, match="another"):
        warnings.warn("another", stacklevel=1)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "No space left on device" in said
    assert str(home / ".cache" / "fcn_jax" / "xla") in said and "jit_" not in said
