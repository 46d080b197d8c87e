"""Preparing a data set: from the folder its archives unpack to, to array records."""

from __future__ import annotations

from pathlib import Path

import tensorflow_datasets as tfds

from fcn_jax.data.readers import DataError
from fcn_jax.prepare.tfds import builders
from fcn_jax.prepare.tfds.segmentation import Segmentation


def build(name: str, data: Path | str, data_dir: Path | str | None = None) -> Segmentation:
    """Prepares one of the library's builders; where that was done before, does nothing.

    What stops half way leaves nothing that could be taken for a prepared data set.

    Args:
      name: The builder, with its config if it has several: `voc_segmentation/2011`.
      data: The data folder, as the reader of that data set expects it (TFDS's `manual_dir`).
      data_dir: Where prepared data sets lie; None = TFDS's own folder (`TFDS_DATA_DIR`, or else
        `~/tensorflow_datasets`).

    Returns:
      The builder, ready for `as_data_source(split)`.

    Raises:
      DataError: There is no such builder, config or folder, or the data set is incomplete or
        damaged.
    """
    data = Path(data).expanduser()
    if not data.is_dir():
        raise DataError(f"{data}: no such folder. Pass the one that holds the data set.")
    full_names = {
        "/".join(filter(None, (cls.name, config))): (cls, config)
        for cls in builders.BUILDERS
        for config in (None, *cls.builder_configs)
    }
    if name not in full_names:
        raise DataError(f"expected one of {', '.join(full_names)}; got {name!r}.")
    cls, config = full_names[name]
    builder = cls(config=config, data_dir=data_dir)
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=data, try_download_gcs=False)
    )
    return builder
