"""Which room may import which, and how long a file may get."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted([*(ROOT / "fcn_jax").rglob("*.py"), *(ROOT / "experiments").rglob("*.py")])

# A room is a module or a folder directly under fcn_jax; here with its floor and the rooms that it
# may import (docs/architecture.md). "" is the package itself.
FLOORS = {
    1: {
        "arithmetic": set(),
        "atomic": set(),
        "damage": set(),
        "labels": set(),
        "moved": set(),
        "pages": set(),
        "devices": set(),
        "nn": {"labels"},
        "data": {"atomic", "damage", "labels"},
        "metrics": {"labels"},
        "optim": {"labels"},
        "preprocessing": {"labels"},
    },
    2: {
        "losses": {"nn", "labels"},
        "nets": {"nn", "labels"},
        "report": {"metrics", "pages", "atomic", "labels"},
        "prepare": {"data", "atomic", "damage", "labels"},
        "check": {"data", "pages", "atomic", "damage", "labels"},
    },
    3: {
        "weights": {"nets", "nn", "preprocessing", "atomic", "damage"},
        "training": {"nets", "nn", "devices", "losses", "metrics", "optim", "atomic", "damage"},
        "inference": {
            *("nets", "nn", "devices", "data", "metrics", "report"),
            *("atomic", "damage", "labels"),
        },
    },
}
BELOW = {room for floor in FLOORS.values() for room in floor}
FLOORS |= {
    4: {
        "runs": BELOW,
        "": BELOW | {"runs"},
        "app": {"inference", "data", "report", "pages", "labels"},
    },
    5: {"planning": {"runs", "training", "devices", "nets", "nn", "preprocessing"}},
    6: {"commands": BELOW | {"", "runs", "app", "planning"}, "__main__": {"runs"}},
}
MAY_IMPORT = {room: others for floor in FLOORS.values() for room, others in floor.items()}
EVERY_ROOM = {"arithmetic"}
# An experiment builds on the public names, on what a recipe consists of, and on the rooms below.
EXPERIMENTS = BELOW | {"", "runs"}


def module(path):
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path):
    """Modules that a file imports, wherever in the file; `from a import b` counts as `a.b`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(name):
    """`fcn_jax.data.voc.VOC` is in the room `data`, `fcn_jax.VOC` in the package itself."""
    parts = name.split(".")[1:]
    first = parts[0] if parts else ""
    known = (ROOT / "fcn_jax" / first).is_dir() or (ROOT / "fcn_jax" / f"{first}.py").is_file()
    return first if known else ""


def test_every_room_is_in_the_table():
    rooms = {room(module(path)) for path in FILES if module(path).split(".")[0] == "fcn_jax"}
    assert rooms == set(MAY_IMPORT)


def test_a_room_imports_rooms_of_lower_floors_only():
    """On the lowest floor the order of the table counts."""
    order = [room for floor in FLOORS.values() for room in floor]
    assert len(order) == len(set(order))
    for number, floor in FLOORS.items():
        for name, others in floor.items():
            same_floor = others & set(floor)
            assert all(order.index(other) < order.index(name) for other in others), name
            assert number in (1, 4) or not same_floor, name


@pytest.mark.parametrize("path", FILES, ids=module)
def test_imports(path):
    name, wrong = module(path), []
    own = room(name) if name.startswith("fcn_jax") else None
    permitted = EXPERIMENTS if own is None else MAY_IMPORT[own] | EVERY_ROOM | {own}
    for imported in imports(path):
        package = imported.split(".")[0]
        if own is not None and package == "experiments":
            wrong.append(imported)
        if package == "fcn_jax" and room(imported) not in permitted:
            wrong.append(imported)
        if own == "data" and package in ("jax", "flax", "optax"):
            wrong.append(imported)
    assert not wrong


def test_no_circle_among_files():
    """Nor among the benchmarks."""
    files = [*FILES, *(ROOT / "benchmarks").rglob("*.py")]
    names = {module(path): path for path in files}

    def imported(path):
        for name in imports(path):
            parts = name.split(".")
            found = (".".join(parts[:n]) for n in range(len(parts), 1, -1))
            yield from (n for n in [next((n for n in found if n in names), None)] if n)

    graph = {name: set(imported(path)) - {name} for name, path in names.items()}
    # A package's __init__ that exports its modules, and a lazy import inside a function, count too.
    while leaves := [name for name, others in graph.items() if not others & graph.keys()]:
        for name in leaves:
            del graph[name]
    assert not graph


def test_an_experiment_builds_on_one_other_at_most():
    for path in (ROOT / "experiments").glob("*.py"):
        others = [name for name in imports(path) if name.split(".")[0] == "experiments"]
        assert len({name.split(".")[1] for name in others}) <= 1, path


@pytest.mark.parametrize("path", FILES, ids=module)
def test_files_and_functions_are_short_and_nothing_is_unpickled(path):
    text = path.read_text()
    assert text.count("\n") <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < 70, f"{node.name} is too long"
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert isinstance(node.value, ast.Constant) and node.value.value is False
    assert not any(name.split(".")[0] in ("pickle", "dill", "joblib") for name in imports(path))
