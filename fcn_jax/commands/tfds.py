"""`python -m fcn_jax tfds`."""

from pathlib import Path

from tyro.conf import Positional


def tfds(name: Positional[str], /, data: Path, data_dir: Path | None = None) -> None:
    """Prepare one of the papers' data sets for tensorflow-datasets.

    TFDS's own command line does the same only where TensorFlow is installed.

    Args:
        name: the builder, with its config if it has several: voc_segmentation/2011.
        data: the data folder, as the data set's archives unpack.
        data_dir: where prepared data sets lie; TFDS's own folder if not given.
    """
    from fcn_jax.prepare.tfds.preparing import build
    from fcn_jax.runs.messages import messages

    with messages(False):
        info = build(name, data, data_dir).info
        splits = ", ".join(f"{split} {part.num_examples}" for split, part in info.splits.items())
        print(f"{info.full_name}: {splits}")
