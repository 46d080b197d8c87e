"""A run's metrics as TensorBoard events."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fcn_jax.metrics import FOUR


def tensorboard(path: Path) -> Callable[[dict[str, Any]], None]:
    """Returns a function that writes a line of metrics as TensorBoard events below `path`.

    Raises:
        ValueError: tensorboardX is not installed.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise ValueError(
            "--tensorboard needs tensorboardX: pip install 'fcn-jax[tensorboard]'"
        ) from None
    writer = SummaryWriter(str(path / "tensorboard"))

    def write(line: dict[str, Any]) -> None:
        group = line.get("split", "train")
        for name in line.keys() & {"loss", "images_per_second", "waiting", *FOUR}:
            writer.add_scalar(f"{group}/{name}", line[name], line["step"])
        writer.flush()

    return write
