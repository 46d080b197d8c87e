"""Where a recipe runs; nothing here changes what it computes."""

import dataclasses
from pathlib import Path
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """Where to run; `~` in a path is the home folder.

    Attributes:
        data: folder with the data sets; or tfds:NAME, a data set of TFDS in their place.
        workdir: folder of the run; the same command resumes the run that is there. [runs/NAME]
        init: a run's folder or a .safetensors file to start from, instead of the recipe's own.
        accept_changed_data: resume a run although its images or labels have changed.
        check_images: decode every image before the first step, and not only its label.
        threads: threads that read images ahead.
        tensorboard: also write TensorBoard events (extra `tensorboard`).
        mesh: devices for images and for image rows, such as data=4,space=2. [all for images]
        shard_optimizer: spread the optimizer's state over the devices for images.
        rematerialise: keep fewer activations for the gradient, and compute them again.
        border_skipping: compute once the cells around a padded image that do not depend on it.
        row_tiles: take the scores a few rows at a time, in less memory.
    """

    data: Path = Path("data")
    workdir: Path | None = None
    init: Path | None = None
    accept_changed_data: bool = False
    check_images: bool = False
    threads: int = 4
    tensorboard: bool = False
    mesh: str = ""
    shard_optimizer: bool = False
    rematerialise: bool = False
    border_skipping: bool = True
    row_tiles: bool = True

    def __post_init__(self):
        for name in ("data", "workdir", "init"):
            if path := getattr(self, name):
                object.__setattr__(self, name, Path(path).expanduser())

    @property
    def folder(self) -> Path:
        """The folder of the run.

        Raises:
            ValueError: the place names none.
        """
        if self.workdir is None:
            raise ValueError("a run needs a folder: Place(workdir=...)")
        return self.workdir

    @property
    def savings(self) -> dict[str, Any]:
        """How the net is computed, for `fcn_jax.nn.savings.use`."""
        names = ("rematerialise", "border_skipping", "row_tiles")
        return {name: getattr(self, name) for name in names}
