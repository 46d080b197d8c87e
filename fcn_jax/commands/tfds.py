"""`python -m fcn_jax tfds`."""

from pathlib import Path

from tyro.conf import Positional


def tfds(name: Positional[str], /, data: Path, data_dir: Path | None = None) -> None:
    """Prepare one of the papers' data sets for tensorflow-datasets.

    TFDS's own command line does the same, but needs TensorFlow.

    Args:
        name: the builder, with its config if it has several: voc_segmentation/2011.
        data: folder with the unpacked archives of the data set.
        data_dir: folder for the prepared data sets; TFDS's own by default.
    """
    from fcn_jax.prepare.tfds import build
    from fcn_jax.runs.messages import messages

    with messages(debug=False):
        info = build(name, data, data_dir).info
        splits = ", ".join(f"{split} {part.num_examples}" for split, part in info.splits.items())
        print(f"{info.full_name}: {splits}")
