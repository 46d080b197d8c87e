"""The operations between the chips of a compiled program, read from its text."""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

_KINDS = "all-reduce|all-gather|reduce-scatter|collective-permute|all-to-all"
# An asynchronous operation is a pair: -start has the groups, -done has the result.
_OPERATION = re.compile(
    rf"^\s*(?:ROOT )?%(\S+) = (.*?) ({_KINDS})(-start|-done)?\((.*)$", re.MULTILINE
)
_ARRAY = re.compile(r"\b(pred|[a-z]+(\d+)[a-z0-9]*)\[([\d,]*)\]")


class Collective(NamedTuple):
    """One operation between chips.

    Attributes:
        kind: XLA's name, such as `all-reduce`.
        size: bytes of its result on one chip.
        group: chips that take part together.
    """

    kind: str
    size: int
    group: int

    @property
    def sent(self) -> float:
        """The fewest bytes that a chip must send, if all share the work evenly."""
        others = self.group - 1
        share = {
            "all-reduce": 2 * others / self.group,
            "reduce-scatter": float(others),  # the result is one part of the sum
            "collective-permute": 1.0,
        }
        return self.size * share.get(self.kind, others / self.group)


def collectives(text: str, devices: int) -> Iterator[Collective]:
    """The operations between chips in a compiled program, in the order of its text.

    Args:
        text: the program, as `compiled.as_text()` prints it.
        devices: chips of the program, for operations that name no groups.
    """
    started_groups = {}
    for name, result, kind, stage, rest in _OPERATION.findall(text):
        group = 2 if kind == "collective-permute" else group_size(rest, devices)
        if stage == "-start":
            started_groups[name] = group
            continue
        if stage == "-done":
            group = started_groups[re.findall(r"%([^\s,)]+)", rest)[0]]
        yield Collective(kind, array_bytes(result), group)


def array_bytes(shape: str) -> int:
    """Bytes of an array or tuple as XLA prints it, such as `(f32[8]{0}, bf16[3,3,8]{2,1,0})`."""
    total = 0
    for kind, bits, extents in _ARRAY.findall(shape):
        elements = math.prod(int(n) for n in extents.split(",") if n)
        total += elements * (8 if kind == "pred" else int(bits)) // 8
    return total


def group_size(attributes: str, devices: int) -> int:
    """Chips in one group of an operation; XLA prints groups in one of three ways."""
    if listed := re.search(r"replica_groups=\{\{([\d,]+)\}", attributes):
        return listed[1].count(",") + 1
    if counted := re.search(r"replica_groups=\[\d+,(\d+)\]<=", attributes):
        return int(counted[1])
    if named := re.search(r"replica_groups=mesh\[(.*?)\] \{(.*?)\}", attributes):
        extents = dict(re.findall(r"'(\w+)'=(\d+)", named[1]))
        return math.prod(int(extents[axis]) for axis in re.findall(r"'(\w+)'", named[2]))
    return devices
