"""Prepares one of the papers' data sets: `python -m fcn_jax.tfds voc_segmentation/2012 --data DIR`.

TFDS's own command line does the same only where TensorFlow is installed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import tyro

from fcn_jax.data.files import DataError
from fcn_jax.tfds.preparing import build


def main(
    name: Annotated[str, tyro.conf.Positional], /, data: Path, data_dir: Path | None = None
) -> None:
    """Prepares a data set for tensorflow-datasets.

    Args:
        name: the builder, with its config if it has several: voc_segmentation/2011.
        data: the data folder, as the data set's archives unpack.
        data_dir: where prepared data sets lie; TFDS's own folder if not given.
    """
    try:
        info = build(name, data, data_dir).info
    except DataError as error:
        sys.exit(f"error: {error}")
    splits = ", ".join(f"{split} {part.num_examples}" for split, part in info.splits.items())
    print(f"{info.full_name}: {splits}")


if __name__ == "__main__":
    tyro.cli(main)
