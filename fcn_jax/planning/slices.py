"""The chips that a step is planned for: a TPU slice by its name, or the devices of this machine."""

import dataclasses
import functools
import importlib.util
import math
import os
from collections.abc import Sequence
from typing import Any

import jax


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chip:
    """The highest speeds of a TPU generation.

    Attributes:
        memory: bytes that libtpu gives a program, a little less than the chip has.
        flops: bfloat16 operations a second. float32 convolutions have the same speed, since XLA
            rounds their inputs to bfloat16 by default (jax.default_matmul_precision).
        bandwidth: bytes a second between chip and memory.
        link: bytes a second that a chip sends to one neighbour.
        ring: an axis whose length is a multiple of this is a ring; otherwise it is a line.
        config: libtpu's name for a chip that is one device.
        shapes: slices that Cloud TPU offers, up to 256 chips.
    """

    memory: int
    flops: float
    bandwidth: float
    link: float
    ring: int
    config: str
    shapes: tuple[str, ...]


_GIB = 2**30
_chip_2d = functools.partial(
    Chip,
    ring=16,
    config="default",
    shapes=("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16"),
)
_chip_3d = functools.partial(
    Chip,
    ring=4,
    config="megacore",
    shapes=("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8"),
)

CHIPS = {
    "v4": _chip_3d(memory=int(30.75 * _GIB), flops=275e12, bandwidth=1200e9, link=50e9),
    "v5e": _chip_2d(memory=int(15.75 * _GIB), flops=197e12, bandwidth=819e9, link=50e9),
    "v5p": _chip_3d(memory=int(95.74 * _GIB), flops=459e12, bandwidth=2765e9, link=100e9),
    "v6e": _chip_2d(memory=int(31.25 * _GIB), flops=918e12, bandwidth=1640e9, link=100e9),
}
"""By Cloud TPU's name. Source: cloud.google.com/tpu/docs/v4, v5e, v5p and v6e; a link has half of
the two-way bandwidth there, over 4 or 6 ports. v4's links: Jouppi et al., TPU v4, ISCA 2023. The
memory: what libtpu 0.0.42.1 reports as available when a program is too large.
"""


@dataclasses.dataclass(frozen=True)
class Slice:
    """Devices to plan for.

    Attributes:
        name: `v5e:2x2`, or the kind of this machine's devices.
        devices: JAX's devices, or descriptions of devices that this machine does not have.
        memory: bytes that a program may use on each of them.
        chip: the TPU generation; None for other devices, whose speeds are not known here.
        shape: chips along each axis.
    """

    name: str
    devices: Sequence[Any]
    memory: int
    chip: Chip | None = None
    shape: tuple[int, ...] = ()

    @property
    def generation(self) -> str:
        """`v5e` of `v5e:2x2`."""
        return self.name.partition(":")[0]


def links(chip: Chip, shape: tuple[int, ...]) -> float:
    """Mean number of links of a chip in a slice: 2 for each axis that is a ring, less if a line."""
    return sum(2.0 if n % chip.ring == 0 else 2 * (n - 1) / n for n in shape)


# By default libtpu asks the network for the kind of machine, prints errors if nobody answers, and
# allows one process at a time, as if that process took the TPU.
_LIBTPU = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_STDERR_LOG_LEVEL": "3",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


def tpu_slice(name: str) -> Slice:
    """A TPU slice, e.g. `v5e:2x2`, without the hardware. It needs libtpu.

    Raises:
        ValueError: an unknown generation or shape, or libtpu is not installed.
    """
    generation, _, extents = name.partition(":")
    chip = CHIPS.get(generation)
    if chip is None or extents not in chip.shapes:
        offered = "; ".join(f"{g}:{', '.join(c.shapes)}" for g, c in CHIPS.items())
        raise ValueError(
            f"--topology {name!r} is not a slice; expected one of {offered}, or cpu, gpu, local"
        )
    if importlib.util.find_spec("libtpu") is None:
        raise ValueError(
            f"--topology {name}: libtpu compiles for TPUs, and is not installed: pip install "
            "'fcn-jax[tpu]'"
        )
    for variable, value in _LIBTPU.items():
        os.environ.setdefault(variable, value)
    from jax.experimental import topologies

    shape = chips_along_axes(extents)
    host = tuple(min(n, most) for n, most in zip((*shape, 1)[:3], (2, 2, 1), strict=True))
    described = topologies.get_topology_desc(
        platform="tpu",
        topology_name=name,
        chip_config_name=chip.config,
        chips_per_host_bounds=host,
        num_slices=1,
    )
    return Slice(name, described.devices, chip.memory, chip, shape)


def local_slice(platform: str | None = None) -> Slice:
    """The devices of this machine.

    Args:
        platform: "cpu" or "gpu"; JAX's first choice by default.

    Raises:
        ValueError: there is no such device.
    """
    try:
        devices = jax.devices(platform)
    except RuntimeError as error:
        raise ValueError(f"--topology {platform}: JAX finds no such device: {error}") from None
    first = devices[0]
    if first.platform == "cpu":
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // len(devices)
    else:
        memory = first.memory_stats()["bytes_limit"]
    return Slice(first.device_kind, devices, memory)


def find_slice(name: str) -> Slice:
    """A TPU slice such as `v5e:2x2`, or `cpu`, `gpu` or `local` for the devices of this machine.

    Raises:
        ValueError: there is no such slice or device.
    """
    if name == "local":
        return local_slice()
    return local_slice(name) if name in ("cpu", "gpu") else tpu_slice(name)


def chips_along_axes(shape: str) -> tuple[int, ...]:
    """`4x8` is (4, 8)."""
    return tuple(int(n) for n in shape.split("x"))


def chips(shape: str) -> int:
    """`4x8` is 32."""
    return math.prod(chips_along_axes(shape))
