"""The new names of modules that moved, so that older recipes and runs keep working."""

import importlib
import importlib.abc
import importlib.util
import sys
import warnings
from collections.abc import Mapping
from importlib.machinery import ModuleSpec
from types import MappingProxyType, ModuleType
from typing import Any

MOVED: Mapping[str, str] = MappingProxyType(
    {
        "border": "nn.background",
        "coarse": "nn.coarse_scores",
        "compiling": "devices.compiling",
        "convert.weights_file": "weights.weights_file",
        "convert.layouts": "weights.layouts",
        "convert.mapped": "weights.memory_map",
        "convert.kinds": "weights.foreign.convert",
        "convert.caffe_npz": "weights.foreign.caffe",
        "convert.commands": "commands.convert",
        "convert": "weights.foreign",
        "data.files": "data.readers",
        "data.located": "data.location",
        "data.pipeline": "data.batching",
        "data.tfds_source": "data.tfds",
        "demo": "runs.demo",
        "dense": "nets.shift_and_stitch",
        "download.command": "commands.download",
        "download": "prepare.download",
        "evaluation": "runs.scoring",
        "explain": "nets.explain",
        "fcn": "nets.fcn",
        "feature_map": "nn.feature_map",
        "files": "atomic",
        "fusion": "nets.fusion",
        "hha": "prepare.hha",
        "inference.canvases": "inference.few_canvases",
        "inference.evaluate": "inference.confusion",
        "inference.parts": "data.small_files",
        "inference.png": "data.png",
        "inference.spans": "inference.tile_spans",
        "inference.strips": "inference.large_files.strips",
        "inference.tiff": "data.tiff",
        "inference.voc_submission": "inference.submission",
        "inputs": "nets.inputs",
        "layers": "nn.layers",
        "main": "runs.experiment",
        "mesh": "devices.mesh",
        "ops": "nn.ops",
        "planning.floor": "planning.least_time",
        "recipe": "runs.recipe",
        "run": "runs.run",
        "start": "runs.start",
        "surgery": "weights.surgery",
        "tfds.preparing": "prepare.tfds.builders",
        "tfds": "prepare.tfds",
        "training.environment": "devices.environment",
        "training.processes": "devices.processes",
        "trunks": "nets.trunks",
        "upsampling": "nn.upsampling",
    }
)
"""Old and new names below `fcn_jax`, since version 0.2. The modules in a folder moved with it."""

_PACKAGE = f"{__package__}."


def new_name(name: str) -> str | None:
    """The new name of a module, or None if it has not moved."""
    parts = name.removeprefix(_PACKAGE).split(".") if name.startswith(_PACKAGE) else []
    for n in range(len(parts), 0, -1):
        if new := MOVED.get(".".join(parts[:n])):
            return ".".join([_PACKAGE + new, *parts[n:]])
    return None


class MovedModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports a module by its old name, with a DeprecationWarning that gives the new one."""

    def find_spec(
        self, fullname: str, path: Any, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's spec if `fullname` is an old name, else None."""
        if new_name(fullname) is None:
            return None
        return importlib.util.spec_from_loader(fullname, self)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module object of the new name.

        Raises:
            ModuleNotFoundError: there is no such module under the new name either.
        """
        new = str(new_name(spec.name))
        module = importlib.import_module(new)
        warnings.warn(f"{spec.name} is now {new}", DeprecationWarning, stacklevel=2)
        spec.loader_state = module.__spec__  # the import system is about to replace it
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Gives the module its own spec back; its code ran when the new name was imported."""
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state

    def get_code(self, fullname: str) -> Any:
        """For `python -m` with an old name.

        Raises:
            ImportError: programs have moved to `python -m fcn_jax`.
        """
        raise ImportError(f"{fullname} is not a program any more; see `python -m fcn_jax --help`")


def install() -> None:
    """Make the old names importable; a second call changes nothing."""
    if not any(isinstance(finder, MovedModules) for finder in sys.meta_path):
        sys.meta_path.insert(0, MovedModules())
