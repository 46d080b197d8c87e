"""What the documents print is run, and what they name is there."""

import importlib
import importlib.util
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from test_architecture import EVERY_ROOM, FLOORS

from fcn_jax.__main__ import COMMANDS
from fcn_jax.moved import MOVED

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("weights/*.md")]
    + [*ROOT.glob("tests/goldens/*.md")]
)
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def python_blocks(page):
    return re.findall(r"```(?:python|{code-cell})\n(.*?)```", page.read_text(), re.S)


def anchor(heading):
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def table_rows(text):
    """The cells of every row of a page's tables."""
    rows = re.findall(r"^\|(.*)\|$", text, re.M)
    return [[cell.strip() for cell in row.split("|")] for row in rows]


def resolve(name):
    """The module or attribute that a dotted name stands for."""
    parts = name.split(".")
    for n in range(len(parts), 0, -1):
        module = ".".join(parts[:n])
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name and module.startswith(error.name):
                continue
            raise
        for part in parts[n:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(name)


def test_the_trunk_of_the_docs_works_at_any_size():
    names: dict = {"__name__": "docs"}
    exec(python_blocks(ROOT / "docs" / "trunks.md")[-1], names)  # noqa: S102 - our own document
    net = names["net"]
    variables = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    for h, w in ((1, 1), (2, 17), (33, 8), (64, 65)):
        images = jax.ShapeDtypeStruct((1, h, w, 3), jnp.float32)
        assert jax.eval_shape(net.apply, variables, images).shape == (1, h, w, 5)


def test_the_net_of_the_readme_gives_the_shape_that_it_says():
    def scores():
        names: dict = {}
        [block] = [b for b in python_blocks(ROOT / "README.md") if "FCN8s" in b]
        exec(block, names)  # noqa: S102 - our own document
        return names["scores"]

    assert jax.eval_shape(scores).shape == (2, 375, 500, 21)


def test_the_readme_is_short_and_prints_the_two_commands():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 120
    assert "pip install -e . && python -m experiments.voc_fcn8s --demo" in lines
    assert "pip install -e '.[test]' && pytest" in lines


@pages
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if link.startswith(("http:", "https:")):
            continue
        path, _, fragment = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if fragment:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.M)
            assert fragment in map(anchor, headings), link


@pages
def test_imports_of_code_blocks_work(page):
    for block in python_blocks(page):
        for line in re.findall(r"^\s*((?:from|import) fcn_jax.*)$", block, re.M):
            exec(line, {})  # noqa: S102 - our own document


@pages
def test_names_are_there(page):
    """Files and modules of ours; an old name would warn, and a warning is an error here."""
    text = page.read_text()
    if page.name == "CHANGELOG.md":  # which names old ones
        text = text[: text.index("## 0.2.0")]
    for path in re.findall(r"\b(?:fcn_jax|tests|benchmarks|experiments|docs)/[\w/]+\.\w+", text):
        assert (ROOT / path).exists(), path
    for name in re.findall(r"(?<![\w./])fcn_jax(?:\.[A-Za-z]\w*)+", text):
        if not (ROOT / name).exists():  # such as fcn_jax.egg-info
            resolve(name)


@pages
def test_commands_are_there(page):
    text = page.read_text()
    for module in re.findall(r"python -m ((?:fcn_jax|experiments|benchmarks)[\w.]*)", text):
        if module.endswith((".", ".NAME")) or module == "fcn_jax.tfds":  # said to be gone
            continue
        assert importlib.util.find_spec(module), module
    for command in re.findall(r"python -m fcn_jax ([a-z]\w*)", text):
        assert command in COMMANDS, command


def test_the_table_of_rooms_is_the_one_that_is_checked():
    groups = {
        f"floors 1 to {last}": {room for n, floor in FLOORS.items() if n <= last for room in floor}
        for last in (3, 5)
    }
    rows = table_rows((ROOT / "docs" / "architecture.md").read_text())
    found = {}
    for number, room, _, names in (row for row in rows if row[0].isdigit()):
        others = set()
        for name in names.split(", "):
            others |= groups.get(name, {name} - {"–"})
        found[room.strip("`").replace("__init__", "")] = int(number), others | EVERY_ROOM
    assert found == {
        room: (number, others | EVERY_ROOM)
        for number, floor in FLOORS.items()
        for room, others in floor.items()
    }


def test_where_things_are_found():
    text = (ROOT / "docs" / "architecture.md").read_text()
    section = text[text.index("## Where do I find") :]
    section = section[: section.index("\n## ")]
    named = re.findall(r"`([\w/]+)\.py` `(\w+)`", section)
    assert len(named) > 15
    for path, name in named:
        assert hasattr(importlib.import_module(f"fcn_jax.{path.replace('/', '.')}"), name), name
    for path in re.findall(r"`([\w/]+(?:\.py|/))`", section):
        assert (ROOT / "fcn_jax" / path).exists() or (ROOT / path).exists(), path


def test_the_changelog_has_every_moved_module():
    rows = table_rows((ROOT / "CHANGELOG.md").read_text())
    moved = {row[0]: row[1] for row in rows if row[0].startswith("`fcn_jax.")}
    assert moved == {f"`fcn_jax.{old}`": f"`fcn_jax.{new}`" for old, new in MOVED.items()}
