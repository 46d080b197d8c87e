"""Other people's weights on their way into a net."""

import dataclasses
import zipfile
from collections.abc import Callable
from pathlib import Path

import flax.linen as nn
import numpy as np

from fcn_jax.convert.weights_file import Preprocessing


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Imported:
    """A classifier in Caffe's layout, our names and our input convention.

    Attributes:
        trunk: the net without its last layer.
        blobs: kernel and bias of each layer, as `surgery.load_blobs` takes them.
        preprocessing: what its first layer expects.
        source: where the weights are from, in words.
    """

    trunk: nn.Module
    blobs: dict[str, list[np.ndarray]]
    preprocessing: Preprocessing
    source: str


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an `.npz` of plain arrays.

    Raises:
        ValueError: the file is missing, damaged, of another kind, or holds Python objects.
    """
    try:
        # The suffix of the path is not asked: an .npy or a pickle is refused by what is in it.
        with open(path, "rb") as file, zipfile.ZipFile(file):
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} is no complete .npz of plain arrays ({error}). Export it again."
        ) from error


def take(arrays: dict[str, np.ndarray], name: str, path: Path) -> np.ndarray:
    """One array by name, or a ValueError that says what the file has instead."""
    if name not in arrays:
        raise ValueError(
            f"{path} lacks {name}; it has {', '.join(sorted(arrays))}."
            " Check that it is of the kind that was named."
        )
    return arrays[name]


def layers_of(
    arrays: dict[str, np.ndarray], names: dict[str, tuple[str, str]], path: Path
) -> dict[str, list[np.ndarray]]:
    """Blobs by our names; `names` says what kernel and bias of each layer are called."""
    return {
        layer: [take(arrays, kernel, path), take(arrays, bias, path)]
        for layer, (kernel, bias) in names.items()
    }


def check_finite(blobs: dict[str, list[np.ndarray]], path: Path) -> None:
    """Raises ValueError where an array holds NaN or infinity."""
    bad = [layer for layer, arrays in blobs.items() if not all(map(_finite, arrays))]
    if bad:
        raise ValueError(
            f"{path} holds numbers that are not finite in {', '.join(bad)}. Some published files"
            " hold features only, without a classifier (VGG16 IMAGENET1K_FEATURES of torchvision"
            " is one); choose one with all layers."
        )


def _finite(array: np.ndarray) -> bool:
    return bool(np.isfinite(array).all())


Reader = Callable[[Path], Imported]
