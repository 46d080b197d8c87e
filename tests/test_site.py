"""The pages of the site: all are in its contents, and the reference has every public name.

`.ci/run` builds the site, which runs the notebooks and checks every link inside.
"""

import importlib
import importlib.util
import re
import sys
import types
from pathlib import Path

import pytest

import fcn_jax
from fcn_jax.__main__ import COMMANDS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {p.relative_to(DOCS).with_suffix("").as_posix() for p in DOCS.rglob("*.md")}
NOTEBOOKS = [page for page in sorted(PAGES) if "kernelspec:" in (DOCS / f"{page}.md").read_text()]
REFERENCE = "\n".join((DOCS / f"{page}.md").read_text() for page in sorted(PAGES) if "ref" in page)
ROOMS = ("data", "losses", "metrics", "training", "nets.decoders", "nn.layers", "prepare.hha")
INTERNAL = ("nn.ops",)  # what layers are made of


def contents(page):
    """The pages that the tables of contents of a page name."""
    tables = re.findall(r"```{toctree}\n(.*?)```", (DOCS / f"{page}.md").read_text(), re.S)
    lines = [line for table in tables for line in table.splitlines() if line and line[0] != ":"]
    return [(Path(page).parent / line).as_posix() for line in lines]


def shown():
    """The modules of which all is shown, and the full names of single classes and functions."""
    modules = set(re.findall(r"^\.\. automodule:: (\S+)\n   :members:", REFERENCE, re.M))
    names = re.findall(r"^\.\. auto(?:class|function):: (\S+)", REFERENCE, re.M)
    return modules, {name if "." in name else f"fcn_jax.{name}" for name in names}


def test_every_page_is_in_the_contents_once():
    found, left = ["index"], ["index"]
    while left:
        named = contents(left.pop())
        found += named
        left += named
    assert sorted(found) == sorted(PAGES)


def test_every_public_name_is_in_the_reference():
    modules, names = shown()
    for name in fcn_jax.__all__:
        value = getattr(fcn_jax, name)
        full = value.__name__ if isinstance(value, types.ModuleType) else f"fcn_jax.{name}"
        # `fcn_jax.decoders` is shown as `fcn_jax.nets.decoders`.
        assert full in (modules if isinstance(value, types.ModuleType) else names), name
    assert {f"fcn_jax.{room}" for room in ROOMS} <= modules
    for name in names:
        module, _, attribute = name.rpartition(".")
        assert callable(getattr(importlib.import_module(module), attribute)), name


def test_rooms_with_a_list_of_names_are_the_ones_that_are_shown():
    found = {
        ".".join(file.relative_to(ROOT / "fcn_jax").with_suffix("").parts)
        for file in (ROOT / "fcn_jax").rglob("*.py")
        if re.search(r"^__all__ = ", file.read_text(), re.M)
    }
    found = {name.removesuffix(".__init__") for name in found} - {"__init__", *INTERNAL}
    assert set(ROOMS) <= found
    for name in found - set(ROOMS):  # such a list repeats names that are shown elsewhere
        for public in importlib.import_module(f"fcn_jax.{name}").__all__:
            assert re.search(rf"\b{public}\b", REFERENCE), f"{name}: {public}"


@pytest.mark.parametrize("page", sorted(PAGES))
def test_what_a_page_imports_is_in_the_reference(page):
    modules, names = shown()
    text = (DOCS / f"{page}.md").read_text()
    blocks = "\n".join(re.findall(r"```(?:python|{code-cell})\n(.*?)```", text, re.S))
    for module, imported in re.findall(r"^ *from (fcn_jax[.\w]*) import (.+)$", blocks, re.M):
        for name in imported.split(", "):
            full = f"{module}.{name}"
            aliases = {f"fcn_jax.{name}", full}
            assert {module, full} & modules or aliases & names, full


def test_every_command_is_in_the_reference():
    page = (DOCS / "reference/commands.md").read_text()
    assert re.findall(r"^```{help} fcn_jax (\w+)$", page, re.M) == list(COMMANDS)
    assert re.findall(r"^## (\w+)$", page, re.M) == [*COMMANDS, "experiments"]
    assert "```{help} fcn_jax\n" in page


def test_there_are_the_notebooks():
    assert {f"tutorials/{name}" for name in ("own-data", "own-net", "reading-a-run")} <= {
        *NOTEBOOKS
    }
    assert {"own-loop", "tutorials/torchvision", "how/offsets"} <= {*NOTEBOOKS}
    for page in NOTEBOOKS:  # outputs are made by the build, and nothing is fetched
        text = (DOCS / f"{page}.md").read_text()
        assert "https://" not in "".join(re.findall(r"```{code-cell}.*?```", text, re.S)), page


@pytest.mark.parametrize("picture", ["report.png", "check.png", "demo.png"])
def test_pictures_are_small_and_shown(picture):
    assert (DOCS / picture).stat().st_size <= 250_000
    assert any(f"({picture})" in file.read_text() for file in DOCS.glob("*.md"))


@pytest.fixture(scope="module")
def conf():
    pytest.importorskip("sphinx", reason="needs the extra docs: pip install -e '.[docs]'")
    spec = importlib.util.spec_from_file_location("conf", DOCS / "conf.py")
    assert spec and spec.loader
    module, path = importlib.util.module_from_spec(spec), list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = path
    return module


def test_pages_from_elsewhere_have_their_text_and_links(conf):
    source = ["a stub"]
    conf.with_text_from_elsewhere(None, "contributing", source)
    assert source[0].startswith("# Contributing") and "[](architecture.md)" in source[0]
    source = ["[a](../weights/README.md#b), [c](how/ragged.md), [d](https://e.org/f), [g](#h)"]
    conf.with_text_from_elsewhere(None, "images", source)
    assert source[0] == "[a](weights.md#b), [c](how/ragged.md), [d](https://e.org/f), [g](#h)"


def test_the_help_is_that_of_the_command(conf):
    assert "usage: python -m fcn_jax report" in conf.help_of("fcn_jax report")
    with pytest.raises(ValueError, match="there is no command 'nothing'"):
        conf.help_of("fcn_jax nothing")
