"""Devices as a grid with the axes `data` and `space`: images along one, their rows along the other.

A mesh does not change what is computed. Outside the compiled program, a batch is divided by images
only: all devices along `space` hold all rows of their images (4 bytes a pixel, where the trunk's
maps have hundreds). Inside the program the rows are spread (`spread_rows`), from the preprocessed
image to the scores, and the compiler exchanges the rows that neighbours need. So a height need not
be a multiple of `space`, and a program has the same shapes as on one device.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXES = ("data", "space")


def parse_axes(text: str) -> dict[str, int]:
    """Devices along each axis: `data=4,space=2` is `{"data": 4, "space": 2}`.

    Raises:
        ValueError: the text is something else.
    """
    axes: dict[str, int] = {}
    for part in filter(None, text.split(",")):
        name, _, number = part.strip().partition("=")
        if name not in AXES or name in axes or not number.isdecimal() or int(number) < 1:
            raise ValueError(
                f"--mesh {text}: expected data=N,space=N or one of them, with N at least 1; found "
                f"{part!r}"
            )
        axes[name] = int(number)
    return axes


def make_mesh(
    batch_size: int, devices: list[Any] | None = None, *, axes: Mapping[str, int] | None = None
) -> Mesh:
    """A mesh with the axes `data` and `space`, its devices ordered by process.

    A process holds whole images, or shares the rows of an image with neighbour processes, so it
    reads only some images of each batch (`own_part`).

    Args:
        batch_size: images in one pass; `data` divides it.
        devices: those to choose from; all by default.
        axes: devices along each axis. Without `data`, as many as fit; without `space`, one.

    Raises:
        ValueError: the batch cannot be divided like this, or there are too few devices.
    """
    groups: dict[int, list[Any]] = {}
    for device in sorted(devices or jax.devices(), key=lambda d: (d.process_index, d.id)):
        groups.setdefault(device.process_index, []).append(device)
    processes, local, axes = len(groups), min(map(len, groups.values())), axes or {}
    space = axes.get("space", 1)

    def fits(data: int) -> bool:
        used, rest = divmod(data * space, processes)  # devices of each process
        if rest or not 1 <= used <= local or batch_size % data:
            return False
        return used % space == 0 or space % used == 0  # whole images, or whole processes

    wanted = [axes["data"]] if "data" in axes else range(1, processes * local // space + 1)
    data = max(filter(fits, wanted), default=0)
    if not data:
        raise ValueError(_misfit(batch_size, axes, processes, local))
    used = data * space // processes
    grid = np.array([group[:used] for group in groups.values()]).reshape(data, space)
    return Mesh(grid, AXES, axis_types=(AxisType.Auto, AxisType.Auto))


def _misfit(batch_size: int, axes: Mapping[str, int], processes: int, local: int) -> str:
    """Why no mesh with these axes fits, and what to do."""
    asked = ",".join(f"{name}={number}" for name, number in axes.items())
    subject = f"--mesh {asked} does not fit" if asked else "no mesh fits"
    found = f"{processes} processes with {local}" if processes > 1 else f"{local}"
    text = (
        f"{subject} a batch of {batch_size} on {found} devices: data must divide the batch, and "
        "data times space must be at most the number of devices"
    )
    if processes == 1:
        return text
    return text + (
        f" and a multiple of {processes}, with whole images on each process, or each image on "
        f"whole processes; divide a batch of 1 by its rows: --mesh space={processes * local}"
    )


def own_part(mesh: Mesh) -> tuple[int, int]:
    """(i, p): this process reads images i of p of each batch. Several may read the same images."""
    own = [
        row
        for row, devices in enumerate(mesh.devices)
        if any(device.process_index == jax.process_index() for device in devices)
    ]
    return own[0] // len(own), len(mesh.devices) // len(own)


def shard_batch(mesh: Mesh, batch: Mapping[str, Any]) -> dict[str, Any]:
    """The process's images of a batch (see `own_part`) as global arrays, images over `data`."""
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    return jax.tree.map(
        lambda value: jax.make_array_from_process_local_data(sharding, np.asarray(value)),
        dict(batch),
    )


def spreads_rows(mesh: Mesh | None) -> bool:
    """Whether image rows are spread over several devices."""
    return mesh is not None and mesh.shape.get("space", 1) > 1


def spread_rows(mesh: Mesh | None, tree: Any) -> Any:
    """Arrays `(b, h, w, ...)` with images over `data` and rows over `space`; for use inside `jit`.

    Arrays of fewer axes, such as a label of the whole image, have no rows and stay as they are.
    """
    if mesh is None or not spreads_rows(mesh):
        return tree
    rows = NamedSharding(mesh, PartitionSpec(*AXES))

    def spread(x: Any) -> Any:
        return jax.lax.with_sharding_constraint(x, rows) if x.ndim > 2 else x

    return jax.tree.map(spread, tree)


def replicated_sharding(mesh: Mesh) -> NamedSharding:
    """The sharding of an array that every device holds completely."""
    return NamedSharding(mesh, PartitionSpec())


def data_sharding(mesh: Mesh, x: Any) -> NamedSharding:
    """The sharding of an array along its longest axis that `data` divides, else replicated."""
    n = mesh.shape["data"]
    axes = [axis for axis, length in enumerate(x.shape) if length % n == 0 and length]
    if not axes:
        return replicated_sharding(mesh)
    longest = max(axes, key=lambda axis: x.shape[axis])
    return NamedSharding(mesh, PartitionSpec(*[None] * longest, "data"))


def replicate(mesh: Mesh, tree: Any) -> Any:
    """Copies a tree to every device. It always copies, since a step donates its state."""
    return _copied(tree, lambda _: replicated_sharding(mesh))


def shard_over_data(mesh: Mesh, tree: Any) -> Any:
    """Copies a tree, each of its arrays divided as `data_sharding` says."""
    return _copied(tree, lambda x: data_sharding(mesh, x))


def _copied(tree: Any, sharding: Callable[[Any], NamedSharding]) -> Any:
    return copied(jax.device_put(tree, jax.tree.map(sharding, tree)))


@jax.jit
def copied(tree: Any) -> Any:
    """A copy of all arrays of a tree, placed as they are.

    One program for all: a program for each shape takes VGG16's state 1.3 s longer to start.
    """
    return jax.tree.map(jnp.copy, tree)
