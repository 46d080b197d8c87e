"""`python -m fcn_jax download`."""

from pathlib import Path
from typing import Literal

from tyro.conf import Positional


def download(
    name: Positional[
        Literal["voc2011", "voc2012", "sbd", "nyudv2", "siftflow", "pascal_context", "all"]
    ],
    /,
    data: Path = Path("data"),
) -> None:
    """Download a data set and lay it out for the recipes; run again to resume.

    Args:
        name: the data set, or all of them (more than 13 GB with their archives).
        data: folder for the data sets.
    """
    from fcn_jax.prepare.download.install import install
    from fcn_jax.prepare.download.table import SETS
    from fcn_jax.runs.messages import messages

    with messages(debug=False):
        for data_set in SETS:
            if name in (data_set.name, "all"):
                install(data_set, data)
