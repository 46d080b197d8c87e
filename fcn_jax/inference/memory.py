"""Memory: how much there is, and how much of the address space convolutions take."""

import contextlib
import heapq
import math
import os
import re
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
from PIL import Image

SHARE = 0.5  # of the free memory, what one image or tile may take while it is predicted
DECODING_SHARE = 0.8  # and while it is decoded, which is known better
DECODING = 16  # bytes of a pixel that Pillow takes while it decodes and converts an image


class Memory(NamedTuple):
    """Bytes of memory, needed or free.

    Attributes:
        used: bytes that are written to; on an accelerator, of the device.
        reserved: bytes of the address space, which `ulimit -v` limits. On a CPU, programs reserve
            several times what they use (see `patch_bytes`).
    """

    used: float | int
    reserved: float | int

    def plus(self, size: float | int) -> "Memory":
        """The same and `size` bytes more."""
        return Memory(self.used + size, self.reserved + size)

    def times(self, factor: float | int) -> "Memory":
        """So many times as much."""
        return Memory(self.used * factor, self.reserved * factor)

    def part_of(self, free: "Memory") -> float:
        """The part of the free memory that this takes; fits if it is at most `SHARE`."""
        return max(need / max(found, 1) for need, found in zip(self, free, strict=True))

    def against(self, free: "Memory", share: float = SHARE) -> str:
        """`about 12 GB of memory, found 3 GB free, …`, of the kind that is scarcer."""
        kinds = zip(("memory", "address space (ulimit -v)"), self, free, strict=True)
        kind, *sizes = max(kinds, key=lambda kind: kind[1] / max(kind[2], 1))
        need, found = (f"{max(size, 0) / 1e9:,.1f} GB" for size in sizes)
        return f"about {need} of {kind}, found {found} free, of which it takes {share:.0%}"


def free_memory() -> Memory:
    """What is free on the device; on a CPU, on the host."""
    stats = jax.local_devices()[0].memory_stats()
    if stats:
        return Memory(stats["bytes_limit"] - stats["bytes_in_use"], math.inf)
    return host_memory()


def peak_memory() -> int:
    """The most bytes that were in use at once: on the device; on a CPU, in the whole process."""
    stats = jax.local_devices()[0].memory_stats()
    if stats:
        return int(stats["peak_bytes_in_use"])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # getrusage(2): else in kilobytes


def host_memory(root: Path = Path("/")) -> Memory:
    """What is free on the host, within the limits of this process and of its control groups.

    Args:
        root: the folder of `proc` and `sys`. Where there is no `proc`, all memory counts as free.

    Source: Linux, proc(5): meminfo, limits, statm; Control Groups v1 and v2, memory controller.
    """
    info = dict(re.findall(r"^(\w+): +(\d+) kB", _text(root / "proc/meminfo"), re.MULTILINE))
    available = 1024 * int(info["MemAvailable"]) if "MemAvailable" in info else _physical()
    reserved = [math.inf]
    if _text(root / "proc/sys/vm/overcommit_memory").strip() == "2":
        reserved.append(1024 * (int(info["CommitLimit"]) - int(info["Committed_AS"])))
    pages = _text(root / "proc/self/statm").split()
    limits = _text(root / "proc/self/limits")
    for name, column in (("address space", 0), ("data size", 5)):
        if found := re.search(rf"Max {name} +(\d+)", limits):
            reserved.append(int(found[1]) - int(pages[column]) * os.sysconf("SC_PAGE_SIZE"))
    return Memory(min([available, *_free_in_groups(root)]), min(reserved))


def _free_in_groups(root: Path) -> Iterator[int]:
    """What is free in each control group that this process is in, and in the groups around it.

    Cached files count as free: the system drops them first.
    """
    mounts = root / "sys/fs/cgroup"
    version_2 = ("memory.max", "memory.current", "inactive_file")
    version_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, group = line.split(":", 2)
        if "memory" in controllers.split(","):
            mount, (limit, usage, cached) = mounts / "memory", version_1
        elif not controllers:
            mount, (limit, usage, cached) = mounts, version_2
        else:
            continue
        # In a container, the path may be the host's, and the container's group is the mount itself.
        inner = mount / group.lstrip("/")
        for folder in [inner, *inner.parents][: len(inner.parts) - len(mounts.parts) + 1]:
            most = _text(folder / limit).strip()
            if most.isdigit():
                kept = re.search(rf"^{cached} (\d+)", _text(folder / "memory.stat"), re.MULTILINE)
                used = int(_text(folder / usage) or 0) - (int(kept[1]) if kept else 0)
                yield int(most) - used


def _text(file: Path) -> str:
    """The content of a file of the system; nothing where it is missing or not readable."""
    try:
        return file.read_text()
    except OSError:
        return ""


def _physical() -> float | int:
    """All memory of the machine, where the system tells."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):
        return math.inf


def check_decodable(path: Path | str, size: tuple[int, int], reason: str) -> None:
    """Raises ValueError if an image is too large to be decoded in the free memory."""
    need, free = Memory(1, 1).times(DECODING * size[0] * size[1]), host_memory()
    if need.part_of(free) > DECODING_SHARE:
        raise ValueError(
            f"{path}: {size[0]:,}x{size[1]:,} pixels, and {reason}: expected "
            f"{need.against(free, DECODING_SHARE)}. Save it upright as a PNG that is not "
            "interlaced, or as a TIFF in tiles, which are read in strips; or free some memory."
        )


@contextlib.contextmanager
def any_size() -> Iterator[None]:
    """Pillow's limit of pixels is off: the memory says what an image may take."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def patch_bytes(jaxpr: Any) -> int:
    """Bytes of address space that a program's convolutions reserve on a CPU, an upper bound.

    Eigen writes the patches of an image under the kernel as a matrix, rows x columns x kernel. It
    reserves all of it and uses a few blocks. Two convolutions may run at a time.

    Args:
        jaxpr: of the program, with the true shapes.
    """
    return sum(heapq.nlargest(2, _patches(jaxpr)))


def _patches(jaxpr: Any) -> Iterator[int]:
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            kernel, out = equation.invars[1].aval, equation.outvars[0].aval
            numbers = equation.params["dimension_numbers"]
            cells = out.size // out.shape[numbers.out_spec[1]]
            patch = kernel.size // kernel.shape[numbers.rhs_spec[0]]
            groups = equation.params["feature_group_count"]
            yield cells * patch * groups * out.dtype.itemsize
        for parameter in jax.tree.leaves(list(equation.params.values()), is_leaf=_is_jaxpr):
            if _is_jaxpr(parameter):
                yield from _patches(getattr(parameter, "jaxpr", parameter))


def _is_jaxpr(value: Any) -> bool:
    return hasattr(getattr(value, "jaxpr", value), "eqns")
