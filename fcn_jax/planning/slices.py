"""The chips that a step is planned for: a TPU slice by its name, or this machine's own devices."""

import dataclasses
import importlib.util
import math
import os
import re
from collections.abc import Sequence
from typing import Any

import jax


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chip:
    """What a generation of TPU can do at best.

    Attributes:
        memory: bytes that libtpu gives a program, somewhat less than the chip has.
        flops: bfloat16 operations a second; float32 convolutions have the same, since XLA rounds
            their inputs to bfloat16 unless told otherwise (jax.default_matmul_precision).
        bandwidth: bytes a second between chip and memory.
        link: bytes a second that a chip sends to one neighbour.
        closed: an axis of a multiple of so many chips is a ring, a shorter one a line.
        config: what libtpu calls a chip that is one device.
        shapes: slices that Cloud TPU offers, up to 256 chips.
    """

    memory: int
    flops: float
    bandwidth: float
    link: float
    closed: int
    config: str
    shapes: tuple[str, ...]


_FLAT = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
_SOLID = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8")
_GIB = 2**30

CHIPS = {
    "v4": Chip(
        memory=int(30.75 * _GIB),
        flops=275e12,
        bandwidth=1200e9,
        link=50e9,
        closed=4,
        config="megacore",
        shapes=_SOLID,
    ),
    "v5e": Chip(
        memory=int(15.75 * _GIB),
        flops=197e12,
        bandwidth=819e9,
        link=50e9,
        closed=16,
        config="default",
        shapes=_FLAT,
    ),
    "v5p": Chip(
        memory=int(95.74 * _GIB),
        flops=459e12,
        bandwidth=2765e9,
        link=100e9,
        closed=4,
        config="megacore",
        shapes=_SOLID,
    ),
    "v6e": Chip(
        memory=int(31.25 * _GIB),
        flops=918e12,
        bandwidth=1640e9,
        link=100e9,
        closed=16,
        config="default",
        shapes=_FLAT,
    ),
}
"""By Cloud TPU's name. Source: cloud.google.com/tpu/docs/v4, v5e, v5p and v6e; a link has half of
the two-way bandwidth there, over 4 or 6 ports. v4's links: Jouppi et al., TPU v4, ISCA 2023. The
memory: what libtpu 0.0.42.1 says that there is when a program is too large.
"""


@dataclasses.dataclass(frozen=True)
class Slice:
    """Devices to plan for.

    Attributes:
        name: `v5e:2x2`, or the kind of this machine's devices.
        devices: JAX's devices, or descriptions of some that are not here.
        memory: bytes that a program may use on each of them.
        chip: the generation; None of devices that are no TPUs, of which no speeds are known here.
        shape: chips along each axis.
    """

    name: str
    devices: Sequence[Any]
    memory: int
    chip: Chip | None = None
    shape: tuple[int, ...] = ()

    @property
    def links(self) -> float:
        """Links of a chip within the slice, on average over its chips."""
        return links(self.chip, self.shape) if self.chip else 0.0


def links(chip: Chip, shape: tuple[int, ...]) -> float:
    """Links of a chip in a slice of this shape, on average: 2 along a ring, less along a line."""
    return sum(2.0 if n % chip.closed == 0 else 2 * (n - 1) / n for n in shape)


# libtpu asks the network what machine it is on, complains where there is no answer, and lets one
# process in at a time, as if it were to take the TPU.
_LIBTPU = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_STDERR_LOG_LEVEL": "3",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


def tpu_slice(name: str) -> Slice:
    """A slice that need not be there, e.g. `v5e:2x2`. Needs libtpu, and no TPU.

    Raises:
        ValueError: an unknown generation or shape, or libtpu is not installed.
    """
    generation, _, extents = name.partition(":")
    chip = CHIPS.get(generation)
    if chip is None or extents not in chip.shapes:
        offered = "; ".join(f"{g}:{', '.join(c.shapes)}" for g, c in CHIPS.items())
        raise ValueError(f"--topology {name!r} is no slice; there are {offered}, and cpu and gpu")
    if importlib.util.find_spec("libtpu") is None:
        raise ValueError(
            "a step is compiled for a TPU by libtpu, which is not installed: "
            "pip install 'fcn-jax[tpu]'"
        )
    for variable, value in _LIBTPU.items():
        os.environ.setdefault(variable, value)
    from jax.experimental import topologies

    shape = tuple(int(n) for n in extents.split("x"))
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
    """This machine's devices.

    Args:
        platform: "cpu" or "gpu"; JAX's first choice by default.

    Raises:
        ValueError: there are none.
    """
    try:
        devices = jax.devices(platform)
    except RuntimeError as error:
        raise ValueError(f"--topology {platform}: JAX finds no such device here: {error}") from None
    first = devices[0]
    if first.platform == "cpu":
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // len(devices)
    else:
        memory = first.memory_stats()["bytes_limit"]
    return Slice(first.device_kind, devices, memory)


def find_slice(name: str) -> Slice:
    """`v5e:2x2` and the like, `cpu`, `gpu`, or `local` for what this machine has.

    Raises:
        ValueError: there is no such slice or device.
    """
    if name == "local":
        return local_slice()
    return local_slice(name) if name in ("cpu", "gpu") else tpu_slice(name)


def chips(shape: str) -> int:
    """`4x8` is 32."""
    return math.prod(int(n) for n in re.findall(r"\d+", shape))
