"""Devices as a grid with the axes `data` and `space`: images over one, their rows over the other.

Nothing here changes what is computed. The batch lies on the devices by images, all rows of an
image on each device of `space`: it has 4 bytes a pixel, the trunk's maps have hundreds. Inside
the compiled program the rows are spread (`spread_rows`), from the preprocessed image to the scores,
and the compiler exchanges the rows that neighbours need. So heights need not be multiples of
`space`, and a program has the shapes that it has on one device.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXES = ("data", "space")


def parse_axes(text: str) -> dict[str, int]:
    """Devices along each axis: `data=4,space=2` is `{"data": 4, "space": 2}`.

    Raises:
        ValueError: the text is no such list.
    """
    axes: dict[str, int] = {}
    for part in filter(None, text.split(",")):
        name, _, number = part.strip().partition("=")
        if name not in AXES or name in axes or not number.isdecimal() or int(number) < 1:
            raise ValueError(
                f"--mesh {text}: expected data=N,space=N, or one of them, with N devices from 1 "
                f"on; found {part!r}"
            )
        axes[name] = int(number)
    return axes


def make_mesh(
    batch_size: int, devices: list[Any] | None = None, *, axes: Mapping[str, int] | None = None
) -> Mesh:
    """A mesh with the axes `data` and `space`, its devices ordered by process.

    A process's devices hold whole images, or rows of images that it shares with its neighbours, so
    that it need only read some images of each batch (`own_part`).

    Args:
        batch_size: images in one pass; `data` divides it.
        devices: those to choose from; all by default.
        axes: devices along each axis. Without `data`, as many as fit; without `space`, one.

    Raises:
        ValueError: the batch cannot be divided so, or there are not that many devices.
    """
    groups: dict[int, list[Any]] = {}
    for device in sorted(devices or jax.devices(), key=lambda d: (d.process_index, d.id)):
        groups.setdefault(device.process_index, []).append(device)
    local, axes = min(map(len, groups.values())), axes or {}
    space = axes.get("space", 1)

    def fits(data: int) -> bool:
        each, rest = divmod(data * space, len(groups))
        even = not rest and 1 <= each <= local and (each % space == 0 or space % each == 0)
        return even and batch_size % data == 0

    wanted = [axes["data"]] if "data" in axes else range(1, len(groups) * local // space + 1)
    data = max(filter(fits, wanted), default=0)
    if not data:
        raise ValueError(_misfit(batch_size, axes, len(groups), local))
    each = data * space // len(groups)
    grid = np.array([group[:each] for group in groups.values()]).reshape(data, space)
    return Mesh(grid, AXES, axis_types=(AxisType.Auto, AxisType.Auto))


def _misfit(batch_size: int, axes: Mapping[str, int], processes: int, local: int) -> str:
    asked = ",".join(f"{name}={number}" for name, number in axes.items())
    there = f"{processes} processes with {local}" if processes > 1 else f"{local}"
    text = (
        f"{f'--mesh {asked}' if asked else 'a mesh'} does not fit a batch of {batch_size} on "
        f"{there} devices: data must divide the batch, and data times space be no more than the "
        "devices"
    )
    if processes > 1:
        text += (
            f" and a multiple of {processes}, with whole images on each process, or each image on "
            "whole processes; a batch of 1 goes there by its rows: "
            f"--mesh space={processes * local}"
        )
    return text


def own_part(mesh: Mesh) -> tuple[int, int]:
    """(i, p): this process reads images i of p of each batch. Several may read the same ones."""
    own = [
        row
        for row, devices in enumerate(mesh.devices)
        if any(device.process_index == jax.process_index() for device in devices)
    ]
    return own[0] // len(own), len(mesh.devices) // len(own)


def shard_batch(mesh: Mesh, batch: Mapping[str, Any]) -> dict[str, Any]:
    """The process's images of a batch (see `own_part`) as global arrays, images over `data`."""
    sharding = NamedSharding(mesh, PartitionSpec("data"))

    def place(value: Any) -> Any:
        return jax.make_array_from_process_local_data(sharding, np.asarray(value))

    return jax.tree.map(place, dict(batch))


def spreads_rows(mesh: Mesh | None) -> bool:
    """Whether image rows are spread over several devices."""
    return mesh is not None and mesh.shape.get("space", 1) > 1


def spread_rows(mesh: Mesh | None, tree: Any) -> Any:
    """Arrays `(b, h, ...)` with images over `data` and rows over `space`; for use inside `jit`."""
    if mesh is None or not spreads_rows(mesh):
        return tree
    return jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, PartitionSpec(*AXES)))


def replicate(mesh: Mesh, tree: Any) -> Any:
    """The tree, whole on every device of the mesh. Always copies: a step donates its state."""
    return _placed(tree, lambda _: NamedSharding(mesh, PartitionSpec()))


def shard_over_data(mesh: Mesh, tree: Any) -> Any:
    """The tree, each array along its longest axis that `data` divides; whole where none is."""
    return _placed(tree, lambda x: over_data(mesh, x))


def over_data(mesh: Mesh, x: Any) -> NamedSharding:
    """Where `shard_over_data` puts an array."""
    n = mesh.shape["data"]
    axes = [axis for axis, length in enumerate(x.shape) if length % n == 0 and length]
    if not axes:
        return NamedSharding(mesh, PartitionSpec())
    longest = max(axes, key=lambda axis: x.shape[axis])
    return NamedSharding(mesh, PartitionSpec(*[None] * longest, "data"))


def _placed(tree: Any, sharding: Any) -> Any:
    return jax.tree.map(lambda x: jnp.copy(jax.device_put(x, sharding(x))), tree)
