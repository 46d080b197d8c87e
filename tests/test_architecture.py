"""Which room may import which, and how long a file may get."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted([*(ROOT / "fcn_jax").rglob("*.py"), *(ROOT / "experiments").rglob("*.py")])

# A room is a module or a folder directly under fcn_jax; a trailing * stands for all of a folder.
MAY_IMPORT = {
    "feature_map": set(),
    "coarse": set(),
    "losses": {"coarse"},
    "metrics": set(),
    "optim": set(),
    "files": set(),
    "compiling": set(),
    "mesh": set(),
    "preprocessing": set(),
    "ops": {"feature_map"},
    "border": {"feature_map"},
    "layers": {"border", "feature_map", "ops"},
    "upsampling": {"border", "coarse", "feature_map", "ops"},
    "trunks": {"layers", "feature_map"},
    "inputs": {"feature_map"},
    "fcn": {"border", "inputs", "layers", "upsampling", "feature_map", "trunks"},
    "fusion": {"coarse", "fcn", "inputs"},
    "dense": {"border", "feature_map", "inputs", "layers"},
    "explain": {"inputs", "layers", "upsampling", "feature_map"},
    "data": {"files"},
    "tfds": {"data"},
    "report": {"files"},
    "download": {"files", "data.files", "main"},
    "surgery": {"convert.layouts"},
    "hha": {"data.files", "files"},
    "convert": {
        *("files", "fcn", "inputs", "ops", "preprocessing", "surgery", "trunks", "upsampling"),
        *("main", "recipe", "start", "training.run_folder"),  # its commands
    },
    "training": {"coarse", "mesh", "inputs", "losses", "metrics", "optim", "compiling", "files"},
    "planning": {"fusion", "inputs", "mesh", "preprocessing", "recipe", "training"},
    "inference": {
        *(
            "coarse",
            "mesh",
            "metrics",
            "compiling",
            "report",
            "files",
            "feature_map",
            "inputs",
            "layers",
        ),
    },
}
# These put everything together.
ANYTHING = {"", "__main__", "commands", "main", "demo", "evaluation", "recipe", "run", "start"}


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


def allowed(importer, imported):
    own, other = room(importer), room(imported)
    if own in ANYTHING or own == other:
        return True
    permitted = MAY_IMPORT[own]
    return other in permitted or any(f"{imported}.".startswith(f"fcn_jax.{p}.") for p in permitted)


def test_every_room_is_in_the_table():
    rooms = {room(module(path)) for path in FILES if "fcn_jax" == module(path).split(".")[0]}
    assert rooms <= set(MAY_IMPORT) | ANYTHING


@pytest.mark.parametrize("path", FILES, ids=module)
def test_imports(path):
    name, wrong = module(path), []
    for imported in imports(path):
        package = imported.split(".")[0]
        if name.startswith("fcn_jax"):
            wrong += [imported] if package == "experiments" else []
            if package == "fcn_jax" and not allowed(name, imported):
                wrong.append(imported)
            if name.startswith("fcn_jax.data") and package in ("jax", "flax", "optax"):
                wrong.append(imported)
    assert not wrong


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
