"""A run's metrics as TensorBoard events."""

from collections.abc import Callable
from pathlib import Path
from typing import Any


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
        for name, value in line.items():
            if isinstance(value, float):
                writer.add_scalar(f"{group}/{name}", value, line["step"])
        writer.flush()

    return write
