"""A finished or interrupted run, opened to evaluate it or to predict with it.

Nets, preprocessings and data sets are built from `recipe.json` (see `fcn_jax.runs.description`); no
code that a run folder names is imported, unless the caller says so.
"""

import functools
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import flax.linen as nn

from fcn_jax.damage import reason
from fcn_jax.data.images import AS_STORED, ImageOptions
from fcn_jax.data.kinds import label_kinds
from fcn_jax.data.location import of_tfds
from fcn_jax.data.source import Source
from fcn_jax.metrics import Absent
from fcn_jax.runs.description import NotOursError, build, describe, is_ours
from fcn_jax.runs.lookup import load_recipe
from fcn_jax.runs.recipe import Recipe
from fcn_jax.training.run_folder import RunFolder

_T = TypeVar("_T")


class StoredRun:
    """What a run folder says about its net and its data.

    Args:
        path: the run's folder.
        recipe: module or file of the run's recipe, which is imported: for nets and data sets that
            are not part of fcn_jax. None imports nothing.
        net: the net, where it is not to be built from the folder.

    Raises:
        ValueError: this is not the folder of a run, or the recipe is another than the run's.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        recipe: str | None = None,
        net: nn.Module | None = None,
    ):
        self.folder = RunFolder(Path(path).expanduser())
        self.described = self.folder.described()
        self._given: Recipe | None = None
        self._net = net
        if recipe is not None:
            self._given = load_recipe(self.described, recipe)

    @functools.cached_property
    def model(self) -> nn.Module:
        """The net.

        Raises:
            ValueError: it is not one of fcn_jax's, and neither a net nor a recipe was given.
        """
        return self._net if self._net is not None else self._part("model", nn.Module)

    @functools.cached_property
    def train_set(self) -> Source:
        """What it was trained on; its classes are the net's. Raises ValueError as `model`."""
        return self._part("train_set", Source)

    @functools.cached_property
    def validation_set(self) -> Source:
        """What it was evaluated on. Raises ValueError as `model`."""
        return self._part("validation_set", Source)

    @property
    def evaluators(self) -> Mapping[str, Any] | None:
        """What the recipe scores outputs with, where it says so. Raises ValueError as `model`."""
        stored = self.described["recipe"].get("evaluators")
        return self._part("evaluators", dict) if stored else None

    @property
    def label_kinds(self) -> Any:
        """What the outputs' labels are, by name if there are several; None if not known."""
        try:
            return label_kinds(self.train_set)
        except NotOursError:
            return None

    @property
    def absent(self) -> Absent:
        """Which classes the mean IU leaves out."""
        return self._ours(lambda: Absent[self.described["recipe"]["absent"]])

    @property
    def batch_size(self) -> int:
        """Images per forward pass."""
        return self._ours(lambda: int(self.described["recipe"]["batch_size"]))

    @property
    def class_names(self) -> Any:
        """Names of the classes, by output's name if the net has several; None if not known."""
        try:
            return self.train_set.class_names
        except NotOursError:
            return None

    @property
    def image_options(self) -> ImageOptions:
        """How the run read its images."""
        try:
            return getattr(self.train_set, "image_options", AS_STORED)
        except NotOursError:
            return AS_STORED

    def _part(self, name: str, kind: type) -> Any:
        if self._given is not None:
            return getattr(self._given, name)

        def make() -> Any:
            part = build(self._checked(self.described["recipe"][name]))
            if not isinstance(part, kind):
                raise TypeError(f"{name} is a {type(part).__name__}, expected a {kind.__name__}")
            return part

        return self._ours(make)

    def _checked(self, described: Any) -> Any:
        """Refuses names without a module where they may be somebody else's (before version 0.2)."""
        module = str(self.described.get("module", ""))
        if "." not in str(described.get("class", ".")) and not is_ours(module):
            raise NotOursError(f"{described['class']} may be a class of {module}")
        return described

    def _ours(self, make: Callable[[], _T]) -> _T:
        try:
            return make()
        except NotOursError as error:
            raise NotOursError(
                f"{self.folder.path}: {error}. Code that a run folder names is not run unasked. If "
                "you trust it, name the recipe that made the run, --recipe "
                f"{self.described.get('module', 'MODULE')}, or pass the net: "
                "fcn_jax.load(run, net=net)"
            ) from None
        except Exception as error:  # a changed value may break whatever is built from it
            raise ValueError(f"{self.folder.recipe_file} is damaged: {reason(error)}") from error


def is_own(
    run: StoredRun, source: Source, contents: Mapping[str, list[str]], data: Path | str
) -> bool:
    """Whether a data set is the one that the run was validated on while it was trained.

    Args:
        run: the run; one of a version before 0.2 says nothing of its data, which are its own then.
        source: the data set.
        contents: its examples (see `fcn_jax.data.check.Checked.contents`).
        data: where it is (`--data`).
    """
    instead = (run.described.get("data") or {}).get("validation_set")
    if instead != (describe(source) if of_tfds(data) else None):
        return False
    try:
        known = json.loads(run.folder.data_file.read_text())["validation"]
    except (OSError, ValueError, KeyError, TypeError):
        return True  # nothing tells them apart
    return known == contents
